/*
 * check_spamhelo - refuse HELO names that nobody legitimate uses
 *
 *   plugins file: check_spamhelo
 *                 helo [policy lenient|rfc|strict] [reject 0|1|naughty] [reject_type TYPE]
 *                      [timeout SECONDS]   default: lenient 1 disconnect 5; strict: reject 0
 *   file:         badhelo: one name a line
 *   hooks helo, ehlo, as check_spamhelo (r356): 550 when the name is a line of badhelo
 *   hooks helo, ehlo, as helo (1.00): 550 and close, or what reject_type says, when the name
 *     - is a line of badhelo or matches a pattern there,
 *     - is localhost and the peer is not,
 *     - is an address literal of somebody else, or an address without brackets,
 *     - with rfc and strict: has no dot, or characters that no host name has,
 *     - with strict: is an address literal.
 *     Immune clients and the ports for submission are let through.
 *   all of them let the names in whitelisthelo of the plugin whitelist pass
 *   hook rcpt, as helo: the same reply, when
 *     - with rfc and strict: the name has no address, or the client's address has no name,
 *     - with strict: neither leads to the other, to a neighbour or to the same domain.
 *   hook data_post, as helo: the field X-HELO tells the name
 *
 * For helo a line of badhelo with one of {}[]()^$|*+?\! in it is a pattern as well; a leading !
 * negates it. An address literal is never a pattern: [192.0.2.1] would match nearly every name.
 *
 * What needs the DNS is asked for at HELO and counts at RCPT: by then the answers are there, and AUTH
 * may have made the client one of ours. A name server that fails refuses nobody. 1.00 refused at HELO.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/regex.h>
#include <qpsmtpd/reject.h>

enum policy { POLICY_LENIENT, POLICY_RFC, POLICY_STRICT };

struct bad {
    const char *name;
    const struct qp_regex *regex; /* NULL: no pattern */
    bool negated;
};

struct conf {
    size_t n;
    struct bad *bad;
    bool r356;
    int policy; /* of enum policy */
    struct qp_reject reject;
    int64_t timeout_ms;
};

/* What the DNS is asked about; of a connection. */
struct question {
    const char *ptr; /* of the client's address; NULL: not made yet, or it has none */
    bool open;       /* asked, and not looked at yet */
    bool by_name;    /* the HELO name is no address literal: it is asked about as well */
    const char *fault;
};

/* An address as 16 bytes, IPv4 mapped. false: text is none. */
static bool
ip_parse(const char *text, struct in6_addr *out)
{
    if (inet_pton(AF_INET, text, &out->s6_addr[12]) != 1)
        return inet_pton(AF_INET6, text, out) == 1;
    memset(out->s6_addr, 0, 10);
    memset(out->s6_addr + 10, 0xff, 2);
    return true;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" */
static bool
literal_parse(const char *text, struct in6_addr *out)
{
    char inside[INET6_ADDRSTRLEN];
    size_t n = strlen(text);

    if (n < 2 || text[0] != '[' || text[n - 1] != ']')
        return false;
    text++;
    n -= 2;
    if (n > 5 && strncasecmp(text, "IPv6:", 5) == 0) {
        text += 5;
        n -= 5;
    }
    if (n >= sizeof inside)
        return false;
    memcpy(inside, text, n);
    inside[n] = '\0';
    return ip_parse(inside, out);
}

static bool
bad_parse(struct qp *q, const struct qp_line *line, bool patterns, struct bad *out)
{
    const char *pattern = line->text;
    const char *error;
    struct in6_addr ip;

    out->name = line->text;
    if (!patterns || strpbrk(pattern, "{}[]()^$|*+?\\!") == NULL || literal_parse(pattern, &ip))
        return true;
    out->negated = pattern[0] == '!';
    pattern += out->negated;
    out->regex = qp_regex_new(q, pattern, true, &error);
    return out->regex != NULL || qp_fail_at(q, line, "\"%s\" is no pattern: %s", pattern, error);
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct qp_lines lines = qp_config_lines(q, "badhelo");
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const struct qp_arg none[] = {{0}};
    const struct qp_arg helo[] = {
        {"policy", .choice = &c->policy, .choices = "lenient rfc strict"},
        {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
        QP_REJECT_ARGS(&c->reject),
        {0},
    };

    qp_instance_set(q, c);
    c->r356 = strncmp(qp_plugin_name(q), "check_", 6) == 0;
    c->timeout_ms = 5000;
    c->reject = (struct qp_reject){.policy = -1, .type = QP_DENY_DISCONNECT};
    if (!qp_args(q, argc, argv, c->r356 ? none : helo))
        return false;
    if (c->reject.policy < 0) /* strict refuses many who are only careless */
        c->reject.policy = c->policy == POLICY_STRICT ? QP_REJECT_NO : QP_REJECT_YES;
    c->n = lines.n;
    c->bad = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *c->bad);
    for (size_t i = 0; i < lines.n; i++)
        if (!bad_parse(q, &lines.line[i], !c->r356, &c->bad[i]))
            return false;
    return true;
}

static bool
is_in_badhelo(struct qp *q, const struct conf *c, const char *host)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct bad *b = &c->bad[i];

        if (strcasecmp(b->name, host) == 0)
            return true;
        if (b->regex != NULL && qp_regex_match(q, b->regex, host) != b->negated)
            return true;
    }
    return false;
}

