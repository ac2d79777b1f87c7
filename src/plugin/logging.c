/*
 * plugin/logging - the functions behind <qpsmtpd/logging.h>
 */
#include <qpsmtpd/logging.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <qpsmtpd/plugin.h>

#include "base/pid.h"
#include "base/log.h"

bool
qp_arg_level(struct qp *q, const char *word, enum qp_log_level *out)
{
    enum log_level level;

    if (!log_level_parse(str_of(word), &level))
        return qp_fail(q,
            "\"%s\" is no log level: emerg alert crit error warn notice info debug, or 0 to 7",
            word);
    *out = (enum qp_log_level)level;
    return true;
}

bool
qp_log_init(struct qp *q, int argc, const char *const argv[])
{
    const char *word = "warn";
    enum qp_log_level level = QP_LOG_WARN;

    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{"level", .positional = true, .text = &word}, {0}}) ||
        !qp_arg_level(q, word, &level))
        return false;
    qp_logging_wants(q, level);
    return true;
}

const char *
qp_log_front(char out[32], const struct qp_log_event *event)
{
    snprintf(out, 32, "%ld %s", (long)pid_self(), event->session ? event->session : "-");
    return out;
}

size_t
qp_log_line(char *out, size_t room, const char *front, const struct qp_log_event *event)
{
    const char *hook = event->hook, *plugin = event->plugin;
    int n = snprintf(out, room, "%s%s%s%s%s%s%s%s\n", front, *front ? " " : "", hook ? "(" : "",
        hook ? hook : "", hook ? ") " : "", plugin ? plugin : "", plugin ? ": " : "", event->text);

    if (n < 0)
        n = 0; /* no encoding is converted, so this cannot be */
    if ((size_t)n < room)
        return (size_t)n;
    out[room - 2] = '\n';
    return room - 1;
}

bool
qp_log_write(int fd, const char *front, const struct qp_log_event *event)
{
    char line[QP_LOG_LINE_MAX];
    size_t n = qp_log_line(line, sizeof line, front, event);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    ssize_t written;

    for (bool waited = false;; waited = true) {
        do
            written = write(fd, line, n);
        while (written < 0 && errno == EINTR);
        if (written >= 0 || errno != EAGAIN || waited)
            break;
        poll(&p, 1, 1000);
        errno = EAGAIN;
    }
    if (written >= 0 && (size_t)written < n)
        errno = ENOSPC;
    return written == (ssize_t)n;
}
