/*
 * dnsbl - refuse clients whose address is on a block list
 *
 *   plugins file: dnsbl [reject 0|1|naughty|connect] [reject_type TYPE] [timeout SECONDS] [hard 0|1]
 *                 default: 1 perm 8 0; one word alone is the TYPE
 *   files:        dnsbl_zones: zone, or zone:message with %IP%; dnsbl_allow: addresses that are not
 *                 looked up; dnsbl_rejectmsg: lines in front of the reason
 *   environment:  RBLSMTPD, as rblsmtpd(1) reads it: no lookups; empty accepts, -text is 550, text 450,
 *                 for all recipients
 *   hook connect: starts all lookups; with `reject connect` 554 with the reason
 *   hook rcpt:    550 with the reason, but for postmaster, abuse, mailer-daemon, root; 450 when
 *                 dnsbl_allow is damaged
 *
 * Source: r356, whose files and texts these are; the arguments are those of 1.00. Immune clients are
 * let through. Unlike both, servers are waited for once in a connection, `timeout` in all. `hard 1`
 * is their rule for RBLSMTPD: always 550, a leading - is text. Format of the lists: RFC 5782.
 */
#include <string.h>

#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/reject.h>
#include <qpsmtpd/special.h>

struct conf {
    const struct qp_dnslist *list;
    const struct qp_table *allow;
    struct qp_lines rejectmsg;
    struct qp_reject reject;
    bool at_connect;
    bool hard;
    int64_t timeout_ms;
};

struct state {
    const char **names; /* one for each zone; NULL: this client is not, or no longer, looked up */
    const char *reason; /* NULL: accept */
    enum qp_rc type;
    bool for_all;  /* special recipients as well */
    bool doubtful; /* nobody knows whether dnsbl_allow has it */
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    static const int connect = QP_REJECT_NAUGHTY + 1;
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *const type_alone[] = {argv[0], "reject_type", argc > 1 ? argv[1] : NULL, NULL};
    const struct qp_arg args[] = {
        {"reject", .choice = &c->reject.policy, .choices = "0 1 naughty connect"},
        {"reject_type", .reject_type = &c->reject.type},
        {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
        {"hard", .flag = &c->hard},
        {0},
    };

    qp_instance_set(q, c);
    c->reject = QP_REJECT_DEFAULT;
    c->timeout_ms = 8000;
    if (!qp_args(q, argc == 2 ? 3 : argc, argc == 2 ? type_alone : argv, args))
        return false;
    c->at_connect = c->reject.policy == connect;
    if (c->at_connect)
        c->reject.policy = QP_REJECT_YES;
    c->rejectmsg = qp_config_lines(q, "dnsbl_rejectmsg");
    return (c->list = qp_dnslist_open(q, "dnsbl_zones", ":")) != NULL &&
           (c->allow = qp_table_open(q, "dnsbl_allow", QP_MATCH_IP_DOT)) != NULL;
}

/* ---- texts ---- */

static const char *
with_ip(struct qp *q, const char *text)
{
    const char *out = "", *at;

    while ((at = strstr(text, "%IP%")) != NULL) {
        out = qp_printf(q, QP_CONNECTION, "%s%.*s%s", out, (int)(at - text), text, qp_remote_ip(q));
        text = at + strlen("%IP%");
    }
    return qp_printf(q, QP_CONNECTION, "%s%s", out, text);
}

static const char *
behind_rejectmsg(struct qp *q, const struct conf *c, const char *between, const char *reason)
{
    for (size_t i = c->rejectmsg.n; i-- > 0;)
        reason = qp_printf(q, QP_CONNECTION, "%s%s%s", c->rejectmsg.line[i].text, between, reason);
    return reason;
}

/* ---- lookups ---- */

/* A zone with a message of its own needs no text out of the DNS. */
static void
start(struct qp *q, const struct conf *c, struct state *s)
{
    s->names = qp_dnslist_start(q, c->list, qp_remote_ip(q));
    for (size_t i = 0; s->names != NULL && i < c->list->n; i++)
        if (c->list->zone[i].text[0] == '\0')
            qp_dns_start(q, QP_DNS_TXT, s->names[i]);
}

static const char *
text_of(struct qp *q, const struct qp_dnslist_zone *zone, const char *name, int64_t left_ms)
{
    const struct qp_dns_answer *txt;

    if (zone->text[0] != '\0')
        return with_ip(q, zone->text);
    txt = qp_dns_wait(q, QP_DNS_TXT, name, left_ms);
    if (txt->status == QP_DNS_OK && txt->record[0].text[0] != '\0')
        return txt->record[0].text;
    return qp_printf(q, QP_CONNECTION, "Blocked by %s", zone->name);
}

/* Once in a connection: what has not answered by then lists nobody. */
static void
look_up(struct qp *q, const struct conf *c, struct state *s)
{
    const char *const *names = s->names;
    int64_t left_ms = c->timeout_ms;
    size_t i = qp_dnslist_first(q, names, c->list->n, &left_ms);

    s->names = NULL;
    if (i == c->list->n) {
        qp_log(q, QP_LOG_INFO, "pass");
        return;
    }
    s->type = s->doubtful ? QP_DENYSOFT : c->reject.type;
    s->reason = behind_rejectmsg(q, c, "\n", text_of(q, &c->list->zone[i], names[i], left_ms));
    qp_note_set(q, QP_CONNECTION, "dnsbl", s->reason);
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    qp_log(q, QP_LOG_INFO, "fail name=%s", names[i]);
}

static void
read_rblsmtpd(struct qp *q, const struct conf *c, struct state *s, const char *text)
{
    bool hard = c->hard || text[0] == '-';

    if (text[0] == '\0')
        return;
    s->type = hard ? QP_DENY : QP_DENYSOFT;
    s->for_all = true;
    s->reason = behind_rejectmsg(q, c, " ", with_ip(q, text + (hard && !c->hard)));
}

/* ---- the dialogue ---- */

/* to: NULL at connect */
static enum qp_rc
verdict(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);
    struct qp_reject reject = {.policy = c->reject.policy};

    if (qp_immune(q))
        return QP_DECLINED;
    if (s->names != NULL)
        look_up(q, c, s);
    if (s->reason == NULL)
        return QP_DECLINED;
    if (to != NULL && !s->for_all && qp_special(to)) {
        qp_log(q, QP_LOG_INFO, "skip, nobody is refused here recipient=%s", to->address);
        return QP_DECLINED;
    }
    reject.type = s->type;
    return qp_reject(q, &reject, s->reason);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);
    const char *rblsmtpd = qp_env(q, "RBLSMTPD");
    enum qp_lookup allowed;

    if (rblsmtpd != NULL) {
        read_rblsmtpd(q, c, s, rblsmtpd);
    } else if (!qp_immune(q)) {
        allowed = qp_table_find(q, c->allow, qp_remote_ip(q), NULL);
        s->doubtful = allowed == QP_TROUBLE;
        if (allowed != QP_FOUND)
            start(q, c, s);
    }
    return c->at_connect ? verdict(q, NULL) : QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    return verdict(q, to);
}

QP_PLUGIN(.name = "dnsbl", .init = on_init, .connect = on_connect, .rcpt = on_rcpt);
