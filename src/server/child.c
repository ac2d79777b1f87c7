#include "server/child.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/caller.h"
#include "server/fault.h"
#include "server/pool_take.h"
#include "smtp/session.h"

#define EVENTS       8
#define LEAVE_EVENT  UINT32_MAX
#define ACCEPT_PAUSE 100 /* ms, when descriptors or memory are short */

/* Process-wide, for the signal handlers. The descriptor stands in the epoll set, so that a signal
 * that arrives just before the wait ends it all the same. */
static struct {
    volatile sig_atomic_t asked;
    int fd;
} leave = {.fd = -1};

struct state {
    struct child *child;
    struct session *session;
    int epoll;
    int64_t receive_timeout_ms; /* of each accepted socket; 0: none */
    int taken;                  /* connections so far */
    bool ended;                 /* nobody listens any more */
    bool short_of_resources;
};

/* A client, as far as the socket tells. */
struct client {
    int fd;
    struct ip ip, local_ip;
    int port, local_port;
    char text[IP_TEXT_MAX];
    char local_text[IP_TEXT_MAX];
    char host[RDNS_NAME_MAX]; /* "": not known */
    bool tls;
    struct proxied *proxied; /* who has sent it; NULL: it came itself */
};

static void
on_leave(int number)
{
    int error = errno;
    uint64_t one = 1;

    if (number == SIGTERM)
        session_leave_soon();
    leave.asked = 1;
    if (write(leave.fd, &one, sizeof one) < 0)
        leave.asked = 1; /* full: the wait ends anyway */
    errno = error;
}

static bool
prepare_signals(void)
{
    struct sigaction sa = {.sa_handler = on_leave, .sa_flags = SA_RESTART};
    sigset_t none;

    leave.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (leave.fd < 0)
        return false;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGHUP, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* none gets lost: leave.fd wakes whoever waits */
    return true;
}

static bool
watch(int epoll, int fd, uint32_t events, uint32_t what)
{
    struct epoll_event event = {.events = events, .data.u32 = what};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* EPOLLEXCLUSIVE: one client wakes one child. */
static bool
prepare_wait(struct state *s)
{
    const struct listeners *l = s->child->listeners;

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0 || !watch(s->epoll, leave.fd, EPOLLIN, LEAVE_EVENT))
        return false;
    for (uint32_t i = 0; i < l->n; i++)
        if (!watch(s->epoll, l->v[i].fd, EPOLLIN | EPOLLEXCLUSIVE, i))
            return false;
    return true;
}

/* Without waiting; what it has sent already is read away, so that our line is not lost to a reset.
 */
static void
refuse(int fd, const char *line)
{
    char waste[4096];

    send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < 16 && recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
        ;
}

static void
refuse_crowd(const struct client *c, const struct claim *claim, int max)
{
    char line[128] = ""; /* who begins with a handshake could not read it */

    log_at(LOG_LEVEL_NOTICE, "Too many connections from %s: %d > %d.  Denying connection.", c->text,
        claim->from_ip, max);
    if (!c->tls)
        snprintf(line, sizeof line, "421 Sorry, too many connections from %s, try again later\r\n",
            c->text);
    refuse(c->fd, line);
}

