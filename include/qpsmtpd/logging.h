/*
 * qpsmtpd/logging.h - for plugins with the hook `logging`, which write log lines somewhere
 *
 * What they have in common besides qp_logging_wants() of plugin.h: how an administrator names a
 * level, and the form of a line (1.00),
 *
 *     FRONT (HOOK) PLUGIN: TEXT
 *
 * where HOOK and PLUGIN are left out when there is none.
 */
#ifndef QPSMTPD_LOGGING_H
#define QPSMTPD_LOGGING_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/* Bytes that are enough for any line: the text, what stands in front, LF and NUL. */
#define QP_LOG_LINE_MAX 3072

/*
 * qp_arg_level - a word that names a level: "4", "warn", "LOGWARN", any case
 *
 * returns  false: qp_fail() was called
 */
bool qp_arg_level(struct qp *q, const char *word, enum qp_log_level *out);

/* qp_log_init - a complete init for logging plugins whose only argument is [LEVEL], warn by
 * default: QP_PLUGIN(.name = "logging/warn", .init = qp_log_init, .logging = on_logging) */
bool qp_log_init(struct qp *q, int argc, const char *const argv[]);

/*
 * qp_log_front - "PID SESSION", which stands in front of a line; "PID -" outside of a session
 *
 * returns  out
 */
const char *qp_log_front(char out[32], const struct qp_log_event *event);

/*
 * qp_log_line - the line as text, LF and NUL at its end; front "" is nothing
 *
 * room     at least 2; what does not fit is cut, the LF is kept
 * returns  its length without the NUL
 */
size_t qp_log_line(char *out, size_t room, const char *front, const struct qp_log_event *event);

/*
 * qp_log_write - write that line to fd, in one piece, waiting at most a second for a full pipe
 *
 * returns  false with errno: it was not written, or not as a whole
 */
bool qp_log_write(int fd, const char *front, const struct qp_log_event *event);

#endif
