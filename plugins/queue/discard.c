/*
 * queue/discard - accept the message and forget it: for tests and for measuring
 *
 *   plugins file: queue/discard
 *   hook queue:   QP_OK "discarded"
 */
#include <qpsmtpd/plugin.h>

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}});
}

static enum qp_rc
on_queue(struct qp *q)
{
    qp_log(q, QP_LOG_NOTICE, "discarded recipients=%zu", qp_rcpt_count(q));
    return qp_ok(q, "discarded");
}

QP_PLUGIN(.name = "queue/discard", .init = on_init, .queue = on_queue);
