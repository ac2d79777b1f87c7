/*
 * fcrdns - does the name of the client's address lead back to the address?
 *
 *   plugins file: fcrdns [relaxed 0|1] [timeout SECONDS] [reject 0|1|naughty] [reject_type TYPE]
 *                 default: 0 5 0 perm
 *   hooks connect, helo, ehlo, mail: start the lookups
 *   hook rcpt:    with `reject`, 550 "FCrDNS check failed" for a client that fails; else QP_DECLINED
 *   hook data_post_headers: the result is there at the latest, for Authentication-Results
 *
 * Results (RFC 8601, 2.7.3), in the note fcrdns of the connection: pass; fail, no name has the
 * address; permerror, there is no name; temperror, nobody could tell, and that is never refused.
 * With `relaxed 1` an address of the same /24 or /64 will do.
 *
 * Source: 1.00, which never refused. Immune and local clients are not checked.
 */
#include <arpa/inet.h>
#include <string.h>

#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/reject.h>

#define NAMES_MAX 10 /* so many are asked for: each costs two questions */

struct conf {
    bool relaxed;
    int64_t timeout_ms;
    struct qp_reject reject;
};

struct state {
    const char *ptr; /* the question; NULL: this client is not checked */
    struct in6_addr peer;
    bool names_asked;  /* the addresses of the names */
    const char *iprev; /* the result; NULL: not yet */
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->timeout_ms = 5000;
    c->reject = (struct qp_reject){.policy = QP_REJECT_NO, .type = QP_DENY};
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {"relaxed", .flag = &c->relaxed},
            {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
            QP_REJECT_ARGS(&c->reject),
            {0},
        });
}

/* ---- lookups ---- */

static void
start_addresses(struct qp *q, const char *name)
{
    qp_dns_start(q, QP_DNS_A, name);
    qp_dns_start(q, QP_DNS_AAAA, name);
}

/* A name that can be somebody's: with a dot, and of letters, digits and hyphens (RFC 1123, 2.1). */
static bool
is_fqdn(const char *name)
{
    return strchr(name, '.') != NULL &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")] ==
               '\0';
}

/* The addresses are asked for as soon as the names are there. */
static void
advance(struct qp *q, struct state *s)
{
    const struct qp_dns_answer *ptr = s->ptr != NULL ? qp_dns_peek(q, QP_DNS_PTR, s->ptr) : NULL;

    if (ptr == NULL || s->names_asked)
        return;
    s->names_asked = true;
    for (size_t i = 0; i < ptr->n && i < NAMES_MAX; i++)
        if (is_fqdn(ptr->record[i].text))
            start_addresses(q, ptr->record[i].text);
}

static bool
has_peer(const struct qp_dns_answer *a, const struct in6_addr *peer, bool relaxed)
{
    size_t bytes = !relaxed ? 16 : IN6_IS_ADDR_V4MAPPED(peer) ? 15 : 8;

    for (size_t i = 0; i < a->n; i++)
        if (memcmp(a->record[i].ip, peer->s6_addr, bytes) == 0)
            return true;
    return false;
}

/* What the addresses of these names say. */
static const char *
confirm(struct qp *q, const struct conf *c, const struct state *s, const struct qp_dns_answer *ptr,
    int64_t *left_ms)
{
    static const enum qp_dns_type types[] = {QP_DNS_A, QP_DNS_AAAA};
    const char *result = "fail";

    for (size_t i = 0; i < ptr->n && i < NAMES_MAX; i++) {
        const char *name = ptr->record[i].text;

        for (size_t j = 0; j < 2 && is_fqdn(name); j++) {
            const struct qp_dns_answer *a = qp_dns_within(q, types[j], name, left_ms);

            if (has_peer(a, &s->peer, c->relaxed))
                return "pass";
            if (qp_dns_temporary(a->status))
                result = "temperror";
        }
    }
    return result;
}

