/*
 * logging/connection_id - the log on standard error, each line behind the id of its connection
 *
 *   logging file:  logging/connection_id [LEVEL]    emerg … debug or 0..7, default warn
 *   hook logging:  lines up to LEVEL, `SESSION (HOOK) PLUGIN: TEXT`, with the process id where
 * there is no connection; always QP_DECLINED
 *
 * From 1.00, where it could not be loaded. Sorted by the first word, connections stand together.
 */
#include <stdio.h>
#include <unistd.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    char pid[24];

    (void)q;
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    qp_log_write(STDERR_FILENO, event->session ? event->session : pid, event);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/connection_id", .init = qp_log_init, .logging = on_logging);
