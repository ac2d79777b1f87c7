#include "server/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

/* One address and port that is to be listened on. */
struct place {
    struct sockaddr_storage sa;
    socklen_t len;
    bool tls;
    bool optional; /* part of "every address": a host without that family is no error */
};

struct places {
    struct place v[LISTENERS_MAX];
    size_t n;
};

enum open_result { OPEN_DONE, OPEN_ABSENT, OPEN_FAILED };

static bool
places_add(struct places *p, const char *host, int port, bool tls, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char service[8];
    int status;

    snprintf(service, sizeof service, "%d", port);
    status = getaddrinfo(host, service, &hints, &list);
    if (status != 0)
        return err_set(e, "listen on %s: %s", host, gai_strerror(status));
    for (struct addrinfo *ai = list; ai; ai = ai->ai_next) {
        if (p->n == LISTENERS_MAX) {
            freeaddrinfo(list);
            return err_set(e, "listen on %s: more than %d addresses", host, LISTENERS_MAX);
        }
        memcpy(&p->v[p->n].sa, ai->ai_addr, ai->ai_addrlen);
        p->v[p->n].len = ai->ai_addrlen;
        p->v[p->n].tls = tls;
        p->v[p->n++].optional = false;
    }
    freeaddrinfo(list);
    return true;
}

static bool
places_add_ports(struct places *p, const char *host, const struct options *o, struct err *e)
{
    for (size_t i = 0; i < o->ports_n; i++)
        if (!places_add(p, host, o->ports[i], false, e))
            return false;
    for (size_t i = 0; i < o->tls_ports_n; i++)
        if (!places_add(p, host, o->tls_ports[i], true, e))
            return false;
    return true;
}

static bool
is_tls_port(const struct options *o, int port)
{
    for (size_t i = 0; i < o->tls_ports_n; i++)
        if (o->tls_ports[i] == port)
            return true;
    return false;
}

static bool
places_find(struct places *p, const struct options *o, struct err *e)
{
    p->n = 0;
    if (o->listen_n == 0) {
        if (!places_add_ports(p, "::", o, e) || !places_add_ports(p, "0.0.0.0", o, e))
            return false;
        for (size_t i = 0; i < p->n; i++)
            p->v[i].optional = true;
    }
    for (size_t i = 0; i < o->listen_n; i++) {
        const struct listen_address *a = &o->listen[i];

        if (a->port < 0 ? !places_add_ports(p, a->host, o, e)
                        : !places_add(p, a->host, a->port, is_tls_port(o, a->port), e))
            return false;
    }
    return true;
}

static bool
wants_v4(const struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].sa.ss_family == AF_INET)
            return true;
    return false;
}

static bool
is_zero(const uint8_t *b, size_t n)
{
    while (n > 0 && *b == 0)
        b++, n--;
    return n == 0;
}

static bool
is_wildcard(const struct ip *ip)
{
    return ip_is_v4(ip) ? is_zero(ip->b + 12, 4) : is_zero(ip->b, 16);
}

/* Where it listens now, which the kernel knows better than the options. */
static bool
describe(struct listener *l)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    if (getsockname(l->fd, (struct sockaddr *)&sa, &len) < 0 ||
        !ip_from_sockaddr((struct sockaddr *)&sa, &l->ip, &l->port))
        return false;
    l->any = is_wildcard(&l->ip);
    return true;
}

static bool
start_listening(struct listener *l, const struct place *p, bool v6only)
{
    const struct sockaddr *sa = (const struct sockaddr *)&p->sa;
    int on = 1, only = v6only;

    /* TCP_NODELAY: accepted sockets inherit it; replies leave in one piece anyway. */
    if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return false;
    if (sa->sa_family == AF_INET6 &&
        setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
        return false;
    return bind(l->fd, sa, p->len) == 0 && listen(l->fd, SOMAXCONN) == 0 && describe(l);
}

/*
 * open_one - v6only: [::] leaves IPv4 to the sockets that were asked for it; else it serves both
 *
 * returns  OPEN_ABSENT: the host has no such address or family
 */
static enum open_result
open_one(struct listener *l, const struct place *p, bool v6only, struct err *e)
{
    const struct sockaddr *sa = (const struct sockaddr *)&p->sa;
    char text[LISTENER_TEXT_MAX] = "?";
    bool absent;

    if (ip_from_sockaddr(sa, &l->ip, &l->port))
        listener_text(&l->ip, l->port, text);
    l->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd >= 0 && start_listening(l, p, v6only))
        return OPEN_DONE;
    absent = errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL;
    err_sys(e, "listen on %s", text);
    if (l->fd >= 0)
        close(l->fd);
    return absent ? OPEN_ABSENT : OPEN_FAILED;
}

bool
listeners_open(struct listeners *l, const struct options *o, struct err *e)
{
    struct places places;
    bool v6only;

    l->n = 0;
    if (!places_find(&places, o, e))
        return false;
    v6only = wants_v4(&places);
    for (size_t i = 0; i < places.n; i++) {
        enum open_result result = open_one(&l->v[l->n], &places.v[i], v6only, e);

        if (result == OPEN_DONE) {
            l->v[l->n++].tls = places.v[i].tls;
        } else if (result == OPEN_FAILED || !places.v[i].optional) {
            listeners_close(l);
            return false;
        }
    }
    return l->n > 0 || o->pool;
}

bool
listeners_open_pool(struct listeners *l, const struct options *o, struct err *e)
{
    struct listener *added = &l->v[l->n];

    if (!o->pool)
        return true;
    *added = (struct listener){.pool = true};
    if (!pool_listen(&l->pool, o->pool, &added->fd, e))
        return false;
    l->n++;
    return true;
}

void
listeners_close(struct listeners *l)
{
    for (; l->n > 0; l->n--) {
        if (l->v[l->n - 1].pool)
            pool_remove(&l->pool); /* while it is open, no other file can have its number */
        close(l->v[l->n - 1].fd);
    }
}

void
listeners_end(struct listeners *l)
{
    /* Busy children hold the sockets too: without shutdown clients would queue up behind them. */
    for (size_t i = 0; i < l->n; i++)
        shutdown(l->v[i].fd, SHUT_RDWR);
    listeners_close(l);
}

void
listener_text(const struct ip *ip, int port, char out[LISTENER_TEXT_MAX])
{
    char text[IP_TEXT_MAX];

    ip_format(ip, text);
    snprintf(out, LISTENER_TEXT_MAX, ip_is_v4(ip) ? "%s:%d" : "[%s]:%d", text, port);
}
