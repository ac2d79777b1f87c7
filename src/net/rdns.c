#include "net/rdns.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>

#include "base/clock.h"

#define QUESTION_MAX 80 /* 32 nibbles with dots, ip6.arpa */

struct question {
    char *out;
    bool done;
    bool found;
};

static bool
copy_name(char out[RDNS_NAME_MAX], const char *name)
{
    size_t n = name ? strnlen(name, RDNS_NAME_MAX) : 0;

    if (n > 0 && name[n - 1] == '.')
        n--;
    if (n == 0 || n == RDNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!ascii_alnum(name[i]) && name[i] != '.' && name[i] != '-' && name[i] != '_')
            return false;
    for (size_t i = 0; i < n; i++)
        out[i] = ascii_lower(name[i]);
    out[n] = '\0';
    return true;
}

static void
on_answer(void *data, int status, int timeouts, unsigned char *answer, int n)
{
    struct question *q = data;
    struct hostent *host = NULL;

    (void)timeouts;
    q->done = true;
    if (status != ARES_SUCCESS)
        return;
    if (ares_parse_ptr_reply(answer, n, NULL, 0, AF_INET, &host) != ARES_SUCCESS)
        return;
    q->found = copy_name(q->out, host->h_name);
    ares_free_hostent(host);
}

/* Reversed, below in-addr.arpa or ip6.arpa. */
static void
question_text(const struct ip *ip, char out[QUESTION_MAX])
{
    const uint8_t *b = ip->b;
    size_t n = 0;

    if (ip_is_v4(ip)) {
        snprintf(out, QUESTION_MAX, "%d.%d.%d.%d.in-addr.arpa", b[15], b[14], b[13], b[12]);
        return;
    }
    for (int i = 15; i >= 0; i--) {
        out[n++] = "0123456789abcdef"[b[i] & 15];
        out[n++] = '.';
        out[n++] = "0123456789abcdef"[b[i] >> 4];
        out[n++] = '.';
    }
    snprintf(out + n, QUESTION_MAX - n, "ip6.arpa");
}

static bool
open_channel(struct rdns *r)
{
    struct ares_options options = {.timeout = 1000, .tries = 2}; /* 1 s, then 2 s */
    bool own_servers = r->servers && *r->servers;

    if (r->channel)
        return true;
    if (ares_init_options(&r->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) !=
        ARES_SUCCESS) {
        r->channel = NULL;
        return false;
    }
    if (!own_servers || ares_set_servers_ports_csv(r->channel, r->servers) == ARES_SUCCESS)
        return true;
    rdns_close(r);
    return false;
}

/* The sockets of the channel as poll wants them. */
static nfds_t
poll_set(ares_channel channel, struct pollfd set[ARES_GETSOCK_MAXNUM])
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    unsigned bits = (unsigned)ares_getsock(channel, sockets, ARES_GETSOCK_MAXNUM);
    nfds_t n = 0;

    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
        short events = 0;

        if (bits & (1U << i))
            events |= POLLIN;
        if (bits & (1U << (i + ARES_GETSOCK_MAXNUM)))
            events |= POLLOUT;
        if (events)
            set[n++] = (struct pollfd){.fd = sockets[i], .events = events};
    }
    return n;
}

/* How long poll may wait: until a question must be asked again, or until the deadline. */
static int
patience(ares_channel channel, int64_t deadline)
{
    struct timeval max = {.tv_sec = RDNS_MAX_MS / 1000}, tv;
    struct timeval *next = ares_timeout(channel, &max, &tv);
    int again = (int)(next->tv_sec * 1000 + next->tv_usec / 1000) + 1;
    int left = clock_left(deadline);

    return again < left ? again : left;
}

static void
wait_for_answer(ares_channel channel, const struct question *q, int64_t deadline)
{
    struct pollfd set[ARES_GETSOCK_MAXNUM];

    while (!q->done && clock_ms() < deadline) {
        nfds_t n = poll_set(channel, set);
        int ready = poll(set, n, patience(channel, deadline));

        if (ready < 0 && errno != EINTR)
            return;
        if (ready <= 0) { /* nothing came: let it ask again */
            ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
            continue;
        }
        for (nfds_t i = 0; i < n; i++)
            if (set[i].revents)
                ares_process_fd(channel,
                    set[i].revents & (POLLIN | POLLERR | POLLHUP) ? set[i].fd : ARES_SOCKET_BAD,
                    set[i].revents & POLLOUT ? set[i].fd : ARES_SOCKET_BAD);
    }
}

void
rdns_init(struct rdns *r, const char *servers)
{
    *r = (struct rdns){.servers = servers};
}

void
rdns_close(struct rdns *r)
{
    if (r->channel)
        ares_destroy(r->channel);
    r->channel = NULL;
}

bool
rdns_name(struct rdns *r, const struct ip *ip, char out[RDNS_NAME_MAX])
{
    static const struct ip localhost4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}};
    int64_t deadline = clock_ms() + RDNS_MAX_MS;
    struct question q = {.out = out};
    char name[QUESTION_MAX];

    if (ip_is_loopback(ip)) {
        if (ip_is_v4(ip) && !ip_eq(ip, &localhost4))
            return false;
        return copy_name(out, "localhost");
    }
    if (!open_channel(r))
        return false;
    question_text(ip, name);
    ares_query(r->channel, name, ns_c_in, ns_t_ptr, on_answer, &q);
    wait_for_answer(r->channel, &q, deadline);
    ares_cancel(r->channel); /* an answer that comes later finds nobody; q is about to go */
    return q.found;
}
