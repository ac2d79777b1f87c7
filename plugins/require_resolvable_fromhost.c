/*
 * require_resolvable_fromhost - refuse senders whose domain nobody could answer to
 *
 *   plugins file: require_resolvable_fromhost [reject 0|1|naughty] [reject_type TYPE]
 *                 [timeout SECONDS]            default: 1 soft 15; 1.00 calls it resolvable_fromhost
 *   files:        require_resolvable_fromhost: 1 switches it on, under that name only;
 *                 invalid_resolvable_fromhost: networks in which no mail server can be
 *   hook mail_pre: starts the lookups
 *   hook mail:    450 4.1.8 "Could not resolve HOST", or "FQDN required in the envelope sender" where
 *                 there is no domain; 450 4.4.3 when the name servers fail, whatever TYPE is;
 *                 550 5.7.27 when the domain says that it takes no mail (null MX, RFC 7505)
 *
 * A domain is good with an address literal; with an MX of which one target has an address; without
 * MX with an address: A or AAAA, outside of the invalid networks. Immune clients and the null sender
 * are let through. Notes of the transaction: resolvable_fromhost (null, ip, mx, a or what is wrong),
 * resolvable_fromhost_host.
 *
 * Source: 1.00, with the text of r356, which took any MX and asked for no AAAA.
 */
#include <string.h>

#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/reject.h>

#define MX_MAX 10 /* so many targets are asked for: each costs two questions */

struct conf {
    bool enabled;
    struct qp_reject reject;
    int64_t timeout_ms;
    const struct qp_table *invalid;
};

enum found { GOOD, BAD, UNKNOWN };

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->enabled = strncmp(qp_plugin_name(q), "require_", 8) != 0 ||
                 qp_config_true(q, "require_resolvable_fromhost");
    c->reject = (struct qp_reject){.policy = QP_REJECT_YES, .type = QP_DENYSOFT};
    c->timeout_ms = 15000;
    return qp_args(q, argc, argv,
               (const struct qp_arg[]){
                   QP_REJECT_ARGS(&c->reject),
                   {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
                   {0},
               }) &&
           (c->invalid = qp_table_open(q, "invalid_resolvable_fromhost", QP_MATCH_IP)) != NULL;
}

/* ---- lookups ---- */

static void
start_addresses(struct qp *q, const char *host)
{
    qp_dns_start(q, QP_DNS_A, host);
    qp_dns_start(q, QP_DNS_AAAA, host);
}

static enum found
judge(struct qp *q, const struct conf *c, const struct qp_dns_answer *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (!qp_table_has(q, c->invalid, a->record[i].text))
            return GOOD;
    return qp_dns_temporary(a->status) ? UNKNOWN : BAD;
}

static enum found
has_address(struct qp *q, const struct conf *c, const char *host, int64_t *left_ms)
{
    enum found v4 = judge(q, c, qp_dns_within(q, QP_DNS_A, host, left_ms)), v6;

    if (v4 == GOOD)
        return GOOD;
    v6 = judge(q, c, qp_dns_within(q, QP_DNS_AAAA, host, left_ms));
    return v4 == BAD ? v6 : v6 == GOOD ? GOOD : UNKNOWN;
}

static enum found
has_target(struct qp *q, const struct conf *c, const struct qp_dns_answer *mx, int64_t *left_ms)
{
    size_t n = mx->n < MX_MAX ? mx->n : MX_MAX;
    enum found all = BAD;

    for (size_t i = 0; i < n; i++)
        start_addresses(q, mx->record[i].text);
    for (size_t i = 0; i < n && all != GOOD; i++) {
        enum found one = has_address(q, c, mx->record[i].text, left_ms);

        if (one != BAD)
            all = one;
    }
    return all;
}

/* ---- the verdict ---- */

static void
leave_notes(struct qp *q, const char *what, const char *host, int karma)
{
    qp_note_set(q, QP_TRANSACTION, "resolvable_fromhost", what);
    qp_note_set(q, QP_TRANSACTION, "resolvable_fromhost_host", host);
    qp_note_add(q, QP_CONNECTION, "karma", karma);
    qp_log(q, QP_LOG_INFO, "result=\"%s\" host=%s", what, host);
}

