/*
 * check_earlytalker - catch clients that talk before it is their turn
 *
 *   plugins file: check_earlytalker [wait SECONDS] [check-at CONNECT|DATA] [action
 * deny|denysoft|log] [defer-reject 0|1] [reject 0|1|naughty] [reject_type TYPE] wait        0 to
 * 60, default 1; a note earlytalker_wait of the connection overrides it check-at    may be given
 * twice; default CONNECT action      r356's way to choose; denysoft without reject and reject_type
 *   hook connect: 421 (DENY: 554) when bytes come before the greeting; a client that hangs up in
 *                 this time gets no reply
 *   hook mail:    with defer-reject: 450 (550) to each MAIL instead
 *   hook data:    with check-at DATA: 451 (554) when bytes come before 354
 *
 * r356 check_earlytalker, 1.00 earlytalker. Spared are immune clients, those with a good history
 * (note karma_history above 5), programs on a pipe, which write their dialogue all at once, and, at
 * connect, those that have begun with TLS: they have waited for our part of the handshake.
 */
#include <string.h>
#include <strings.h>

#include <qpsmtpd/client.h>
#include <qpsmtpd/reject.h>
#include <qpsmtpd/tls.h>

#define WAIT_MAX 60 /* seconds; clients may give up after five minutes (RFC 5321, 4.5.3.2.1) */
#define TEXT     "Connecting host started transmitting before SMTP greeting"

enum action { ACTION_DENY, ACTION_DENYSOFT, ACTION_LOG, ACTION_NONE };

struct conf {
    int64_t wait_ms;
    bool at_connect, at_data;
    bool defer;
    struct qp_reject reject;
};

/* check-at may stand several times, which qp_args() does not know: take these words out. */
static bool
read_stages(struct qp *q, int *argc, const char *argv[], struct conf *c)
{
    int kept = 1, stage;

    for (int i = 1; i < *argc; i++) {
        if (strcasecmp(argv[i], "check-at") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        if (++i == *argc)
            return qp_fail(q, "check-at: its value is missing");
        if (!qp_arg_enum(q, argv[i], "CONNECT DATA", &stage))
            return false;
        *(stage == 0 ? &c->at_connect : &c->at_data) = true;
    }
    if (!c->at_connect && !c->at_data)
        c->at_connect = true;
    *argc = kept;
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char **rest = qp_alloc(q, QP_INSTANCE, ((size_t)argc + 1) * sizeof *rest);
    int action = ACTION_NONE;

    memcpy(rest, argv, (size_t)argc * sizeof *rest);
    c->wait_ms = 1000;
    c->reject = (struct qp_reject){.policy = QP_REJECT_YES, .type = QP_DECLINED};
    qp_instance_set(q, c);
    if (!read_stages(q, &argc, rest, c) ||
        !qp_args(q, argc, rest,
            (const struct qp_arg[]){{"wait", .duration_ms = &c->wait_ms, .max = WAIT_MAX},
                {"action", .choice = &action, .choices = "deny denysoft log"},
                {"defer-reject", .flag = &c->defer}, QP_REJECT_ARGS(&c->reject), {0}}))
        return false;
    if (action == ACTION_LOG)
        c->reject.policy = QP_REJECT_NO;
    if (c->reject.type == QP_DECLINED) /* not given */
        c->reject.type = action == ACTION_DENY ? QP_DENY : QP_DENYSOFT;
    return true;
}

static bool
is_spared(struct qp *q)
{
    return qp_immune(q) || qp_note_int(q, QP_CONNECTION, "karma_history") > 5 ||
           strcmp(qp_remote_ip(q), "unknown") == 0;
}

static int64_t
wait_of(struct qp *q, const struct conf *c)
{
    int seconds = qp_note_int(q, QP_CONNECTION, "earlytalker_wait");

    if (qp_note(q, QP_CONNECTION, "earlytalker_wait") == NULL || seconds < 0)
        return c->wait_ms;
    return (seconds < WAIT_MAX ? seconds : WAIT_MAX) * INT64_C(1000);
}

/* What to do with a client that was watched. */
static enum qp_rc
judge(struct qp *q, const struct conf *c, enum qp_early early, bool defer)
{
    switch (early) {
    case QP_EARLY_NO:
        qp_log(q, QP_LOG_INFO, "pass, not spontaneous");
        return QP_DECLINED;
    case QP_EARLY_HANGUP:
        qp_log(q, QP_LOG_INFO, "fail, hung up");
        qp_disconnect(q);
        return QP_DONE;
    case QP_EARLY_TALKS:
        break;
    }
    qp_log(q, QP_LOG_NOTICE, "remote host started talking too early: ip=%s", qp_remote_ip(q));
    qp_note_set(q, QP_CONNECTION, "earlytalker", "1");
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    return defer ? QP_DECLINED : qp_reject(q, &c->reject, TEXT);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!c->at_connect || qp_tls(q) != NULL || is_spared(q))
        return QP_DECLINED;
    return judge(q, c, qp_client_wait(q, wait_of(q, c)), c->defer);
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const struct conf *c = qp_instance(q);

    (void)sender;
    if (!c->defer || !qp_note_true(q, QP_CONNECTION, "earlytalker"))
        return QP_DECLINED;
    return qp_reject(q, &c->reject, TEXT);
}

static enum qp_rc
on_data(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!c->at_data || is_spared(q))
        return QP_DECLINED;
    return judge(q, c, qp_client_wait(q, wait_of(q, c)), false);
}

QP_PLUGIN(.name = "check_earlytalker", .init = on_init, .connect = on_connect, .mail = on_mail,
    .data = on_data);
