/*
 * check_badrcptto - refuse recipients that are on a list
 *
 *   plugins file: check_badrcptto             before rcpt_ok
 *                 badrcptto, the name of 1.00, is the same but lets immune clients through
 *   file:         badrcptto: user@host, @host or a pattern, then the reason (see badlist.h)
 *   hook rcpt:    550 with the reason, or 550 5.1.1 "mail to ENTRY not accepted here"; both let those in
 *                 whitelistrcpt of the plugin whitelist pass
 *
 * Source: r356 check_badrcptto, 1.00 badrcptto (which writes its text with (#5.1.1) behind it).
 */
#include <string.h>

#include <qpsmtpd/badlist.h>
#include <qpsmtpd/plugin.h>

struct conf {
    const struct qp_badlist *list;
    bool r356;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->r356 = strncmp(qp_plugin_name(q), "check_", 6) == 0;
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}}) &&
           (c->list = qp_badlist_open(q, "badrcptto")) != NULL;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    const struct qp_badlist_entry *bad;

    if (!c->r356 && qp_immune(q))
        return QP_DECLINED;
    bad = qp_badlist_find(q, c->list, to);
    if (bad == NULL || qp_immune_rcpt(q, to))
        return QP_DECLINED;
    qp_note_add(q, QP_CONNECTION, "karma", -2);
    if (bad->reason[0] != '\0')
        return qp_deny(q, "%s", bad->reason);
    if (!c->r356)
        return qp_deny(q, "mail to %s not accepted here (#5.1.1)", bad->entry);
    return qp_deny_code(q, 550, "5.1.1", "mail to %s not accepted here", bad->entry);
}

QP_PLUGIN(.name = "check_badrcptto", .init = on_init, .rcpt = on_rcpt);
