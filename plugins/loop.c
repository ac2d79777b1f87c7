/*
 * loop - refuse a message that has come by too many times
 *
 *   plugins file:   loop [HOPS]    1..10000, default 100
 *   hook data_post: 554 "Too many hops (#5.4.6)" when Received and Delivered-To fields together are
 * HOPS or more, our own Received counted; else QP_DECLINED (1.00; RFC 5321, 6.3)
 */
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    int *max = qp_alloc(q, QP_INSTANCE, sizeof *max);

    *max = 100;
    qp_instance_set(q, max);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {.name = "hops", .positional = true, .number = max, .min = 1, .max = 10000}, {0}});
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const int *max = qp_instance(q);
    size_t hops = qp_header_count(q, "Received") + qp_header_count(q, "Delivered-To");

    if (hops < (size_t)*max)
        return QP_DECLINED;
    return qp_deny(q, "Too many hops (#5.4.6)");
}

QP_PLUGIN(.name = "loop", .init = on_init, .data_post = on_data_post);
