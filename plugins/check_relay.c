/*
 * check_relay - which clients may send mail to anywhere?
 *
 *   plugins file: check_relay [only 0|1]      default 0; 1.00 calls the plugin relay
 *   files:        norelayclients, relayclients, morerelayclients.cdb; environment RELAYCLIENT
 *   hook connect: sets or clears "may relay"; always QP_DECLINED
 *   hook rcpt:    with `only 1`, 550 for everybody who may not; else QP_DECLINED
 *
 * Source: r356 check_relay, 1.00 relay, qmail-smtpd(8). As relay, ::1 may relay unless
 * norelayclients says no (1.00). Unlike 1.00, `only 1` accepts no recipient by itself: the plugins
 * behind it still check.
 */
#include <string.h>

#include <qpsmtpd/plugin.h>

struct conf {
    const struct qp_table *never;
    const struct qp_table *some;
    const struct qp_table *more;
    bool only;
    bool trust_loopback6;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->trust_loopback6 = strncmp(qp_plugin_name(q), "check_", 6) != 0;
    return qp_args(q, argc, argv, (const struct qp_arg[]){{"only", .flag = &c->only}, {0}}) &&
           (c->never = qp_table_open(q, "norelayclients", QP_MATCH_IP)) != NULL &&
           (c->some = qp_table_open(q, "relayclients", QP_MATCH_IP)) != NULL &&
           (c->more = qp_table_open(q, "morerelayclients.cdb", QP_MATCH_IP)) != NULL;
}

static enum qp_lookup
may_relay(struct qp *q, const struct conf *c, const char *ip)
{
    enum qp_lookup some, more;

    if (qp_env(q, "RELAYCLIENT") != NULL || (c->trust_loopback6 && strcmp(ip, "::1") == 0))
        return QP_FOUND;
    some = qp_table_find(q, c->some, ip, NULL);
    if (some == QP_FOUND)
        return QP_FOUND;
    more = qp_table_find(q, c->more, ip, NULL);
    return more == QP_ABSENT ? some : more;
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *ip = qp_remote_ip(q);
    enum qp_lookup never = qp_table_find(q, c->never, ip, NULL);

    if (never != QP_ABSENT) {
        qp_relay_client_set(q, false);
        qp_env_unset(q, "RELAYCLIENT");
        if (never == QP_TROUBLE)
            qp_note_set(q, QP_CONNECTION, "relay_unknown", "1");
        return QP_DECLINED;
    }
    switch (may_relay(q, c, ip)) {
    case QP_FOUND:
        qp_relay_client_set(q, true);
        break;
    case QP_TROUBLE: /* perhaps it may: rcpt_ok says 4xx where it would say 5xx */
        qp_note_set(q, QP_CONNECTION, "relay_unknown", "1");
        break;
    case QP_ABSENT:
        break;
    }
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);

    (void)to;
    if (!c->only || qp_relay_client(q))
        return QP_DECLINED;
    if (qp_note_true(q, QP_CONNECTION, "relay_unknown"))
        return qp_denysoft(q, "unable to read controls (#4.3.0)");
    return qp_deny(q, NULL);
}

QP_PLUGIN(.name = "check_relay", .init = on_init, .connect = on_connect, .rcpt = on_rcpt);
