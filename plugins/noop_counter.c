/*
 * noop_counter - hang up on clients that do nothing
 *
 *   plugins file: noop_counter [MAX] [total N]
 *     MAX         1 to 10000, default 10: NOOPs without another command between them
 *     total       0 to 1000000, default 0 (no limit): NOOPs of the whole connection
 *   hook noop:    500 and close at the MAXth in a row, or the Nth of all; else QP_DECLINED
 *   hooks helo, ehlo, mail, rcpt, data, vrfy, help, reset_transaction: the row begins anew
 *
 * From 1.00, where all clients of a process shared one counter, of 3. Stands before plugins that
 * end those hooks (rcpt_ok), or it misses commands.
 */
#include <qpsmtpd/plugin.h>

struct conf {
    int max, total;
};

struct count {
    int row, all;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){.max = 10};
    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {"max", .positional = true, .number = &c->max, .min = 1, .max = 10000},
            {"total", .number = &c->total, .max = 1000000}, {0}});
}

static enum qp_rc
on_noop(struct qp *q, const char *args)
{
    const struct conf *c = qp_instance(q);
    struct count *n = qp_state(q, QP_CONNECTION, sizeof *n);

    (void)args;
    n->row++;
    n->all++;
    if (n->row >= c->max)
        return qp_deny_disconnect(q, "Stop wasting my time, too many consecutive NOOPs");
    if (c->total && n->all >= c->total)
        return qp_deny_disconnect(q, "Stop wasting my time, too many NOOPs");
    return QP_DECLINED;
}

static enum qp_rc
on_work(struct qp *q)
{
    struct count *n = qp_state(q, QP_CONNECTION, sizeof *n);

    n->row = 0;
    return QP_DECLINED;
}

static enum qp_rc
on_work_text(struct qp *q, const char *text)
{
    (void)text;
    return on_work(q);
}

static enum qp_rc
on_work_address(struct qp *q, const struct qp_address *address)
{
    (void)address;
    return on_work(q);
}

QP_PLUGIN(.name = "noop_counter", .init = on_init, .helo = on_work_text, .ehlo = on_work_text,
    .mail = on_work_address, .rcpt = on_work_address, .data = on_work, .vrfy = on_work_text,
    .noop = on_noop, .help = on_work_text, .reset_transaction = on_work);
