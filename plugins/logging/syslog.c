/*
 * logging/syslog - the log in the system's log
 *
 *   logging file:  logging/syslog [loglevel LEVEL] [priority PRIORITY] [ident NAME]
 *                                 [facility FACILITY] [logsock WAY[,WAY...]]
 *     loglevel     lines up to this level: emerg … debug or 0..7, default warn
 *     priority     give all lines this one instead of their own
 *     ident        name of the program, default qpsmtpd
 *     facility     mail (default), daemon, local0 … local7 and the others of syslog(3)
 *     logsock      ways to the daemon, the first that works is taken: unix and stream (the socket
 *                  /dev/log, both by default), the path of another, udp and tcp (127.0.0.1:514),
 *                  console
 *   hook logging:  `<PRI>TIME NAME[PID]: SESSION (HOOK) PLUGIN: TEXT` (RFC 3164); QP_DECLINED
 *
 * From 1.00. Not through syslog(3), of which a process has one: there can be several instances. A
 * daemon that was restarted is found again; while there is none, lines go to standard error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

#define RETRY_SECONDS 10
#define WAYS_MAX      8

struct facility {
    const char *name;
    int code;
};

static const struct facility facilities[] = {
    {"kern", LOG_KERN},
    {"user", LOG_USER},
    {"mail", LOG_MAIL},
    {"daemon", LOG_DAEMON},
    {"auth", LOG_AUTH},
    {"syslog", LOG_SYSLOG},
    {"lpr", LOG_LPR},
    {"news", LOG_NEWS},
    {"uucp", LOG_UUCP},
    {"cron", LOG_CRON},
    {"authpriv", LOG_AUTHPRIV},
    {"ftp", LOG_FTP},
    {"local0", LOG_LOCAL0},
    {"local1", LOG_LOCAL1},
    {"local2", LOG_LOCAL2},
    {"local3", LOG_LOCAL3},
    {"local4", LOG_LOCAL4},
    {"local5", LOG_LOCAL5},
    {"local6", LOG_LOCAL6},
    {"local7", LOG_LOCAL7},
};

/* A way to the daemon. */
struct way {
    const char *name;
    int family; /* AF_UNSPEC: a device, written to */
    int type;
    const char *path; /* of a device or of an AF_UNIX socket */
};

static const struct way known_ways[] = {
    {"unix", AF_UNIX, SOCK_DGRAM, "/dev/log"},
    {"stream", AF_UNIX, SOCK_STREAM, "/dev/log"},
    {"udp", AF_INET, SOCK_DGRAM, NULL},
    {"tcp", AF_INET, SOCK_STREAM, NULL},
    {"console", AF_UNSPEC, 0, "/dev/console"},
};

/* What changes after init. Each process has its own copy; the socket may be shared by fork(2). */
struct line_out {
    int fd; /* -1: none */
    time_t retry;
};

struct conf {
    int facility;
    bool fixed; /* priority holds for all lines */
    enum qp_log_level priority;
    const char *ident;
    struct way ways[WAYS_MAX];
    size_t n_ways;
    struct line_out *out;
};

/* ---- the socket ---- */

static void
out_close(void *data)
{
    struct line_out *out = data;

    if (out->fd >= 0)
        close(out->fd);
    out->fd = -1;
}