/* Without an address the client is a local program on a pipe. */
static bool
is_local(bool has_ip, const struct in6_addr *ip)
{
    return !has_ip || IN6_IS_ADDR_LOOPBACK(ip) ||
           (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127);
}

/* ---- without the DNS ---- */

/* RFC 1035, 2.3.1 */
static bool
is_ldh(const char *host)
{
    return host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")] ==
           '\0';
}

/* What is wrong with host; NULL: nothing. The order is that of 1.00. */
static const char *
helo_fault(struct qp *q, const struct conf *c, const char *host)
{
    struct in6_addr peer, named;
    bool has_ip = ip_parse(qp_remote_ip(q), &peer), is_literal = literal_parse(host, &named);

    if (is_in_badhelo(q, c, host))
        return qp_printf(q, QP_TRANSACTION, "I do not believe you are %s.", host);
    if (strcasecmp(host, "localhost") == 0 && !is_local(has_ip, &peer))
        return "You are not localhost";
    if (is_literal && has_ip && memcmp(&named, &peer, sizeof peer) != 0)
        return "Forged IPs not accepted here";
    if (ip_parse(host, &named))
        return "Plain IP is invalid HELO hostname (RFC 2821)";
    if (c->policy >= POLICY_RFC && !is_literal && strchr(host, '.') == NULL)
        return "HELO name is not fully qualified. Read RFC 2821";
    if (c->policy >= POLICY_RFC && !is_literal && !is_ldh(host))
        return "HELO name contains invalid FQDN characters. Read RFC 1035";
    if (c->policy == POLICY_STRICT && is_literal)
        return "RFC 2821 allows an address literal, but we do not";
    return NULL;
}

/* ---- with the DNS ---- */

static void
ask(struct qp *q, const struct conf *c, const char *host, struct question *question)
{
    struct in6_addr ip;

    if (c->policy < POLICY_RFC)
        return;
    if (question->ptr == NULL)
        question->ptr = qp_dns_reverse(q, qp_remote_ip(q), NULL);
    if (question->ptr == NULL)
        return; /* no network peer */
    question->open = true;
    qp_dns_start(q, QP_DNS_PTR, question->ptr);
    if (literal_parse(host, &ip))
        return;
    question->by_name = true;
    qp_dns_start(q, QP_DNS_A, host);
    qp_dns_start(q, QP_DNS_AAAA, host);
}

/* Is it the peer, or of the same /24, or /96? */
static bool
is_near(const struct qp_dns_answer *a, const struct in6_addr *peer)
{
    size_t bytes = IN6_IS_ADDR_V4MAPPED(peer) ? 15 : 12;

    for (size_t i = 0; i < a->n; i++)
        if (memcmp(a->record[i].ip, peer, bytes) == 0)
            return true;
    return false;
}

/* "example.com" of "mx.example.com" */
static const char *
last_two_labels(const char *name)
{
    const char *p = name + strlen(name);

    for (int dots = 0; p > name; p--)
        if (p[-1] == '.' && ++dots == 2)
            break;
    return p;
}

static bool
is_related(const struct qp_dns_answer *ptr, const char *host)
{
    for (size_t i = 0; i < ptr->n; i++)
        if (strcasecmp(last_two_labels(ptr->record[i].text), last_two_labels(host)) == 0)
            return true;
    return false;
}