/* 0: as long as it takes */
static struct timeval
receive_limit(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* As tcpserver -v tells of its clients. */
static void
log_client(enum log_level level, const char *what, const struct client *c)
{
    log_at(level, "%s %ld %s:%d %s:%s:%d", what, (long)getpid(), c->local_text, c->local_port,
        c->host, c->text, c->port);
}

/* Do the rules let it in, and with which variables? A refused one is answered as tcpserver does:
 * not at all. */
static bool
obey_rules(struct tcprules *rules, const struct client *c, const char *const **env)
{
    const struct tcprules_client client = {.ip = c->text, .host = *c->host ? c->host : NULL};
    struct err e;

    switch (tcprules_ask(rules, &client, env, &e)) {
    case TCPRULES_ALLOW:
        return true;
    case TCPRULES_DENY:
        log_client(LOG_LEVEL_NOTICE, "deny", c);
        return false;
    case TCPRULES_BROKEN:
        break;
    }
    log_at(LOG_LEVEL_ERROR, "tcprules: %s", e.text);
    refuse(c->fd, c->tls ? "" : "421 unable to read controls (#4.3.0)\r\n");
    return false;
}

static void
serve(struct state *s, struct client *c, const struct claim *claim)
{
    static const char *const nothing[] = {NULL};
    const struct options *o = s->child->options;
    enum session_end end;
    struct peer p = {
        .in = c->fd,
        .out = c->fd,
        .remote_ip = c->text,
        .remote_port = c->port,
        .local_ip = c->local_text,
        .local_port = c->local_port,
        .env = nothing,
        .sequence = claim->sequence,
        .from_ip = claim->from_ip,
        .from_ip_max = o->max_from_ip,
        .receive_timeout_ms = s->receive_timeout_ms,
        .wake = leave.fd,
        .tls = c->tls,
    };

    if (c->proxied && c->proxied->proxy.known)
        proxied_fill(&p, c->proxied);
    if (!o->no_rdns && rdns_name(s->child->service->dns, &c->ip, c->host))
        p.remote_host = c->host;
    log_at(LOG_LEVEL_INFO, "Accepted connection %zu/%d from %s / %s", claim->busy, o->children,
        c->text, p.remote_host ? p.remote_host : "Unknown");
    if (s->child->tcprules && !obey_rules(s->child->tcprules, c, &p.env))
        return;
    log_at(LOG_LEVEL_INFO, "status: %zu/%d", claim->busy, o->children);
    log_client(LOG_LEVEL_INFO, "ok", c);
    end = session_run(s->session, &p);
    log_at(LOG_LEVEL_INFO, "end %ld status %d", (long)getpid(), end == SESSION_ERROR ? 256 : 0);
}

/* The accepted socket knows the local address where the listening one was for all of them. */
static bool
find_local(struct client *c, const struct listener *l)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    c->local_ip = l->ip;
    c->local_port = l->port;
    if (l->any && (getsockname(c->fd, (struct sockaddr *)&sa, &len) < 0 ||
                      !ip_from_sockaddr((struct sockaddr *)&sa, &c->local_ip, &c->local_port)))
        return false;
    ip_format(&c->ip, c->text);
    ip_format(&c->local_ip, c->local_text);
    return true;
}

/*
 * Is it a proxy of ours? Then it says who the client is, before anything else happens; the child is
 * busy meanwhile, but nobody's limit counts. false: it said it wrongly.
 */
static bool
hear_proxy(struct state *s, struct client *c)
{
    struct child *child = s->child;
    struct proxied *x;
    bool heard;

    if (!proxied_has(&child->service->proxies, &c->ip))
        return true;
    x = c->proxied = malloc(sizeof *x); /* large, and seldom needed */
    if (!x)
        return false;
    scoreboard_claim(child->board, child->slot, &c->ip, c->port, 0);
    heard = proxied_read(c->fd, c->text, x);
    scoreboard_release(child->board, child->slot);
    if (heard && x->proxy.known) {
        c->ip = x->proxy.source;
        c->port = x->proxy.source_port;
        memcpy(c->text, x->remote, sizeof c->text);
    }
    return heard;
}

static void
admit(struct state *s, struct client *c)
{
    struct child *child = s->child;
    int max = child->options->max_from_ip;
    struct claim claim = scoreboard_claim(child->board, child->slot, &c->ip, c->port, max);

    if (!claim.admitted) {
        refuse_crowd(c, &claim, max);
        return;
    }
    fault_client(c->fd);
    serve(s, c, &claim);
    dns_end(child->service->dns); /* also of a client that the rules have sent away */
    fault_client(-1);
    scoreboard_release(child->board, child->slot);
}

/* ---- sessions of a qpsmtpd that tcpserver has started ---- */

/* Accepted connections have it from their listener, others do not. */
static int64_t
limit_one(const struct state *s, int fd)
{
    struct timeval limit = receive_limit(session_receive_timeout(s->session));

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
        return 0; /* a pipe */
    return session_receive_timeout(s->session);
}

/* Who it is, and what it may, that qpsmtpd knows: neither tcprules nor a limit of ours counts here. */
static enum session_end
serve_handed(struct state *s, const struct pool_session *handed, const struct claim *claim)
{
    const struct options *o = s->child->options;
    struct peer p = {
        .in = handed->in,
        .out = handed->out,
        .env = handed->env,
        .env_whole = true,
        .sequence = claim->sequence,
        .receive_timeout_ms = limit_one(s, handed->in),
        .wake = leave.fd,
    };
    struct caller caller;

    if (!caller_find(&caller, &p, s->child->service, !o->no_rdns))
        return SESSION_ERROR;
    log_at(LOG_LEVEL_INFO, "Accepted connection %zu/%d from %s / %s", claim->busy, o->children,
        p.remote_ip ? p.remote_ip : "unknown", p.remote_host ? p.remote_host : "Unknown");
    return session_run(s->session, &p);
}

