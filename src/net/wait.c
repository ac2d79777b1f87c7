#include "net/wait.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"

/* poll(2) with every signal let in. */
static int
poll_until(struct pollfd *set, nfds_t n, int64_t deadline)
{
    int ms = clock_left(deadline);
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    sigset_t none;

    sigemptyset(&none);
    return ppoll(set, n, ms < 0 ? NULL : &left, &none);
}

#define OWN 2 /* what is waited for, and what wakes */

/* One poll(2) over the resolver's descriptors and, first, those of own; then the resolver's work. */
static int
turn(struct dns *d, struct pollfd own[OWN], int64_t deadline)
{
    struct pollfd set[OWN + DNS_POLL_MAX] = {own[0], own[1]};
    nfds_t n = dns_poll_set(d, set + OWN);
    int64_t next = dns_next(d);
    int ready = poll_until(set, OWN + n, next < deadline ? next : deadline);
    int error = errno;

    for (nfds_t i = 0; ready <= 0 && i < OWN + n; i++)
        set[i].revents = 0; /* not written by poll */
    dns_process(d, set + OWN, n);
    memcpy(own, set, OWN * sizeof *own);
    errno = error;
    return ready;
}

static int
woken(void)
{
    errno = EINTR;
    return -1;
}

int
wait_fd_or(struct dns *d, int fd, short events, int wake, int64_t deadline)
{
    struct pollfd own[OWN] = {{.fd = fd, .events = events}, {.fd = wake, .events = POLLIN}};
    int ready;

    while (dns_busy(d)) {
        ready = turn(d, own, deadline);
        if (own[0].revents)
            return 1;
        if (own[1].revents)
            return woken();
        if (ready < 0)
            return ready;
        if (clock_ms() >= deadline)
            return 0;
    }
    ready = poll_until(own, wake < 0 ? 1 : OWN, deadline);
    return ready > 0 && !own[0].revents ? woken() : ready > 0 ? 1 : ready;
}

int
wait_fd(struct dns *d, int fd, short events, int64_t deadline)
{
    return wait_fd_or(d, fd, events, -1, deadline);
}

const struct qp_dns_answer *
wait_answer(struct dns *d, const struct dns_lookup *l, int64_t deadline)
{
    struct pollfd nobody[OWN] = {{.fd = -1}, {.fd = -1}};

    while (!dns_answer(l)) {
        turn(d, nobody, deadline);
        if (!dns_answer(l) && clock_ms() >= deadline)
            return dns_late(l);
    }
    return dns_answer(l);
}
