/*
 * Daemons that plugins ask: <qpsmtpd/peer.h>.
 */
#include <qpsmtpd/peer.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <qpsmtpd/dns.h>
#include <qpsmtpd/plugin.h>

#include "base/clock.h"
#include "net/hosts.h"
#include "net/wait.h"
#include "plugin/instance.h"

#define ADDRESSES_MAX 8 /* of one name that are tried */

struct qp_peer {
    struct arena *arena;
    struct dns *dns; /* answers to other questions arrive while this one is waited for */
    int fd;          /* -1: closed */
    int64_t deadline;
    const char *error;
    size_t at, n; /* what was read and not given out yet: in[at] .. in[n - 1] */
    char in[QP_PEER_LINE_MAX + sizeof "\r\n"];
};

union address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* ---- failures ---- */

static bool
fail(struct qp_peer *p, const char *error)
{
    if (!p->error)
        p->error = error;
    return false;
}

static bool
fail_errno(struct qp_peer *p, const char *what)
{
    char text[128];

    return fail(p, arena_printf(p->arena, "%s: %s", what, strerror_r(errno, text, sizeof text)));
}

/* ---- where it is ---- */

/*
 * From the DNS, within the peer's time. The address families are asked for side by side. Neither the
 * questions nor the time of what the client makes us ask count here: it could use up both, and no
 * scanner would be found.
 */
static size_t
look_up(const struct qp_peer *p, const char *name, struct ip out[])
{
    static const enum qp_dns_type types[] = {QP_DNS_A, QP_DNS_AAAA};
    const struct dns_lookup *lookup[2];
    size_t n = 0;

    for (size_t i = 0; p->dns && i < 2; i++)
        lookup[i] = dns_ask_freely(p->dns, types[i], str_of(name));
    for (size_t i = 0; p->dns && i < 2; i++) {
        const struct qp_dns_answer *a = wait_answer(p->dns, lookup[i], p->deadline);

        for (size_t k = 0; k < a->n && n < ADDRESSES_MAX; k++)
            memcpy(out[n++].b, a->record[k].ip, sizeof out->b);
    }
    return n;
}

static size_t
find_addresses(const struct qp_peer *p, const char *where, struct ip out[])
{
    struct str literal = str_of(where);
    size_t n;

    if (literal.n > 2 && where[0] == '[' && where[literal.n - 1] == ']')
        literal = (struct str){where + 1, literal.n - 2};
    if (ip_parse(literal, &out[0]))
        return 1;
    n = hosts_find(HOSTS_FILE, where, out, ADDRESSES_MAX);
    return n > 0 ? n : look_up(p, where, out);
}

static socklen_t
address_of(const struct ip *ip, int port, union address *out)
{
    if (ip_is_v4(ip)) {
        out->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        memcpy(&out->in.sin_addr, ip->b + 12, 4);
        return sizeof out->in;
    }
    out->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    memcpy(&out->in6.sin6_addr, ip->b, sizeof ip->b);
    return sizeof out->in6;
}

/* ---- connecting ---- */

