/*
 * logging/warn - the log on standard error
 *
 *   logging file:  logging/warn [LEVEL]    emerg … debug or 0..7, default warn
 *   hook logging:  lines up to LEVEL, `PID SESSION (HOOK) PLUGIN: TEXT`; always QP_DECLINED
 *
 * From 1.00; the session's id is ours. multilog(8) or the like adds the time.
 */
#include <unistd.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    char front[32];

    (void)q;
    qp_log_write(STDERR_FILENO, qp_log_front(front, event), event);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/warn", .init = qp_log_init, .logging = on_logging);
