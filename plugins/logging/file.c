/*
 * logging/file - the log in a file, or into a program
 *
 *   logging file:  logging/file [loglevel LEVEL] [reopen] [nosplit] [tsformat FORMAT] PATH
 *                  logging/file [loglevel LEVEL] [tsformat FORMAT] |PROGRAM [WORD ...]
 *     LEVEL        emerg … debug or 0..7, default warn
 *     reopen       open the file again for each connection
 *     nosplit      a connection stays in the file in which it began
 *     tsformat     strftime(3) of the time in front of each line, default "%a %b %d %T %Y"
 *     PATH         may contain strftime conversions, and %i: the id of the connection, or "parent"
 *     PROGRAM      absolute path, run without a shell, gets the lines on its standard input
 *   hook logging:  `TIME HOST[PID]: SESSION (HOOK) PLUGIN: TEXT`; always QP_DECLINED
 *
 * From 1.00. A line that cannot be written goes to standard error: none is lost in silence.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/process.h>

#define RETRY_SECONDS   10  /* after a file or program could not be opened */
#define LIVES_SECONDS   2   /* a program that dies younger does not work at all */
#define GOODBYE_MS      100 /* for a program that has closed its standard input */
#define PARENT          "parent"
#define DEFAULT_TIME    "%a %b %d %T %Y"
#define LINE_FRONT_ROOM 400

/* What is open now. It changes after init: each process has its own copy from fork(2) on. */
struct output {
    int fd;    /* -1: nothing */
    pid_t pid; /* of the program, and since when it runs */
    time_t started;
    char path[PATH_MAX]; /* of the file */
    char session[16];    /* of the line before; "" for one outside of a connection */
    time_t retry;        /* after a failure: not before */
};

struct conf {
    bool reopen, nosplit;
    const char *time_format;
    const char *path;           /* NULL: a program */
    const char *const *program; /* its words */
    char host[HOST_NAME_MAX + 1];
    struct output *output;
};

/* ---- names and times ---- */

/* strftime with the administrator's format, unchecked by compilers. false: empty or too long. */
static bool
format_time(char *out, size_t room, const char *format, const struct tm *now)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return strftime(out, room, format, now) > 0;
#pragma GCC diagnostic pop
}

/* The path with %i and the conversions of strftime replaced. */
static bool
expand_path(char out[PATH_MAX], const char *path, const char *session, const struct tm *now)
{
    char format[PATH_MAX];
    size_t n = 0;

    for (const char *p = path; *p; p++) {
        bool escape = p[0] == '%' && p[1];
        const char *piece = escape && p[1] == 'i' ? session : p;
        size_t length = piece == session ? strlen(session) : escape ? 2 : 1;

        if (n + length >= sizeof format)
            return false;
        memcpy(format + n, piece, length);
        n += length;
        p += escape;
    }
    format[n] = '\0';
    return format_time(out, PATH_MAX, format, now);
}

/* ---- opening ---- */

static void
output_close(void *data)
{
    struct output *o = data;

    if (o->fd >= 0)
        close(o->fd);
    o->fd = -1;
}

static bool
program_open(struct qp *q, const struct conf *c)
{
    struct output *o = c->output;
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    o->pid = qp_process_start(q, c->program, (const struct qp_fd_map[]){{fds[0], 0}}, 1, NULL);
    if (o->pid < 0) {
        int saved = errno;

        close(fds[1]);
        fds[1] = -1;
        errno = saved;
    } else {
        fcntl(fds[1], F_SETFL, O_NONBLOCK); /* a program that hangs must not hang us */
    }
    close(fds[0]);
    o->fd = fds[1];
    o->started = time(NULL);
    return o->fd >= 0;
}

static bool
file_open(const struct conf *c, const char *path)
{
    struct output *o = c->output;

    /* O_NONBLOCK: should it be a FIFO that nobody reads */
    o->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    snprintf(o->path, sizeof o->path, "%s", path);
    return o->fd >= 0;
}

static void
complain(const char *what)
{
    char front[32], text[PATH_MAX + 128];
    struct qp_log_event e = {.level = QP_LOG_ERROR, .plugin = "logging/file", .text = text};

    snprintf(text, sizeof text,
        "cannot write, so this log goes to standard error: path=%s error=\"%s\"", what,
        strerror(errno));
    qp_log_write(STDERR_FILENO, qp_log_front(front, &e), &e);
}

/* The file for this line, opened if need be; path is set when it has to be asked for. */
static bool
file_ready(const struct conf *c, const char *session, const struct tm *tm, char path[PATH_MAX])
{
    struct output *o = c->output;
    bool begins = session && strcmp(session, o->session) != 0;

    snprintf(o->session, sizeof o->session, "%s", session ? session : "");
    if (o->fd >= 0 && c->nosplit && session && !begins)
        return true;
    if (!expand_path(path, c->path, session ? session : PARENT, tm)) {
        errno = ENAMETOOLONG;
        return false;
    }
    if (o->fd >= 0 && strcmp(path, o->path) == 0 && !(c->reopen && begins))
        return true;
    output_close(o);
    return file_open(c, path);
}

/* Have the right thing open for this line. false: there is none. */
static bool
output_ready(
    struct qp *q, const struct conf *c, const char *session, time_t now, const struct tm *tm)
{
    struct output *o = c->output;
    char path[PATH_MAX] = "";

