/*
 * logging/devnull - no log at all
 *
 *   logging file:  logging/devnull
 *   hook logging:  drops every line; always QP_DECLINED: other logging plugins get it
 *
 * From 1.00. That a plugin has the hook is what keeps the built-in log silent.
 */
#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    qp_logging_wants(q, QP_LOG_EMERG); /* nearly nothing: so nothing is formatted for us */
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}});
}

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    (void)q;
    (void)event;
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/devnull", .init = on_init, .logging = on_logging);
