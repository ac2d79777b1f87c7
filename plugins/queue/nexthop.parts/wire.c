#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEEP_ADDRESSES_MS 60000 /* then the name is looked up again */

static bool
fail(struct wire *w, const char *why)
{
    snprintf(w->why, sizeof w->why, "%s", why);
    return false;
}

static int64_t
deadline(const struct wire *w, int64_t timeout_ms)
{
    int64_t end = qp_clock_ms() + timeout_ms;

    return end < w->end ? end : w->end;
}

/* true: the events, or an error that the next call will tell */
static bool
wait_for(struct wire *w, short events, int64_t end)
{
    struct pollfd p = {.fd = w->fd, .events = events};

    for (;;) {
        int64_t left = end - qp_clock_ms();
        int ready;

        if (left <= 0)
            return fail(w, "timeout");
        ready = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return fail(w, strerror(errno));
    }
}

/* ---- where is it? ---- */

static void
keep_addresses(struct wire_place *place, const struct addrinfo *list)
{
    place->n = 0;
    place->asked = qp_clock_ms();
    for (; list && place->n < WIRE_ADDRESSES; list = list->ai_next) {
        if (list->ai_addrlen > sizeof place->address[0])
            continue;
        memcpy(&place->address[place->n], list->ai_addr, list->ai_addrlen);
        place->length[place->n++] = list->ai_addrlen;
    }
}

/* getaddrinfo(3) waits as long as resolv.conf says; getaddrinfo_a(3), with a thread that uses this,
 * as long as we say. */
struct wire_lookup {
    struct gaicb request;
    struct addrinfo hints;
    char host[HOP_HOST_MAX + 1], port[6];
};

static const char *
start_lookup(struct wire_place *place, const struct hop *hop)
{
    struct wire_lookup *l = calloc(1, sizeof *l);
    struct gaicb *list[1];
    int error;

    if (!l)
        return "out of memory";
    snprintf(l->host, sizeof l->host, "%s", hop->host);
    snprintf(l->port, sizeof l->port, "%u", hop->port);
    l->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    l->request = (struct gaicb){.ar_name = l->host, .ar_service = l->port, .ar_request = &l->hints};
    list[0] = &l->request;
    error = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (error == 0) {
        place->lookup = l;
        return NULL;
    }
    free(l);
    return gai_strerror(error);
}

/* One that we did not wait for goes on, and its answer is taken the next time. */
static bool
ask(struct wire *w, struct wire_place *place, const struct hop *hop, int64_t end)
{
    const char *wrong = place->lookup ? NULL : start_lookup(place, hop);
    struct wire_lookup *l = place->lookup;
    int result;

    if (!l)
        return fail(w, wrong);
    while ((result = gai_error(&l->request)) == EAI_INPROGRESS) {
        const struct gaicb *list[] = {&l->request};
        int64_t left = end - qp_clock_ms();
        struct timespec t = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

        if (left <= 0)
            return fail(w, "its name cannot be looked up in time");
        gai_suspend(list, 1, &t);
    }
    if (result == 0) {
        keep_addresses(place, l->request.ar_result);
        freeaddrinfo(l->request.ar_result);
    }
    free(l);
    place->lookup = NULL;
    return result == 0 || fail(w, gai_strerror(result));
}

void
wire_forget(struct wire_place *place)
{
    /* What a thread still uses stays where it is. */
    if (place->lookup && gai_cancel(&place->lookup->request) == EAI_CANCELED)
        free(place->lookup);
    place->lookup = NULL;
}

static bool
locate(struct wire *w, const struct hop *hop, struct wire_place *place, int64_t end)
{
    const struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *list;
    char port[6];

    if (place->n && qp_clock_ms() - place->asked < KEEP_ADDRESSES_MS)
        return true;
    snprintf(port, sizeof port, "%u", hop->port);
    if (getaddrinfo(hop->host, port, &hints, &list) == 0) { /* an address: that asks nobody */
        keep_addresses(place, list);
        freeaddrinfo(list);
        return true;
    }
    /* Old addresses are better than none. */
    return ask(w, place, hop, end) || place->n > 0;
}

/* ---- opening and closing ---- */

static bool
connect_to(struct wire *w, const struct sockaddr *address, socklen_t length, int64_t end)
{
    socklen_t n = sizeof(int);
    int error = 0, on = 1;

    w->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (w->fd < 0)
        return fail(w, strerror(errno));
    if (connect(w->fd, address, length) < 0 && errno != EINPROGRESS) {
        fail(w, strerror(errno)); /* EAGAIN of a unix socket: its backlog is full */
        goto failed;
    }
    if (!wait_for(w, POLLOUT, end))
        goto failed;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error != 0) {
        fail(w, strerror(error ? error : errno));
        goto failed;
    }
    if (address->sa_family != AF_UNIX) /* we write whole batches, nothing is won by waiting */
        setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return true;
failed:
    close(w->fd);
    w->fd = -1;
    return false;
}

