#include "net/wait.h"

#include <errno.h>
#include <signal.h>

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

/* One poll(2) over the resolver's descriptors and, first, those of *own; then the resolver's work. */
static int
turn(struct dns *d, struct pollfd *own, int64_t deadline)
{
    struct pollfd set[1 + DNS_POLL_MAX] = {*own};
    nfds_t n = dns_poll_set(d, set + 1);
    int64_t next = dns_next(d);
    int ready = poll_until(set, 1 + n, next < deadline ? next : deadline);
    int error = errno;

    for (nfds_t i = 1; ready <= 0 && i <= n; i++)
        set[i].revents = 0; /* not written by poll */
    dns_process(d, set + 1, n);
    if (ready <= 0)
        set[0].revents = 0;
    *own = set[0];
    errno = error;
    return ready;
}

int
wait_fd(struct dns *d, int fd, short events, int64_t deadline)
{
    struct pollfd own = {.fd = fd, .events = events};

    while (dns_busy(d)) {
        int ready = turn(d, &own, deadline);

        if (own.revents)
            return 1;
        if (ready < 0)
            return ready;
        if (clock_ms() >= deadline)
            return 0;
    }
    return poll_until(&own, 1, deadline);
}

const struct qp_dns_answer *
wait_answer(struct dns *d, const struct dns_lookup *l, int64_t deadline)
{
    struct pollfd nobody = {.fd = -1};

    while (!dns_answer(l)) {
        turn(d, &nobody, deadline);
        if (!dns_answer(l) && clock_ms() >= deadline)
            return dns_late(l);
    }
    return dns_answer(l);
}
