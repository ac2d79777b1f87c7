/*
 * check_badmailfrom - refuse envelope senders that are on a list
 *
 *   plugins file: check_badmailfrom [reject 0|1|naughty] [reject_type TYPE] [defer 0|1]
 *                 badmailfrom, the name of 1.00, takes the same words
 *   file:         badmailfrom: user@host or @host, as badmailfrom also a pattern, then the reason (see
 *                 badlist.h)
 *   hooks:        mail, or with `defer 1` each rcpt: 550 with the reason or the default text
 *
 * As check_badmailfrom it does what r356 and qmail-smtpd do: defer is 1, relay clients are checked
 * too, and the list has no patterns: it may be qmail's. As badmailfrom it does what 1.00 does: defer is
 * 0, immune clients are let through, what looks like a pattern is one.
 */
#include <string.h>

#include <qpsmtpd/badlist.h>
#include <qpsmtpd/reject.h>

struct conf {
    const struct qp_badlist *list;
    const char *text;
    struct qp_reject reject;
    bool defer;
    bool skip_immune;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    bool r356 = strncmp(qp_plugin_name(q), "check_", 6) == 0;

    qp_instance_set(q, c);
    c->reject = QP_REJECT_DEFAULT;
    c->defer = r356;
    c->skip_immune = !r356;
    c->text = r356 ? "sorry, your envelope sender is in my badmailfrom list"
                   : "Your envelope sender is in my badmailfrom list";
    return qp_args(q, argc, argv,
               (const struct qp_arg[]){
                   QP_REJECT_ARGS(&c->reject), {"defer", .flag = &c->defer}, {0}}) &&
           (c->list = r356 ? qp_badlist_open_of_qmail(q, "badmailfrom")
                           : qp_badlist_open(q, "badmailfrom")) != NULL;
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const struct conf *c = qp_instance(q);
    const struct qp_badlist_entry *bad;
    const char *text;

    if (c->skip_immune && qp_immune(q))
        return QP_DECLINED;
    bad = qp_badlist_find(q, c->list, sender);
    if (bad == NULL)
        return QP_DECLINED;
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    text = bad->reason[0] != '\0' ? bad->reason : c->text;
    if (!c->defer || c->reject.policy != QP_REJECT_YES)
        return qp_reject(q, &c->reject, text);
    qp_note_set(q, QP_TRANSACTION, "badmailfrom", text);
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    const char *text = c->defer ? qp_note(q, QP_TRANSACTION, "badmailfrom") : NULL;

    (void)to;
    return text == NULL ? QP_DECLINED : qp_reject(q, &c->reject, text);
}

QP_PLUGIN(.name = "check_badmailfrom", .init = on_init, .mail = on_mail, .rcpt = on_rcpt);