    if (now < o->retry)
        return false;
    if (c->path ? file_ready(c, session, tm, path) : o->fd >= 0 || program_open(q, c))
        return true;
    complain(c->path ? path : c->program[0]);
    o->retry = now + RETRY_SECONDS;
    return false;
}

/* ---- arguments ---- */

static const char *
join(struct qp *q, const char *const words[])
{
    const char *text = words[0];

    while (*++words)
        text = qp_printf(q, QP_INSTANCE, "%s %s", text, *words);
    return text;
}

/* `|PROGRAM WORD` or `| PROGRAM WORD` */
static bool
read_program(struct qp *q, int argc, const char *const argv[], struct conf *c)
{
    const char **words = qp_alloc(q, QP_INSTANCE, ((size_t)argc + 1) * sizeof *words);
    const char *first = argv[0] + 1;
    size_t n = 0;

    if (*first)
        words[n++] = qp_strdup(q, QP_INSTANCE, first);
    for (int i = 1; i < argc; i++)
        words[n++] = qp_strdup(q, QP_INSTANCE, argv[i]);
    c->program = words;
    if (c->reopen || c->nosplit)
        return qp_fail(q, "reopen and nosplit are for files, not for a program");
    if (n == 0 || words[0][0] != '/')
        return qp_fail(q, "after | an absolute path of a program is needed");
    if (access(words[0], X_OK) < 0)
        return qp_fail(q, "cannot run %s: %s", words[0], strerror(errno));
    return true;
}

/* The file is not created here: who checks a configuration may be somebody else than who serves. */
static bool
read_path(struct qp *q, const char *const argv[], struct conf *c)
{
    time_t now = time(NULL);
    struct tm tm;
    char path[PATH_MAX], *slash;

    c->path = qp_strdup(q, QP_INSTANCE, join(q, argv));
    if (!localtime_r(&now, &tm) || !expand_path(path, c->path, PARENT, &tm))
        return qp_fail(q, "this gives no path, or one that is too long: %.60s", c->path);
    if (access(path, W_OK) == 0)
        return true;
    if (errno != ENOENT)
        return qp_fail(q, "cannot append to %s: %s", path, strerror(errno));
    slash = strrchr(path, '/');
    if (slash)
        slash[slash == path] = '\0';
    else
        snprintf(path, sizeof path, ".");
    if (access(path, W_OK | X_OK) < 0)
        return qp_fail(q, "cannot create files in %s: %s", path, strerror(errno));
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    enum qp_log_level level = QP_LOG_WARN;
    int i = 1;

    c->time_format = DEFAULT_TIME;
    c->output = qp_alloc(q, QP_INSTANCE, sizeof *c->output);
    c->output->fd = -1;
    qp_at_end(q, QP_INSTANCE, output_close, c->output);
    qp_instance_set(q, c);
    if (gethostname(c->host, sizeof c->host - 1) < 0)
        snprintf(c->host, sizeof c->host, "localhost");
    for (; i < argc; i++) {
        if (strcasecmp(argv[i], "reopen") == 0)
            c->reopen = true;
        else if (strcasecmp(argv[i], "nosplit") == 0)
            c->nosplit = true;
        else if (strcasecmp(argv[i], "loglevel") == 0 && i + 1 < argc) {
            if (!qp_arg_level(q, argv[++i], &level))
                return false;
        } else if (strcasecmp(argv[i], "tsformat") == 0 && i + 1 < argc)
            c->time_format = qp_strdup(q, QP_INSTANCE, argv[++i]);
        else
            break;
    }
    qp_logging_wants(q, level);
    if (i == argc)
        return qp_fail(q, "needs the path of a file, or |PROGRAM");
    return argv[i][0] == '|' ? read_program(q, argc - i, argv + i, c) : read_path(q, argv + i, c);
}

/* ---- the line ---- */

/* After a failed write: was it because the program has gone? Then it may be started again. */
static bool
program_died(struct qp *q, const struct conf *c, time_t now)
{
    struct output *o = c->output;
    bool died = !c->path && errno == EPIPE;

    if (died) {
        output_close(o);
        qp_process_wait(q, o->pid, GOODBYE_MS);
        errno = EPIPE;
    }
    if (!died ||
        now - o->started < LIVES_SECONDS) { /* a full disk, or a program that hangs or fails */
        complain(c->path ? o->path : c->program[0]);
        o->retry = now + RETRY_SECONDS;
        return false;
    }
    return true;
}

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    const struct conf *c = qp_instance(q);
    struct output *o = c->output;
    const char *session = event->session ? event->session : "-";
    char stamp[128], front[LINE_FRONT_ROOM];
    time_t now = time(NULL);
    struct tm tm = {0};

    if (!localtime_r(&now, &tm) || !format_time(stamp, sizeof stamp, c->time_format, &tm))
        stamp[0] = '\0';
    snprintf(front, sizeof front, "%s %s[%ld]: %s", stamp, c->host, (long)getpid(), session);
    for (int tries = 0; tries < 2 && output_ready(q, c, event->session, now, &tm); tries++) {
        if (qp_log_write(o->fd, front, event))
            return QP_DECLINED;
        if (!program_died(q, c, now))
            break;
    }
    qp_log_write(STDERR_FILENO, front, event);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/file", .init = on_init, .logging = on_logging);