/* What the answers say is wrong; NULL: nothing, or it could not be told. */
static const char *
dns_fault(struct qp *q, const struct conf *c, const struct question *question)
{
    static const struct qp_dns_answer none = {.status = QP_DNS_NODATA};
    const char *host = question->by_name ? qp_hello_host(q) : NULL;
    int64_t left_ms = c->timeout_ms;
    const struct qp_dns_answer *a = host ? qp_dns_within(q, QP_DNS_A, host, &left_ms) : &none;
    const struct qp_dns_answer *aaaa = host ? qp_dns_within(q, QP_DNS_AAAA, host, &left_ms) : &none;
    const struct qp_dns_answer *ptr = qp_dns_within(q, QP_DNS_PTR, question->ptr, &left_ms);
    bool unknown = qp_dns_temporary(a->status) || qp_dns_temporary(aaaa->status);
    struct in6_addr peer;
    bool forward, reverse;

    ip_parse(qp_remote_ip(q), &peer);
    forward = is_near(a, &peer) || is_near(aaaa, &peer);
    reverse = host != NULL && is_related(ptr, host);
    qp_note_set(q, QP_CONNECTION, "helo_forward_match", forward ? "1" : NULL);
    qp_note_set(q, QP_CONNECTION, "helo_reverse_match", reverse ? "1" : NULL);
    if (host != NULL && a->n + aaaa->n == 0 && !unknown)
        return a->status == QP_DNS_NXDOMAIN ? "HELO hostname does not exist"
                                            : "HELO hostname did not resolve";
    if (ptr->status == QP_DNS_NXDOMAIN)
        return qp_printf(q, QP_CONNECTION, "no rDNS for %s", qp_remote_ip(q));
    if (ptr->n == 0 && !qp_dns_temporary(ptr->status))
        return qp_printf(q, QP_CONNECTION, "no reverse DNS for %s", qp_remote_ip(q));
    if (c->policy != POLICY_STRICT)
        return NULL;
    if (forward && reverse)
        qp_note_add(q, QP_CONNECTION, "karma", 1);
    if (!forward && !reverse && !unknown && !qp_dns_temporary(ptr->status))
        return "That HELO hostname fails FCrDNS";
    return NULL;
}

/* ---- the dialogue ---- */

/* Mail clients do not know who they are, and authenticate instead (RFC 6409, RFC 8314). */
static bool
is_exempt(struct qp *q)
{
    return qp_immune(q) || qp_immune_hello(q) || qp_local_port(q) == 587 || qp_local_port(q) == 465;
}

static enum qp_rc
as_r356(struct qp *q, const struct conf *c, const char *host)
{
    if (!is_in_badhelo(q, c, host) || qp_immune_hello(q))
        return QP_DECLINED;
    return qp_deny(q,
        "Uh-huh.  You're %s, and I'm a boil on the bottom of the Marquess of "
        "Queensbury's great-aunt.",
        host);
}

static enum qp_rc
on_helo(struct qp *q, const char *host)
{
    const struct conf *c = qp_instance(q);
    struct question *question = qp_state(q, QP_CONNECTION, sizeof *question);
    const char *fault;

    *question = (struct question){.ptr = question->ptr}; /* forget an earlier greeting */
    if (c->r356)
        return as_r356(q, c, host);
    if (host[0] == '\0') {
        qp_note_add(q, QP_CONNECTION, "karma", -2);
        return QP_DECLINED;
    }
    if (is_exempt(q))
        return QP_DECLINED;
    fault = helo_fault(q, c, host);
    if (fault == NULL) {
        ask(q, c, host, question);
        return QP_DECLINED;
    }
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    return qp_reject(q, &c->reject, fault);
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    struct question *question = qp_state(q, QP_CONNECTION, sizeof *question);

    (void)to;
    if (is_exempt(q))
        return QP_DECLINED;
    if (question->open) {
        question->fault = dns_fault(q, c, question);
        question->open = false;
        if (question->fault != NULL)
            qp_note_add(q, QP_CONNECTION, "karma", -1);
    }
    return question->fault != NULL ? qp_reject(q, &c->reject, question->fault) : QP_DECLINED;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!c->r356) {
        qp_header_delete_all(q, "X-HELO");
        qp_header_prepend(q, "X-HELO", qp_hello_host(q));
    }
    return QP_DECLINED;
}

QP_PLUGIN(.name = "check_spamhelo", .init = on_init, .helo = on_helo, .ehlo = on_helo,
    .rcpt = on_rcpt, .data_post = on_data_post);