static void
close_fd(struct qp_peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* Until the socket is ready. false: not in time, with errno. */
static bool
await(const struct qp_peer *p, short events, int64_t deadline)
{
    int ready;

    do
        ready = wait_fd(p->dns, p->fd, events, deadline);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        errno = ETIMEDOUT;
    return ready > 0;
}

/* Of a connect(2) that goes on: 0, or its errno. */
static int
outcome(const struct qp_peer *p, int64_t deadline)
{
    socklen_t size = sizeof(int);
    int error = 0;

    if (!await(p, POLLOUT, deadline) || getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return errno;
    return error;
}

/* 0, or the errno of what went wrong; then nothing is open. */
static int
try_address(struct qp_peer *p, const union address *a, socklen_t n, int64_t deadline)
{
    int error = 0;

    p->fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0)
        return errno;
    /* of a local socket connect(2) never waits: EAGAIN is a full backlog */
    if (connect(p->fd, &a->any, n) < 0)
        error = errno == EINPROGRESS ? outcome(p, deadline) : errno;
    if (error != 0)
        close_fd(p);
    return error;
}

static bool
connect_local(struct qp_peer *p, const char *path)
{
    union address a = {.local = {.sun_family = AF_UNIX}};
    size_t n = strlen(path);

    if (n >= sizeof a.local.sun_path)
        return fail(p, "connect: the path is too long for a socket");
    memcpy(a.local.sun_path, path, n + 1);
    errno = try_address(p, &a, sizeof a.local, p->deadline);
    return errno == 0 || fail_errno(p, "connect");
}

/* An address that does not answer must leave time for the next one. */
static bool
connect_tcp(struct qp_peer *p, const char *where, int port)
{
    struct ip ip[ADDRESSES_MAX];
    size_t n = find_addresses(p, where, ip);
    union address a;

    if (n == 0)
        return fail(p, "no address of that name was found");
    for (size_t i = 0; i < n; i++) {
        int64_t share = clock_left(p->deadline) / (int64_t)(n - i);
        socklen_t size = address_of(&ip[i], port, &a);

        errno = try_address(p, &a, size, clock_ms() + share);
        if (errno == 0) /* small questions, each waited for: nothing may be held back */
            return setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0 ||
                   fail_errno(p, "TCP_NODELAY");
    }
    return fail_errno(p, "connect");
}

/* The path of a local socket, or a name or an address, then maybe a colon and a port. */
bool
qp_peer_arg(struct qp *q, const char *word, int port, struct qp_peer_at *out)
{
    struct str host = str_of(word);
    const char *colon = strrchr(word, ':');
    bool bracketed = host.n > 0 && word[0] == '[';
    struct ip ip;

    *out = (struct qp_peer_at){word, 0};
    if (word[0] == '/')
        return strlen(word) < sizeof((struct sockaddr_un){0}.sun_path) ||
               qp_fail(q, "%s: the path is too long for a socket", word);
    out->port = port;
    if (colon && (bracketed ? colon[-1] == ']' : !ip_parse(host, &ip))) {
        if (!qp_arg_int(q, colon + 1, 1, 65535, &out->port))
            return false;
        host.n = (size_t)(colon - word);
    }
    if (bracketed && host.n > 2 && host.p[host.n - 1] == ']')
        host = (struct str){host.p + 1, host.n - 2};
    else if (bracketed)
        host.n = 0;
    out->where = arena_dup(scope_arena(q, QP_INSTANCE), host);
    if (host.n == 0 || strpbrk(out->where, "[]/ \t") || (bracketed && !ip_parse(host, &ip)))
        return qp_fail(
            q, "\"%s\" is no place of a daemon: /path, host, host:port or [IPv6]:port", word);
    return true;
}

static void
forget(void *data)
{
    close_fd(data);
}

struct qp_peer *
qp_peer_open(struct qp *q, const char *where, int port, int64_t timeout_ms)
{
    struct qp_peer *p = arena_alloc(q->context->command, sizeof *p);

    p->arena = q->context->command;
    p->dns = q->context->conn ? q->context->host->dns : NULL;
    p->fd = -1;
    p->deadline = clock_ms() + timeout_ms;
    arena_at_reset(p->arena, forget, p);
    if (where[0] == '/')
        connect_local(p, where);
    else
        connect_tcp(p, where, port);
    return p;
}

void
qp_peer_close(struct qp_peer **p)
{
    close_fd(*p);
    explicit_bzero((*p)->in, sizeof(*p)->in);
    *p = NULL;
}

int
qp_peer_detach(struct qp_peer **p)
{
    int fd = (*p)->error ? -1 : (*p)->fd;

    if (fd >= 0)
        (*p)->fd = -1;
    qp_peer_close(p);
    return fd;
}

/* ---- talking ---- */

bool
qp_peer_write(struct qp_peer *p, const char *bytes, size_t n)
{
    while (n > 0 && !p->error) {
        ssize_t done = send(p->fd, bytes, n, MSG_NOSIGNAL);

        if (done >= 0) {
            bytes += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN ? !await(p, POLLOUT, p->deadline) : errno != EINTR) {
            fail_errno(p, "write");
        }
    }
    return !p->error;
}

/* Has it said something, or closed, that nobody has read yet? */
static bool
speaks(const struct qp_peer *p)
{
    char byte;

    return recv(p->fd, &byte, 1, MSG_PEEK) >= 0 || (errno != EAGAIN && errno != EINTR);
}

bool
qp_peer_offer(struct qp_peer *p, const char *bytes, size_t n)
{
    while (n > 0 && !p->error) {
        ssize_t done;

        if (speaks(p))
            return false;
        done = send(p->fd, bytes, n, MSG_NOSIGNAL);
        if (done >= 0) {
            bytes += done;
            n -= (size_t)done;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return false; /* what it has said before is still there to be read */
        } else if (errno == EAGAIN ? !await(p, POLLIN | POLLOUT, p->deadline) : errno != EINTR) {
            fail_errno(p, "write");
        }
    }
    return !p->error;
}

bool
qp_peer_finish(struct qp_peer *p)
{
    if (!p->error && shutdown(p->fd, SHUT_WR) < 0 && errno != ENOTCONN)
        fail_errno(p, "write");
    return !p->error;
}

void
qp_peer_limit(struct qp_peer *p, int64_t timeout_ms)
{
    p->deadline = clock_ms() + timeout_ms;
}

/* More bytes behind those that are there, as far as there is room: how many, 0 at the end; -1 is a
 * failure. */
static ssize_t
fill(struct qp_peer *p)
{
    ssize_t got;

    memmove(p->in, p->in + p->at, p->n - p->at);
    p->n -= p->at;
    p->at = 0;
    if (clock_left(p->deadline) == 0) { /* there may always be something to be read */
        errno = ETIMEDOUT;
        fail_errno(p, "read");
        return -1;
    }
    do {
        got = recv(p->fd, p->in + p->n, sizeof p->in - p->n, 0);
        if (got < 0 && errno == EAGAIN && !await(p, POLLIN, p->deadline))
            break;
    } while (got < 0 && (errno == EAGAIN || errno == EINTR));
    if (got < 0)
        fail_errno(p, "read");
    else
        p->n += (size_t)got;
    return got;
}

static void
fill_or_fail(struct qp_peer *p)
{
    if (fill(p) == 0)
        fail(p, "read: it has closed the connection");
}

/* Where the byte `end` is; NULL: it is not among the first max + 1 bytes, or there was a failure. */
static char *
find_end(struct qp_peer *p, char end, size_t max)
{
    while (!p->error) {
        char *found = memchr(p->in + p->at, end, p->n - p->at);

        if (found || p->n - p->at > max + 1)
            return found;
        fill_or_fail(p);
    }
    return NULL;
}

/* The first n bytes that are there as a text; the next one begins behind `used`. */
static char *
take(struct qp_peer *p, size_t n, size_t used)
{
    char *text = p->in + p->at;

    text[n] = '\0';
    p->at += used;
    return text;
}

static size_t
bounded(size_t max)
{
    return max < QP_PEER_LINE_MAX ? max : QP_PEER_LINE_MAX;
}

const char *
qp_peer_until(struct qp_peer *p, char end, size_t max)
{
    char *found = find_end(p, end, bounded(max)), *line = p->in + p->at;
    size_t n;

    if (p->error)
        return NULL;
    n = found ? (size_t)(found - line) : bounded(max) + 1;
    if (n > 0 && found && end == '\n' && line[n - 1] == '\r')
        n--;
    if (n > bounded(max) || memchr(line, '\0', n)) {
        fail(p, n > bounded(max) ? "read: the line is too long" : "read: the line holds a NUL");
        return NULL;
    }
    return take(p, n, (size_t)(found - line) + 1);
}

const char *
qp_peer_line(struct qp_peer *p, size_t max)
{
    return qp_peer_until(p, '\n', max);
}

static void
mask_nul(char *text, size_t n)
{
    for (char *at; (at = memchr(text, '\0', n)) != NULL;)
        *at = '?';
}

/* The first n bytes that are there stay, what is behind them goes, until the line ends. */
static char *
drop_to_end(struct qp_peer *p, size_t n)
{
    char *found = NULL;

    while (!found && !p->error) {
        p->n = p->at + n;
        fill_or_fail(p);
        found = memchr(p->in + p->at + n, '\n', p->n - p->at - n);
    }
    return found;
}

const char *
qp_peer_cut(struct qp_peer *p, size_t max)
{
    char *found = find_end(p, '\n', bounded(max)), *line = p->in + p->at;
    size_t n;

    if (p->error)
        return NULL;
    n = found ? (size_t)(found - line) : bounded(max);
    if (n > 0 && found && line[n - 1] == '\r')
        n--;
    if (n > bounded(max))
        n = bounded(max);
    mask_nul(line, n);
    if (!found)
        found = drop_to_end(p, n);
    return p->error ? NULL : take(p, n, (size_t)(found - (p->in + p->at)) + 1);
}

const char *
qp_peer_rest(struct qp_peer *p, size_t max)
{
    ssize_t got = 1;
    size_t n;

    while (!p->error && got > 0 && p->n - p->at <= bounded(max))
        got = fill(p);
    n = p->n - p->at;
    if (n > bounded(max))
        fail(p, "read: the text is too long");
    if (p->error)
        return NULL;
    mask_nul(p->in + p->at, n);
    return take(p, n, n); /* the end was read after all was moved to the front: there is room */
}

void
qp_peer_fail(struct qp_peer *p, const char *why)
{
    fail(p, why);
}

const char *
qp_peer_error(const struct qp_peer *p)
{
    return p->error;
}
