/*
 * rhsbl - refuse senders whose domain, or clients whose HELO name, is on a block list
 *
 *   plugins file: rhsbl [reject 0|1|naughty] [reject_type TYPE] [timeout SECONDS]   default: 1 perm 8
 *                 one word alone is the TYPE
 *   file:         rhsbl_zones: zone, then what is wrong with the domain: "rejected because it ..."
 *   hooks helo, ehlo, mail_pre, mail: start the lookups
 *   hook rcpt:    550 "Mail from HOST rejected because it MESSAGE" or "Mail from HELO NAME ...", but
 *                 for postmaster, abuse, mailer-daemon, root
 *   hook reset_transaction: a complaint that `reject naughty` has left goes with its sender, 100 times
 *
 * Source: r356, whose file and texts these are; the arguments are those of 1.00. Immune clients and
 * the null sender are let through; addresses are not looked up. Servers are waited for `timeout` in
 * all in one connection.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/reject.h>
#include <qpsmtpd/special.h>

#define FORGET_MAX 100 /* complaints in one connection */

struct conf {
    const struct qp_dnslist *list;
    struct qp_reject reject;
    int64_t timeout_ms;
};

/* Of a connection. */
struct patience {
    int64_t spent_ms;
    int forgotten;
};

/* Of a transaction. */
struct state {
    bool decided;
    const char *reason; /* NULL: accept */
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *const type_alone[] = {argv[0], "reject_type", argc > 1 ? argv[1] : NULL, NULL};
    const struct qp_arg args[] = {
        QP_REJECT_ARGS(&c->reject),
        {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
        {0},
    };

    qp_instance_set(q, c);
    c->reject = QP_REJECT_DEFAULT;
    c->timeout_ms = 8000;
    return qp_args(q, argc == 2 ? 3 : argc, argc == 2 ? type_alone : argv, args) &&
           (c->list = qp_dnslist_open(q, "rhsbl_zones", " \t")) != NULL;
}

/* ---- lookups ---- */

/* An address, with brackets or without, is no domain. */
static bool
is_domain(const char *host)
{
    struct in_addr ip;

    return host[0] != '\0' && host[0] != '[' && inet_pton(AF_INET, host, &ip) != 1;
}

/* The names of a host in all zones; NULL where there is nothing to ask for. */
static void
names_of(struct qp *q, const struct qp_dnslist *list, const char *host, const char *out[])
{
    for (size_t i = 0; is_domain(host) && i < list->n; i++)
        out[i] = qp_printf(q, QP_TRANSACTION, "%s.%s", host, list->zone[i].name);
}

static void
start(struct qp *q, const char *host)
{
    const struct qp_dnslist *list = ((const struct conf *)qp_instance(q))->list;
    const char **names = qp_alloc(q, QP_TRANSACTION, (list->n + 1) * sizeof *names);

    if (qp_immune(q))
        return;
    names_of(q, list, host, names);
    for (size_t i = 0; i < list->n && names[i] != NULL; i++)
        qp_dns_start(q, QP_DNS_A, names[i]);
}

/* What is wrong; NULL: nothing. The sender's domain comes before the HELO name. */
static const char *
look_up(struct qp *q, const struct conf *c, const char *host, const char *helo)
{
    struct patience *p = qp_state(q, QP_CONNECTION, sizeof *p);
    int64_t left_ms = c->timeout_ms - p->spent_ms;
    size_t n = c->list->n, i;
    const char **names = qp_alloc(q, QP_TRANSACTION, (2 * n + 1) * sizeof *names);
    const struct qp_dnslist_zone *zone;
    const char *message;

    names_of(q, c->list, host, names);
    if (strcasecmp(host, helo) != 0)
        names_of(q, c->list, helo, names + n);
    i = qp_dnslist_first(q, names, 2 * n, &left_ms);
    p->spent_ms = c->timeout_ms - left_ms;
    if (i == 2 * n)
        return NULL;
    zone = &c->list->zone[i % n];
    message = zone->text[0] != '\0' ? zone->text
                                    : qp_printf(q, QP_TRANSACTION, "is listed in %s", zone->name);
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    qp_log(q, QP_LOG_INFO, "fail name=%s", names[i]);
    return qp_printf(q, QP_TRANSACTION, "Mail from %s%s rejected because it %s",
        i < n ? "" : "HELO ", i < n ? host : helo, message);
}

/* ---- the dialogue ---- */

static enum qp_rc
on_helo(struct qp *q, const char *host)
{
    start(q, host);
    return QP_DECLINED;
}

/* Before any plugin can make the client wait in `mail`. */
static enum qp_rc
on_mail_pre(struct qp *q, const char *address)
{
    const struct qp_address *sender = qp_address_parse(q, QP_TRANSACTION, address);

    if (sender != NULL)
        start(q, sender->host);
    return QP_DECLINED;
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    start(q, sender->host);
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_TRANSACTION, sizeof *s);
    const char *host = qp_sender(q)->host;

    if (host[0] == '\0' || qp_immune(q) || qp_special(to))
        return QP_DECLINED;
    if (!s->decided)
        s->reason = look_up(q, c, host, qp_hello_host(q));
    s->decided = true;
    return s->reason != NULL ? qp_reject(q, &c->reject, s->reason) : QP_DECLINED;
}

static enum qp_rc
on_reset_transaction(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const struct state *s = qp_state(q, QP_TRANSACTION, sizeof *s);
    struct patience *p = qp_state(q, QP_CONNECTION, sizeof *p);

    if (c->reject.policy == QP_REJECT_NAUGHTY && s->reason && p->forgotten++ < FORGET_MAX)
        qp_naughty_forget(q);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "rhsbl", .init = on_init, .helo = on_helo, .ehlo = on_helo,
    .mail_pre = on_mail_pre, .mail = on_mail, .rcpt = on_rcpt,
    .reset_transaction = on_reset_transaction);
