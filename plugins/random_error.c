/*
 * random_error - fail now and then, to see what clients make of it
 *
 *   plugins file: random_error [PERCENT]    0 to 100, default 1: how many messages shall fail
 *   hooks connect, helo, ehlo, mail, rcpt, data, data_post: QP_DENYSOFT (3 of 5) or
 *                 QP_DENYSOFT_DISCONNECT (2 of 5) `random failure`; mostly QP_DECLINED
 *
 * From 1.00, for tests. A message with one recipient passes six steps, and each of them with a
 * chance of the sixth root of 1 - PERCENT/100. The note random_fail_% of the connection overrides
 * PERCENT.
 */
#include <sys/random.h>

#include <qpsmtpd/plugin.h>

#define NOTE "random_fail_%"

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    int *percent = qp_alloc(q, QP_INSTANCE, sizeof *percent);

    *percent = 1;
    qp_instance_set(q, percent);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {"percent", .positional = true, .number = percent, .max = 100}, {0}});
}

/* Evenly from [0, 1). */
static double
chance(void)
{
    uint32_t bits = 0;

    if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        return 0; /* then everything passes */
    return bits / 4294967296.0;
}

static enum qp_rc
on_step(struct qp *q)
{
    const int *configured = qp_instance(q);
    int percent =
        qp_note(q, QP_CONNECTION, NOTE) ? qp_note_int(q, QP_CONNECTION, NOTE) : *configured;
    double x = chance();

    /* x < root means x^6 < 1 - PERCENT/100, which needs no root */
    if (x * x * x * x * x * x < 1 - percent / 100.0)
        return QP_DECLINED;
    return qp_result(q, chance() < 0.4 ? QP_DENYSOFT_DISCONNECT : QP_DENYSOFT, "random failure");
}

static enum qp_rc
on_step_text(struct qp *q, const char *host)
{
    (void)host;
    return on_step(q);
}

static enum qp_rc
on_step_address(struct qp *q, const struct qp_address *address)
{
    (void)address;
    return on_step(q);
}

QP_PLUGIN(.name = "random_error", .init = on_init, .connect = on_step, .helo = on_step_text,
    .ehlo = on_step_text, .mail = on_step_address, .rcpt = on_step_address, .data = on_step,
    .data_post = on_step);
