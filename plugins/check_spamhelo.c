/*
 * check_spamhelo - refuse HELO names that nobody legitimate uses
 *
 *   plugins file: check_spamhelo
 *                 helo [policy lenient] [reject 0|1|naughty] [reject_type TYPE]
 *   file:         badhelo: one name a line
 *   hooks helo, ehlo, as check_spamhelo (r356): 550 when the name is a line of badhelo
 *   hooks helo, ehlo, as helo (1.00): 550 and close, or what reject_type says, when the name
 *     - is a line of badhelo or matches a pattern there,
 *     - is localhost and the peer is not,
 *     - is an address literal of somebody else, or an address without brackets.
 *     Immune clients are let through.
 *   hook data_post, as helo: the field X-HELO tells the name
 *
 * For helo a line of badhelo with one of {}[]()^$|*+?\! in it is a pattern as well; a leading !
 * negates it. An address literal is never a pattern: [192.0.2.1] would match nearly every name.
 */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/header.h>
#include <qpsmtpd/regex.h>
#include <qpsmtpd/reject.h>

struct bad {
    const char *name;
    const struct qp_regex *regex; /* NULL: no pattern */
    bool negated;
};

struct conf {
    size_t n;
    struct bad *bad;
    bool r356;
    struct qp_reject reject;
};

enum policy { POLICY_LENIENT, POLICY_RFC, POLICY_STRICT };

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
    int policy = POLICY_LENIENT;
    const struct qp_arg none[] = {{0}};
    const struct qp_arg helo[] = {
        {"policy", .choice = &policy, .choices = "lenient rfc strict"},
        QP_REJECT_ARGS(&c->reject),
        {0},
    };

    qp_instance_set(q, c);
    c->r356 = strncmp(qp_plugin_name(q), "check_", 6) == 0;
    c->reject = QP_REJECT_DEFAULT;
    if (!c->r356)
        c->reject.type = QP_DENY_DISCONNECT;
    if (!qp_args(q, argc, argv, c->r356 ? none : helo))
        return false;
    if (policy != POLICY_LENIENT)
        return qp_fail(q,
            "policy %s needs DNS lookups, which this plugin does not do: write policy lenient",
            policy == POLICY_RFC ? "rfc" : "strict");
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

/* What is wrong with host; NULL: nothing. The order is that of 1.00. */
static const char *
helo_fault(struct qp *q, const struct conf *c, const char *host)
{
    struct in6_addr peer, named;
    bool has_ip = ip_parse(qp_remote_ip(q), &peer);

    if (is_in_badhelo(q, c, host))
        return qp_printf(q, QP_CONNECTION, "I do not believe you are %s.", host);
    if (strcasecmp(host, "localhost") == 0 && !is_local(has_ip, &peer))
        return "You are not localhost";
    if (literal_parse(host, &named) && has_ip && memcmp(&named, &peer, sizeof peer) != 0)
        return "Forged IPs not accepted here";
    if (ip_parse(host, &named))
        return "Plain IP is invalid HELO hostname (RFC 2821)";
    return NULL;
}

static enum qp_rc
on_helo(struct qp *q, const char *host)
{
    const struct conf *c = qp_instance(q);
    const char *fault;

    if (c->r356) {
        if (!is_in_badhelo(q, c, host))
            return QP_DECLINED;
        return qp_deny(q,
            "Uh-huh.  You're %s, and I'm a boil on the bottom of the Marquess of "
            "Queensbury's great-aunt.",
            host);
    }
    if (host[0] == '\0') {
        qp_note_add(q, QP_CONNECTION, "karma", -2);
        return QP_DECLINED;
    }
    if (qp_immune(q))
        return QP_DECLINED;
    fault = helo_fault(q, c, host);
    if (fault == NULL)
        return QP_DECLINED;
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    return qp_reject(q, &c->reject, fault);
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
    .data_post = on_data_post);
