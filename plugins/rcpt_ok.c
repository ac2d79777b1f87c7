/*
 * rcpt_ok - accept mail for our own domains, refuse the rest
 *
 *   plugins file: rcpt_ok                     must be the last plugin with a rcpt hook
 *   files:        me, rcpthosts, morercpthosts.cdb: host, or .suffix for all names below it
 *   hook rcpt:    QP_OK for clients that may relay and for our domains; 450 when a list turns out to
 *                 be damaged; else 550
 *
 * Source: r356 rcpt_ok, qmail-smtpd(8). Notes of white lists do not let anybody relay here (in 1.00
 * they did), and without rcpthosts only mail for `me` is accepted (qmail-smtpd: everything).
 */
#include <strings.h>

#include <qpsmtpd/host.h>
#include <qpsmtpd/plugin.h>

struct conf {
    const struct qp_table *me;
    const struct qp_table *hosts;
    const struct qp_table *more;
    bool untold; /* rcpthosts is missing, and nobody was warned yet */
};

static void
warn(struct qp *q, const char *me)
{
    qp_log(q, QP_LOG_WARN, "rcpthosts is missing or empty, mail is accepted for %s only",
        me != NULL && *me != '\0' ? me : "the name of this host");
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv, (const struct qp_arg[]){{0}}) ||
        (c->me = qp_table_open(q, "me", QP_MATCH_DOMAIN)) == NULL ||
        (c->hosts = qp_table_open(q, "rcpthosts", QP_MATCH_DOMAIN)) == NULL ||
        (c->more = qp_table_open(q, "morercpthosts.cdb", QP_MATCH_DOMAIN)) == NULL)
        return false;
    c->untold = qp_table_count(c->hosts) == 0;
    if (c->untold && qp_serves_many(q)) {
        warn(q, qp_config(q, "me"));
        c->untold = false;
    }
    return true;
}

/* Where each client has a process there is no start to tell of it: the first refusal does. */
static enum qp_rc
refuse(struct qp *q, const struct conf *c)
{
    bool *told = qp_state(q, QP_CONNECTION, sizeof *told);

    if (c->untold && !*told)
        warn(q, qp_me(q));
    *told = true;
    return qp_deny(q, NULL);
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    const char *host = to->host;
    enum qp_lookup ours, more;

    if (qp_relay_client(q))
        return QP_OK;
    if (host[0] == '\0') { /* RFC 5321, 4.5.1; the engine knows no other such address */
        if (strcasecmp(to->user, "postmaster") != 0)
            return refuse(q, c);
        host = qp_me(q);
    }
    if (strcasecmp(host, qp_me(q)) == 0 || qp_table_has(q, c->me, host))
        return QP_OK;
    ours = qp_table_find(q, c->hosts, host, NULL);
    if (ours == QP_FOUND)
        return QP_OK;
    more = qp_table_find(q, c->more, host, NULL);
    if (more == QP_FOUND)
        return QP_OK;
    if (ours == QP_TROUBLE || more == QP_TROUBLE || qp_note_true(q, QP_CONNECTION, "relay_unknown"))
        return qp_denysoft(q, "unable to read controls (#4.3.0)");
    return refuse(q, c);
}

QP_PLUGIN(.name = "rcpt_ok", .init = on_init, .rcpt = on_rcpt);