static void
leave_notes(struct qp *q, const struct state *s)
{
    const char *before = qp_note(q, QP_CONNECTION, "authentication_results");
    const char *quote = strchr(qp_remote_ip(q), ':') != NULL ? "\"" : "";

    qp_note_set(q, QP_CONNECTION, "fcrdns", s->iprev);
    qp_note_set(q, QP_CONNECTION, "authentication_results",
        qp_printf(q, QP_CONNECTION, "%s%siprev=%s policy.iprev=%s%s%s",
            before != NULL ? before : "", before != NULL ? "; " : "", s->iprev, quote,
            qp_remote_ip(q), quote));
    if (strcmp(s->iprev, "temperror") != 0)
        qp_note_add(q, QP_CONNECTION, "karma", strcmp(s->iprev, "pass") == 0 ? 1 : -1);
    qp_log(q, QP_LOG_INFO, "iprev=%s", s->iprev);
}

/* Once in a connection. */
static void
finish(struct qp *q, const struct conf *c, struct state *s)
{
    int64_t left_ms = c->timeout_ms;
    const struct qp_dns_answer *ptr;

    if (s->ptr == NULL || s->iprev != NULL)
        return;
    ptr = qp_dns_within(q, QP_DNS_PTR, s->ptr, &left_ms);
    advance(q, s);
    if (ptr->status == QP_DNS_OK)
        s->iprev = confirm(q, c, s, ptr, &left_ms);
    else
        s->iprev = qp_dns_temporary(ptr->status) ? "temperror" : "permerror";
    leave_notes(q, s);
}

/* ---- the dialogue ---- */

/* The address in 16 bytes; false: it is not, or not to be, checked. */
static bool
is_checked(struct qp *q, struct in6_addr *peer)
{
    *peer = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (inet_pton(AF_INET, qp_remote_ip(q), &peer->s6_addr[12]) != 1 &&
        inet_pton(AF_INET6, qp_remote_ip(q), peer) != 1)
        return false;
    if (IN6_IS_ADDR_LOOPBACK(peer) || (IN6_IS_ADDR_V4MAPPED(peer) && peer->s6_addr[12] == 127)) {
        qp_note_add(q, QP_CONNECTION, "karma", 1);
        return false;
    }
    return !qp_immune(q);
}

/* The server may know the name of the client already: most likely it is the one to be confirmed. */
static enum qp_rc
on_connect(struct qp *q)
{
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);

    if (!is_checked(q, &s->peer))
        return QP_DECLINED;
    s->ptr = qp_dns_reverse(q, qp_remote_ip(q), NULL);
    qp_dns_start(q, QP_DNS_PTR, s->ptr);
    if (is_fqdn(qp_remote_host(q)))
        start_addresses(q, qp_remote_host(q));
    return QP_DECLINED;
}

static enum qp_rc
on_helo(struct qp *q, const char *host)
{
    (void)host;
    advance(q, qp_state(q, QP_CONNECTION, sizeof(struct state)));
    return QP_DECLINED;
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    (void)sender;
    advance(q, qp_state(q, QP_CONNECTION, sizeof(struct state)));
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);

    (void)to;
    advance(q, s);
    if (c->reject.policy == QP_REJECT_NO || qp_immune(q))
        return QP_DECLINED;
    finish(q, c, s);
    if (s->iprev == NULL || strcmp(s->iprev, "pass") == 0 || strcmp(s->iprev, "temperror") == 0)
        return QP_DECLINED;
    return qp_reject(q, &c->reject, "FCrDNS check failed");
}

static enum qp_rc
on_data_post_headers(struct qp *q)
{
    if (!qp_immune(q)) /* it may have logged in since */
        finish(q, qp_instance(q), qp_state(q, QP_CONNECTION, sizeof(struct state)));
    return QP_DECLINED;
}

QP_PLUGIN(.name = "fcrdns", .init = on_init, .connect = on_connect, .helo = on_helo,
    .ehlo = on_helo, .mail = on_mail, .rcpt = on_rcpt, .data_post_headers = on_data_post_headers);