static void
take_session(struct state *s, int control)
{
    static const struct ip nobody; /* no client of the TCP sockets has this address */
    struct child *child = s->child;
    struct pool_session handed;
    struct claim claim;
    enum session_end end;

    if (!pool_take(control, &handed))
        return;
    s->taken++;
    claim = scoreboard_claim(child->board, child->slot, &nobody, 0, 0);
    fault_client(handed.out);
    end = serve_handed(s, &handed, &claim);
    dns_end(child->service->dns);
    fault_client(-1);
    scoreboard_release(child->board, child->slot);
    pool_end(&handed, end == SESSION_ERROR ? 1 : 0);
}

/* ---- from one to the next ---- */

/* accept(2) also reports what went wrong with that one client; only few errors are about us. */
static void
explain_accept(struct state *s, int error)
{
    struct pollfd p = {.fd = leave.fd, .events = POLLIN};

    if (error == EINVAL || error == EBADF || error == ENOTSOCK)
        s->ended = true; /* listeners_end() in the listener */
    if (error != EMFILE && error != ENFILE && error != ENOMEM && error != ENOBUFS)
        return;
    if (!s->short_of_resources)
        log_at(LOG_LEVEL_ERROR, "accept: %s", strerror(error));
    s->short_of_resources = true;
    poll(&p, 1, ACCEPT_PAUSE);
}

static void
take_client(struct state *s, const struct listener *l)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct client c = {.fd = accept4(l->fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC)};

    if (c.fd < 0) {
        explain_accept(s, errno);
        return;
    }
    s->short_of_resources = false;
    if (l->pool) {
        take_session(s, c.fd);
        return;
    }
    s->taken++;
    c.tls = l->tls;
    if (ip_from_sockaddr((struct sockaddr *)&sa, &c.ip, &c.port) && find_local(&c, l) &&
        hear_proxy(s, &c))
        admit(s, &c);
    free(c.proxied);
    close(c.fd);
}

/*
 * Wait for one client and serve it. A child that is asked to leave looks at what it was woken for
 * first: the kernel has woken nobody else for that client.
 */
static void
turn(struct state *s)
{
    struct epoll_event events[EVENTS];
    sigset_t none;
    int n;

    sigemptyset(&none);
    n = epoll_pwait(s->epoll, events, EVENTS, -1, &none);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u32 == LEAVE_EVENT)
            continue;
        take_client(s, &s->child->listeners->v[events[i].data.u32]);
        return;
    }
}

static bool
goes_on(const struct state *s)
{
    int lifetime = s->child->options->child_lifetime;

    return !leave.asked && !s->ended && (lifetime == 0 || s->taken < lifetime);
}

/* Its death is our SIGTERM; false: it was faster than this call. */
static bool
follow_listener(const struct child *c)
{
    return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == c->listener;
}

static void
prepare_process(const struct child *c)
{
    if (c->options->pretty_child)
        prctl(PR_SET_NAME, "qpsmtpd child");
    if (c->nice > 0)
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + c->nice);
}

/* Accepted sockets inherit it, so no client costs a call. */
static void
limit_receiving(struct state *s)
{
    const struct listeners *l = s->child->listeners;
    int64_t ms = session_receive_timeout(s->session);
    struct timeval limit = receive_limit(ms);

    for (size_t i = 0; ms && i < l->n; i++)
        if (!l->v[i].pool &&
            setsockopt(l->v[i].fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
            ms = 0;
    s->receive_timeout_ms = ms;
}

int
child_run(struct child *c)
{
    struct state s = {.child = c, .epoll = -1};
    struct activity *activity = scoreboard_activity(c->board, c->slot);

    prepare_process(c);
    fault_install(activity);
    if (!prepare_signals() || !prepare_wait(&s)) {
        log_at(LOG_LEVEL_CRIT, "a child cannot start: %s", strerror(errno));
        return 111;
    }
    if (!follow_listener(c))
        return 0;
    host_activity_set(c->service->host, activity);
    host_child_init(c->service->host);
    s.session = c->service->session;
    limit_receiving(&s);
    while (goes_on(&s))
        turn(&s);
    scoreboard_leave(c->board, c->slot);
    close(s.epoll);
    service_close(c->service);
    return 0;
}
