/*
 * bogus_bounce - is what comes from the null sender a bounce at all?
 *
 *   plugins file:   bogus_bounce [log | deny | denysoft]     default log
 *                   bogus_bounce [reject 0|1|naughty] [reject_type ...]
 *   hook data_post: a message from <> to other than one recipient, or with a Return-Path that is not
 *                   empty: log logs, deny and reject 1 are DENY, denysoft DENYSOFT; else QP_DECLINED
 *
 * A bounce answers one message, so it has one recipient (RFC 5321, 4.5.5; RFC 3834, 4). From 1.00, where
 * deny did not refuse, and recipients were not counted.
 */
#include <string.h>

#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/reject.h>

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct qp_reject *r = qp_alloc(q, QP_INSTANCE, sizeof *r);
    enum { LOG, DENY, DENYSOFT };
    int word = LOG;

    *r = (struct qp_reject){.policy = QP_REJECT_NO, .type = QP_DENY};
    qp_instance_set(q, r);
    if (argc != 2)
        return qp_args(q, argc, argv, (const struct qp_arg[]){QP_REJECT_ARGS(r), {0}});
    if (!qp_arg_enum(q, argv[1], "log deny denysoft", &word))
        return false;
    r->policy = word == LOG ? QP_REJECT_NO : QP_REJECT_YES;
    r->type = word == DENYSOFT ? QP_DENYSOFT : QP_DENY;
    return true;
}

static bool
is_empty_path(const char *value)
{
    return *value == '\0' || strncmp(value, "<>", 2) == 0;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct qp_reject *r = qp_instance(q);
    const char *path = qp_header_get(q, "Return-Path", 0);

    if (*qp_sender(q)->address != '\0')
        return QP_DECLINED;
    if (qp_rcpt_count(q) != 1)
        return qp_reject(q, r, "fail, this bounce message does not have 1 recipient");
    if (path && !is_empty_path(path))
        return qp_reject(q, r, "a bounce return path must be empty (RFC 3834)");
    return QP_DECLINED;
}

QP_PLUGIN(.name = "bogus_bounce", .init = on_init, .data_post = on_data_post);