bool
wire_open(struct wire *w, const struct hop *hop, struct wire_place *place, int64_t timeout_ms)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    w->fd = -1;
    w->tls.lib = NULL;
    w->in_at = w->in_n = w->out_n = 0;
    w->why[0] = '\0';
    if (hop->path[0]) {
        memcpy(sun.sun_path, hop->path, sizeof sun.sun_path);
        return connect_to(w, (const struct sockaddr *)&sun, sizeof sun, deadline(w, timeout_ms));
    }
    if (!locate(w, hop, place, deadline(w, timeout_ms)))
        return false;
    for (size_t i = 0; i < place->n; i++)
        if (connect_to(w, (const struct sockaddr *)&place->address[i], place->length[i],
                deadline(w, timeout_ms)))
            return true;
    return false;
}

void
wire_close(struct wire *w)
{
    tls_close(&w->tls);
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

bool
wire_start_tls(
    struct wire *w, const struct tls_library *lib, const struct tls_wish *wish, int64_t timeout_ms)
{
    int64_t end = deadline(w, timeout_ms);
    short events = 0;
    int done;

    if (w->in_at < w->in_n)
        return fail(w, "bytes ahead of the TLS handshake");
    if (!tls_open(&w->tls, lib, w->fd, wish))
        return fail(w, w->tls.why);
    while ((done = tls_handshake(&w->tls, &events)) < 0 && errno == EAGAIN)
        if (!wait_for(w, events, end))
            return false;
    if (done == 0)
        return fail(w, "the other side has ended TLS");
    return done > 0 || fail(w, w->tls.why);
}

/* ---- bytes ---- */

static ssize_t
send_some(struct wire *w, const char *p, size_t n, short *events)
{
    ssize_t sent;

    if (w->tls.lib)
        return tls_write(&w->tls, p, n, events);
    *events = POLLOUT;
    do
        sent = send(w->fd, p, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static bool
send_all(struct wire *w, const char *p, size_t n, int64_t timeout_ms)
{
    int64_t end = deadline(w, timeout_ms);

    while (n > 0) {
        short events = POLLOUT;
        ssize_t sent = send_some(w, p, n, &events);

        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        } else if (sent < 0 && errno == EAGAIN) {
            if (!wait_for(w, events, end))
                return false;
        } else {
            return fail(w, sent == 0    ? "connection closed"
                           : w->tls.lib ? w->tls.why
                                        : strerror(errno));
        }
    }
    return true;
}

bool
wire_flush(struct wire *w, int64_t timeout_ms)
{
    size_t n = w->out_n;

    w->out_n = 0;
    return send_all(w, w->out, n, timeout_ms);
}

bool
wire_put(struct wire *w, const char *p, size_t n, int64_t timeout_ms)
{
    if (n > sizeof w->out - w->out_n && !wire_flush(w, timeout_ms))
        return false;
    if (n > sizeof w->out)
        return send_all(w, p, n, timeout_ms);
    memcpy(w->out + w->out_n, p, n);
    w->out_n += n;
    return true;
}

static ssize_t
receive_some(struct wire *w, short *events)
{
    ssize_t got;

    if (w->tls.lib)
        return tls_read(&w->tls, w->in, sizeof w->in, events);
    *events = POLLIN;
    do
        got = recv(w->fd, w->in, sizeof w->in, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

bool
wire_read(struct wire *w, int64_t timeout_ms)
{
    int64_t end = deadline(w, timeout_ms);

    if (w->out_n && !wire_flush(w, timeout_ms))
        return false;
    while (w->in_at == w->in_n) {
        short events = POLLIN;
        ssize_t got = receive_some(w, &events);

        if (got > 0) {
            w->in_at = 0;
            w->in_n = (size_t)got;
        } else if (got < 0 && errno == EAGAIN) {
            if (!wait_for(w, events, end))
                return false;
        } else {
            return fail(w, got == 0     ? "connection closed"
                           : w->tls.lib ? w->tls.why
                                        : strerror(errno));
        }
    }
    return true;
}

bool
wire_quiet(struct wire *w)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    short events = 0;
    ssize_t got;

    if (w->fd < 0 || w->in_at < w->in_n)
        return false;
    if (poll(&p, 1, 0) == 0)
        return true;
    if (!w->tls.lib) /* there is nothing to be said now */
        return false;
    got =
        receive_some(w, &events); /* TLS 1.3 sends tickets when it likes, and those are not shown */
    if (got > 0) {                /* to be read, by who wants to know why it speaks */
        w->in_at = 0;
        w->in_n = (size_t)got;
    }
    return got < 0 && errno == EAGAIN;
}

bool
wire_local(const struct wire *w)
{
    struct sockaddr_storage peer = {0};
    socklen_t n = sizeof peer;

    if (getpeername(w->fd, (struct sockaddr *)&peer, &n) < 0)
        return false;
    if (peer.ss_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)&peer)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (peer.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&peer)->sin6_addr);
    return peer.ss_family == AF_UNIX;
}
