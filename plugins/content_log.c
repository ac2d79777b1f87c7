/*
 * content_log - append every message that got this far to a file of the day
 *
 *   plugins file:   content_log [format raw|mbox]    default raw: one behind the other, nothing
 * between hook data_post: QP_DECLINED always; what cannot be written is logged, and cut off again
 *
 *   config content_log_enabled    "true", "yes" or "1", any case: on, also when absent; else off
 *   config content_log_file       strftime(3) pattern, default mail/%Y%m%d; a relative name starts
 * at the working directory; its directory must exist Source: r356, 1.00
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>

#define LOCK_TRIES   100 /* another process writes its message: 5 seconds, then without us */
#define LOCK_WAIT_MS 50

enum format { RAW, MBOX };

struct conf {
    bool enabled;
    int format;
    const char *pattern; /* absolute */
};

/* Text on its way to a descriptor. */
struct out {
    int fd;
    bool failed;
    size_t n;
    char p[8192];
};

static void
flush(struct out *o)
{
    size_t at = 0;

    while (at < o->n && !o->failed) {
        ssize_t n = write(o->fd, o->p + at, o->n - at);

        if (n < 0 && errno != EINTR)
            o->failed = true;
        if (n > 0)
            at += (size_t)n;
    }
    o->n = 0;
}

static void
put(struct out *o, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (o->n == sizeof o->p)
            flush(o);
        o->p[o->n++] = text[i];
    }
}

/* "From sender date"; blanks in a quoted local part would shift the date. */
static void
put_envelope(struct qp *q, struct out *o)
{
    const char *sender = qp_sender(q)->address;
    char date[64];
    time_t now = time(NULL);
    struct tm tm;

    put(o, "From ", 5);
    for (const char *p = *sender ? sender : "MAILER-DAEMON"; *p; p++)
        put(o, *p == ' ' || *p == '\t' ? "_" : p, 1);
    put(o, date, strftime(date, sizeof date, " %a %b %e %H:%M:%S %Y\n", gmtime_r(&now, &tm)));
}

/* Lines that begin with From, or > and From, get one more > (mboxrd), so that it can be undone. */
static bool
write_mbox(struct qp *q, int fd)
{
    static const char from[] = "From ";
    struct out o = {.fd = fd};
    char block[8192], last = '\n';
    int held = 0; /* bytes of `from` that this line has begun with; -1: no such line */
    uint64_t at = 0;
    ptrdiff_t n;

    put_envelope(q, &o);
    for (; (n = qp_message_read(q, at, block, sizeof block)) > 0; at += (uint64_t)n)
        for (ptrdiff_t i = 0; i < n; i++) {
            last = block[i];
            if (held >= 0 && last == from[held] && ++held < 5)
                continue;
            if (held == 5)
                put(&o, ">From ", 6);
            else if (held > 0)
                put(&o, from, (size_t)held);
            if (held != 5)
                put(&o, &last, 1);
            held = last == '\n' || (held == 0 && last == '>') ? 0 : -1;
        }
    if (held > 0)
        put(&o, from, (size_t)held);
    put(&o, "\n\n", last == '\n' ? 1 : 2);
    flush(&o);
    return n == 0 && !o.failed;
}

static bool
lock(int fd)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        poll(NULL, 0, LOCK_WAIT_MS);
    }
    return false;
}

/* false with errno; the file is then as it was */
static bool
append(struct qp *q, int fd, enum format format)
{
    struct stat before;
    int error;

    if (!lock(fd) || fstat(fd, &before) < 0)
        return false;
    if (format == MBOX ? write_mbox(q, fd) : qp_message_write(q, fd))
        return true;
    error = errno;
    if (ftruncate(fd, before.st_size) < 0)
        qp_log(q, QP_LOG_WARN, "a part of a message stays in the file");
    errno = error;
    return false;
}

static bool
is_true(const char *text)
{
    static const char *const words[] = {"true", "yes", "1"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    return false;
}

static const char *
absolute(struct qp *q, const char *path)
{
    char cwd[PATH_MAX];

    if (path[0] == '/' || !getcwd(cwd, sizeof cwd))
        return qp_strdup(q, QP_INSTANCE, path);
    return qp_printf(q, QP_INSTANCE, "%s/%s", cwd, path);
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *enabled = qp_config(q, "content_log_enabled");
    const char *pattern = qp_config(q, "content_log_file");

    c->enabled = !enabled || is_true(enabled);
    c->pattern = absolute(q, pattern ? pattern : "mail/%Y%m%d");
    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {.name = "format", .choice = &c->format, .choices = "raw mbox"}, {0}});
}

/* The pattern is the administrator's: no compiler can have checked it, and none of strftime's
 * conversions reads more than the time. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static bool
file_of_today(const char *pattern, char out[PATH_MAX])
{
    time_t now = time(NULL);
    struct tm tm;

    return strftime(out, PATH_MAX, pattern, localtime_r(&now, &tm)) > 0;
}
#pragma GCC diagnostic pop

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    char path[PATH_MAX];
    int fd;

    if (!c->enabled || !file_of_today(c->pattern, path))
        return QP_DECLINED;
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || !append(q, fd, (enum format)c->format))
        qp_log(q, QP_LOG_WARN, "message not logged file=%s error=\"%s\"", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "content_log", .init = on_init, .data_post = on_data_post);
