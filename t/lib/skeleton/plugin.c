/*
 * @NAME@ - refuse more than N recipients of one message
 *
 *   plugins file: @NAME@ [max N]      1..10000, default 100
 *   hook rcpt:    452 4.5.3 from recipient N + 1 on; else QP_DECLINED
 *
 * Written by `make plugin`: a beginning that works. Put what your plugin does in its place, here,
 * in the manual page beside this file, in its test below t/plugin and in config.sample/plugins.
 */
#include <qpsmtpd/plugin.h>

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    int *max = qp_alloc(q, QP_INSTANCE, sizeof *max);
    const struct qp_arg args[] = {
        {"max", .number = max, .min = 1, .max = 10000},
        {0},
    };

    *max = 100;
    qp_instance_set(q, max);
    return qp_args(q, argc, argv, args);
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const int *max = qp_instance(q);

    if (qp_rcpt_count(q) < (size_t)*max)
        return QP_DECLINED;
    return qp_deny_code(q, 452, "4.5.3", "no room for %s: %d are enough", to->address, *max);
}

QP_PLUGIN(.name = "@NAME@", .init = on_init, .rcpt = on_rcpt);