static int
way_open(const struct way *w)
{
    const struct timeval limit = {
        .tv_sec = 1}; /* for connect and send: a log must not hold mail up */
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons(514)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    int fd, connected;

    if (w->family == AF_UNSPEC)
        return open(w->path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    fd = socket(w->family, w->type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (w->family == AF_UNIX) {
        snprintf(local.sun_path, sizeof local.sun_path, "%s", w->path);
        connected = connect(fd, (const struct sockaddr *)&local, sizeof local);
    } else {
        inet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected = connect(fd, (const struct sockaddr *)&inet, sizeof inet);
    }
    if (connected == 0)
        return fd;
    close(fd);
    return -1;
}

static bool
out_ready(const struct conf *c, time_t now)
{
    struct line_out *out = c->out;

    if (now < out->retry)
        return false;
    for (size_t i = 0; i < c->n_ways && out->fd < 0; i++)
        out->fd = way_open(&c->ways[i]);
    if (out->fd < 0)
        out->retry = now + RETRY_SECONDS;
    return out->fd >= 0;
}

/* ---- arguments ---- */

static bool
read_facility(struct qp *q, const char *word, int *out)
{
    const char *name = strncasecmp(word, "LOG_", 4) == 0 ? word + 4 : word;

    for (size_t i = 0; i < sizeof facilities / sizeof *facilities; i++)
        if (strcasecmp(name, facilities[i].name) == 0) {
            *out = facilities[i].code;
            return true;
        }
    return qp_fail(
        q, "\"%s\" is no facility: mail, daemon, local0 and the others of syslog(3)", word);
}

/* "LOG_NOTICE" as syslog(3) has it, or as any level */
static bool
read_priority(struct qp *q, const char *word, enum qp_log_level *out)
{
    const char *name = strncasecmp(word, "LOG_", 4) == 0 ? word + 4 : word;

    if (strcasecmp(name, "err") == 0)
        name = "error";
    else if (strcasecmp(name, "warning") == 0)
        name = "warn";
    return qp_arg_level(q, name, out);
}

static bool
read_way(struct qp *q, const char *word, struct way *out)
{
    if (*word == '/') {
        *out = (struct way){"path", AF_UNIX, SOCK_DGRAM, word};
        if (strlen(word) < sizeof((struct sockaddr_un){0}).sun_path)
            return true;
        return qp_fail(q, "%s is too long for the path of a socket", word);
    }
    for (size_t i = 0; i < sizeof known_ways / sizeof *known_ways; i++)
        if (strcasecmp(word, known_ways[i].name) == 0) {
            *out = known_ways[i];
            return true;
        }
    return qp_fail(
        q, "\"%s\" is no way to a syslog daemon: unix, stream, udp, tcp, console or a path", word);
}

static bool
read_ways(struct qp *q, const char *list, struct conf *c)
{
    char *rest = qp_strdup(q, QP_INSTANCE, list), *word;

    while ((word = strsep(&rest, ",")) != NULL) {
        if (c->n_ways == WAYS_MAX)
            return qp_fail(q, "logsock takes %d ways at most", WAYS_MAX);
        if (!read_way(q, word, &c->ways[c->n_ways]))
            return false;
        c->n_ways++;
        /* A path does not say which kind of socket it is: connect(2) will know. */
        if (*word == '/' && c->n_ways < WAYS_MAX)
            c->ways[c->n_ways++] = (struct way){"path", AF_UNIX, SOCK_STREAM, word};
    }
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *level_word = "warn", *priority = NULL, *facility = "mail", *ways = "unix,stream";
    enum qp_log_level level;

    c->ident = "qpsmtpd";
    c->out = qp_alloc(q, QP_INSTANCE, sizeof *c->out);
    c->out->fd = -1;
    qp_at_end(q, QP_INSTANCE, out_close, c->out);
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{"loglevel", .text = &level_word},
                {"priority", .text = &priority}, {"ident", .text = &c->ident},
                {"facility", .text = &facility}, {"logsock", .text = &ways}, {0}}) ||
        !qp_arg_level(q, level_word, &level) || !read_facility(q, facility, &c->facility) ||
        !read_ways(q, ways, c))
        return false;
    c->fixed = priority != NULL;
    if (c->fixed && !read_priority(q, priority, &c->priority))
        return false;
    qp_logging_wants(q, level);
    return true;
}

/* ---- the line ---- */

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    const struct conf *c = qp_instance(q);
    const char *session = event->session ? event->session : "-";
    enum qp_log_level priority = c->fixed ? c->priority : event->level;
    char stamp[32] = "", front[256], plain[32];
    time_t now = time(NULL);
    struct tm tm;

    if (localtime_r(&now, &tm))
        strftime(stamp, sizeof stamp, "%b %e %T", &tm);
    snprintf(front, sizeof front, "<%d>%s %s[%ld]: %s", c->facility | (int)priority, stamp,
        c->ident, (long)getpid(), session);
    for (int tries = 0; tries < 2 && out_ready(c, now); tries++) {
        if (qp_log_write(c->out->fd, front, event))
            return QP_DECLINED;
        if (errno == EAGAIN) /* the daemon does not keep up: do not wait for it with each line */
            c->out->retry = now + RETRY_SECONDS;
        else
            out_close(c->out); /* it may have been restarted: look for it now */
    }
    qp_log_write(STDERR_FILENO, qp_log_front(plain, event), event);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/syslog", .init = on_init, .logging = on_logging);