/* The text with the status that fits the class of the reply. */
static enum qp_rc
refuse(struct qp *q, const struct qp_reject *r, const char *text, const char *status)
{
    bool soft = r->type == QP_DENYSOFT || r->type == QP_DENYSOFT_DISCONNECT;

    return qp_reject(
        q, r, qp_printf(q, QP_TRANSACTION, "%s (#%c.%s)", text, soft ? '4' : '5', status));
}

static enum qp_rc
refuse_unknown(struct qp *q, const struct conf *c, const char *host)
{
    struct qp_reject soft = c->reject;

    leave_notes(q, "no answer", host, 0);
    if (soft.type == QP_DENY)
        soft.type = QP_DENYSOFT;
    if (soft.type == QP_DENY_DISCONNECT)
        soft.type = QP_DENYSOFT_DISCONNECT;
    return refuse(q, &soft, "Temporary address resolution failure", "4.3");
}

static enum qp_rc
refuse_null_mx(struct qp *q, const struct conf *c, const char *host)
{
    const char *text = qp_printf(q, QP_TRANSACTION, "Domain %s does not accept mail", host);

    leave_notes(q, "null MX", host, -1);
    if (c->reject.policy == QP_REJECT_YES)
        return qp_deny_code(q, 550, "5.7.27", "%s (#5.7.27)", text);
    return qp_reject(q, &(struct qp_reject){c->reject.policy, QP_DENY}, text);
}

static enum qp_rc
check(struct qp *q, const struct conf *c, const char *host)
{
    int64_t left_ms = c->timeout_ms;
    const struct qp_dns_answer *mx = qp_dns_within(q, QP_DNS_MX, host, &left_ms);
    bool has_mx = mx->status == QP_DNS_OK;
    enum found found;

    if (has_mx && mx->n == 1 && mx->record[0].text[0] == '\0')
        return refuse_null_mx(q, c, host);
    found = has_mx ? has_target(q, c, mx, &left_ms) : has_address(q, c, host, &left_ms);
    if (found == GOOD) {
        leave_notes(q, has_mx ? "mx" : "a", host, has_mx ? 0 : -1);
        return QP_DECLINED;
    }
    if (found == UNKNOWN || qp_dns_temporary(mx->status))
        return refuse_unknown(q, c, host);
    leave_notes(q, qp_printf(q, QP_TRANSACTION, "invalid MX for %s", host), host, -1);
    return refuse(q, &c->reject, qp_printf(q, QP_TRANSACTION, "Could not resolve %s", host), "1.8");
}

/* ---- the dialogue ---- */

/* Before any plugin can make the client wait in `mail`. */
static enum qp_rc
on_mail_pre(struct qp *q, const char *address)
{
    const struct conf *c = qp_instance(q);
    const struct qp_address *sender = qp_address_parse(q, QP_TRANSACTION, address);

    if (!c->enabled || sender == NULL || qp_immune(q) || sender->host[0] == '[')
        return QP_DECLINED;
    qp_dns_start(q, QP_DNS_MX, sender->host);
    start_addresses(q, sender->host);
    return QP_DECLINED;
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const struct conf *c = qp_instance(q);

    if (!c->enabled || qp_immune(q))
        return QP_DECLINED;
    if (sender->address[0] == '\0') {
        leave_notes(q, "null", "", 0);
        return QP_DECLINED;
    }
    if (sender->host[0] == '\0') {
        leave_notes(q, "unparsable host", "", -1);
        return refuse(q, &c->reject, "FQDN required in the envelope sender", "1.8");
    }
    if (sender->host[0] == '[') {
        leave_notes(q, "ip", sender->host, -1);
        return QP_DECLINED;
    }
    start_addresses(q, sender->host);
    return check(q, c, sender->host);
}

QP_PLUGIN(.name = "require_resolvable_fromhost", .init = on_init, .mail_pre = on_mail_pre,
    .mail = on_mail);
