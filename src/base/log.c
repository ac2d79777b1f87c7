#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

#include "base/pid.h"

#define LINE_ROOM      (LOG_LINE_MAX + 256)
#define LOG_NUMBER_MAX 1000000 /* of a level; more is a mistake */

/* How often and how long a full pipe to the log is waited for before the line is given up. */
#define WRITE_TRIES   5
#define WRITE_WAIT_MS 100

/* The process-wide logger that the header announces. */
static struct {
    enum log_level level;
    enum log_format format;
    bool syslog;
    struct {
        log_sink *fn;
        void *data;
        enum log_level wants;
        bool running;
    } sink;
    const char *session;
    const char *plugin;
    const char *hook;
    int absolute;
    int shift;
} logger = {.level = LOG_LEVEL_WARN, .absolute = -1};

/* The ancestors' names, of which radar was above all others, syslog's, and whole words. */
static const struct {
    char name[16];
    enum log_level level;
} level_names[] = {
    {"radar", LOG_LEVEL_EMERG},
    {"emerg", LOG_LEVEL_EMERG},
    {"emergency", LOG_LEVEL_EMERG},
    {"alert", LOG_LEVEL_ALERT},
    {"crit", LOG_LEVEL_CRIT},
    {"critical", LOG_LEVEL_CRIT},
    {"err", LOG_LEVEL_ERROR},
    {"error", LOG_LEVEL_ERROR},
    {"warn", LOG_LEVEL_WARN},
    {"warning", LOG_LEVEL_WARN},
    {"notice", LOG_LEVEL_NOTICE},
    {"info", LOG_LEVEL_INFO},
    {"debug", LOG_LEVEL_DEBUG},
};

static enum log_level
clamp(int level)
{
    if (level < LOG_LEVEL_EMERG)
        return LOG_LEVEL_EMERG;
    return level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : (enum log_level)level;
}

/* The level that counts, after the running plugin's loglevel argument. */
static enum log_level
effective(enum log_level level)
{
    if (logger.plugin == NULL)
        return level;
    return clamp(logger.absolute >= 0 ? logger.absolute : (int)level + logger.shift);
}

/* With a sink the built-in target only gets what the sink did not take. */
static bool
wanted(enum log_level level)
{
    if (logger.sink.running)
        return false;
    return level <= (logger.sink.fn ? logger.sink.wants : logger.level);
}

static void
write_stderr(const char *line, size_t n)
{
    for (int tries = 0; n > 0 && tries < WRITE_TRIES; tries++) {
        ssize_t done = write(STDERR_FILENO, line, n);

        if (done > 0) {
            line += done;
            n -= (size_t)done;
        } else if (done < 0 && errno == EAGAIN) {
            poll(&(struct pollfd){STDERR_FILENO, POLLOUT, 0}, 1, WRITE_WAIT_MS);
        } else if (done < 0 && errno != EINTR) {
            return;
        }
    }
}

static void
write_builtin(const struct log_event *event)
{
    char line[LINE_ROOM];
    size_t n = log_line(line, sizeof line, event, logger.format);

    if (logger.syslog) {
        struct str text = {line, n};

        str_cut(&text, ' '); /* syslog writes the process id itself */
        syslog((int)event->level, "%.*s", (int)text.n - 1, text.p);
    } else {
        write_stderr(line, n);
    }
}

static void
deliver(const struct log_event *event)
{
    bool taken = false;

    if (logger.sink.fn) {
        logger.sink.running = true;
        taken = logger.sink.fn(logger.sink.data, event);
        logger.sink.running = false;
    }
    if (!taken && event->level <= logger.level)
        write_builtin(event);
}

void
log_level_set(enum log_level level)
{
    logger.level = level;
}

enum log_level
log_level_get(void)
{
    return logger.level;
}

void
log_format_set(enum log_format format)
{
    logger.format = format;
}

void
log_to_syslog(const char *ident)
{
    openlog(ident, LOG_PID | LOG_NDELAY, LOG_MAIL);
    logger.syslog = true;
}

void
log_sink_set(log_sink *sink, void *data, enum log_level wants)
{
    if (!sink && data && data != logger.sink.data)
        return; /* another one has taken its place */
    logger.sink.fn = sink;
    logger.sink.data = data;
    logger.sink.wants = wants;
}

void
log_session_set(const char *id)
{
    logger.session = id;
}

void
log_plugin_set(const char *plugin, const char *hook)
{
    logger.plugin = plugin;
    logger.hook = hook;
}

void
log_shift_set(int absolute, int shift)
{
    logger.absolute = absolute;
    logger.shift = shift;
}

bool
log_wants(enum log_level level)
{
    return wanted(effective(level));
}

void
log_vwrite(enum log_level level, const char *format, va_list ap)
{
    int saved = errno;
    char raw[LOG_LINE_MAX], text[LOG_LINE_MAX];
    int n;

    level = effective(level);
    if (!wanted(level))
        return;
    n = vsnprintf(raw, sizeof raw, format, ap);
    if (n < 0)
        n = 0;
    if ((size_t)n >= sizeof raw)
        n = (int)sizeof raw - 1;
    log_escape(text, sizeof text, (struct str){raw, (size_t)n});
    deliver(&(struct log_event){
        .level = level,
        .session = logger.session,
        .hook = logger.hook,
        .plugin = logger.plugin,
        .text = text,
    });
    errno = saved; /* who logs a failed call may still look at it */
}

void
log_write(enum log_level level, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    log_vwrite(level, format, ap);
    va_end(ap);
}

/* The precisions keep what stands in front of the text below 256 bytes. */
static int
line_front(char *out, size_t room, const struct log_event *event, enum log_format format)
{
    const char *session = event->session ? event->session : "-";
    int pid = (int)pid_self();

    if (event->plugin == NULL)
        return snprintf(out, room, "%d %.60s ", pid, session);
    if (format == LOG_FORMAT_R356)
        return snprintf(out, room, "%d %.60s %.100s plugin: ", pid, session, event->plugin);
    if (event->hook == NULL)
        return snprintf(out, room, "%d %.60s %.100s: ", pid, session, event->plugin);
    return snprintf(
        out, room, "%d %.60s (%.40s) %.100s: ", pid, session, event->hook, event->plugin);
}

size_t
log_line(char *out, size_t room, const struct log_event *event, enum log_format format)
{
    size_t n, text;
    int front;

    if (room < 2) {
        if (room == 1)
            out[0] = '\0';
        return 0;
    }
    front = line_front(out, room - 1, event, format);
    n = front < 0 ? 0 : (size_t)front;
    if (n > room - 2)
        n = room - 2;
    text = strnlen(event->text, room - 2 - n);
    memcpy(out + n, event->text, text);
    n += text;
    out[n++] = '\n';
    out[n] = '\0';
    return n;
}

size_t
log_escape(char *out, size_t room, struct str text)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;

    if (room == 0)
        return 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = c < 0x80 && !ascii_control(text.p[i]);

        if (room - n <= (plain ? 1U : 4U)) /* never half an escape */
            break;
        if (plain) {
            out[n++] = text.p[i];
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    out[n] = '\0';
    return n;
}

bool
log_level_parse(struct str text, enum log_level *out)
{
    uint64_t number;

    if (str_number(text, LOG_NUMBER_MAX, &number)) {
        *out = clamp((int)number); /* r356 counted from 1; 10 was its advice for "lots" */
        return true;
    }
    if (str_istarts(text, STR("log")))
        text = str_from(text, 3);
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        if (str_ieq(text, str_of(level_names[i].name))) {
            *out = level_names[i].level;
            return true;
        }
    }
    return false;
}
