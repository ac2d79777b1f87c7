/*
 * logging/transaction_id - the log on standard error, each line behind the id of its transaction
 *
 *   logging file:  logging/transaction_id [LEVEL]    emerg … debug or 0..7, default warn
 *   hook logging:  lines up to LEVEL, `SESSION.N (HOOK) PLUGIN: TEXT`, with the process id where
 * there is no connection; always QP_DECLINED
 *
 * From 1.00, where it could not be loaded. N counts the transactions of the connection.
 */
#include <stdio.h>
#include <unistd.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    char pid[24];

    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    qp_log_write(STDERR_FILENO, event->session ? qp_transaction_id(q) : pid, event);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/transaction_id", .init = qp_log_init, .logging = on_logging);
