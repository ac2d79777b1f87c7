/*
 * sender_permitted_from - may this client send mail for the sender's domain? (SPF, RFC 7208)
 *
 *   plugins file: sender_permitted_from [reject 0..6] [defer 0|1]
 *                 of r356: spf_deny 0|1|2, which is reject 1, 3, 4; trust and guess mean nothing now
 *   file:         spfbehavior, 0..6: what reject is when it is not given; else 3
 *   hook mail:    starts the lookups; with `defer 0` refuses here
 *   hook rcpt:    refuses as the table `policies` says, but for postmaster, abuse, mailer-daemon, root
 *   hook data_post: Received-SPF on top of the message
 *
 * The null sender is checked as postmaster@HELO. Immune clients are not checked. Notes of the
 * transaction: authentication_results, dmarc_spf, spf_pass_host; of the connection: karma.
 *
 * Source: 1.00, whose model and texts these are; r356 had neither none nor neutral nor the errors
 * apart. The guess for domains without a record, and trusted-forwarder.org, are gone for good.
 */
#include <ctype.h>
#include <string.h>

#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/special.h>

#include "sender_permitted_from.parts/check.h"

#define REJECT_DEFAULT 3
#define REJECT_NEVER   7

/* What of a long name and a long address appears in texts (RFC 5321, 4.5.3.1) */
#define DOMAIN_MAX  255
#define ADDRESS_MAX 320

struct conf {
    int reject;
    bool defer;
};

/* What is known about this transaction. */
struct state {
    bool applies; /* the client and its sender are to be checked */
    bool checked;
    bool helo; /* the null sender: it was the HELO name that was checked */
    const char *local, *domain;
    const char *address; /* for people */
    struct spf_answer answer;
};

/* From which value of `reject` on a result is refused; the names are those of RFC 7208, 2.6. */
static const struct policy {
    const char *name;
    int soft, hard;
    const char *soft_text, *hard_text;
    int karma;
    const char *log; /* what the log line begins with when the mail is let pass */
} policies[] = {
    /* clang-format off */
    [SPF_PASS]      = {"pass", REJECT_NEVER, REJECT_NEVER, "", "", 1, "pass"},
    [SPF_NONE]      = {"none", REJECT_NEVER, 6, "", "none", 0, "skip"},
    [SPF_NEUTRAL]   = {"neutral", REJECT_NEVER, 5, "", "neutral", 0, "pass"},
    [SPF_FAIL]      = {"fail", 2, 3, "fail", "forgery", -1, "fail, tolerated"},
    [SPF_SOFTFAIL]  = {"softfail", 3, 4, "fail", "fail", -1, "fail, tolerated"},
    [SPF_PERMERROR] = {"permerror", 4, 6, "permerror", "permerror", 0, "error"},
    [SPF_TEMPERROR] = {"temperror", 2, REJECT_NEVER, "temperror", "", 0, "error"},
    /* clang-format on */
};

/* ---- start ---- */

/* The line of config/plugins that loads this instance; NULL: a hook supplied it. */
static const struct qp_line *
own_line(struct qp *q)
{
    struct qp_lines lines = qp_config_lines(q, "plugins");
    size_t n = strlen(qp_plugin_name(q));

    for (size_t i = 0; i < lines.n; i++)
        if (strncmp(lines.line[i].text, qp_plugin_name(q), n) == 0 &&
            strchr(" \t", lines.line[i].text[n]) != NULL)
            return lines.line + i;
    return NULL;
}

static void
warn_dropped(struct qp *q, const char *option, const char *why)
{
    const struct qp_line *line = own_line(q);

    qp_log(q, QP_LOG_WARN, "%s:%u: \"%s\" changes nothing any more, %s: remove it",
        line != NULL ? line->file : "plugins", line != NULL ? line->number : 0, option, why);
}

static bool
read_spfbehavior(struct qp *q, int *reject)
{
    struct qp_lines lines = qp_config_lines(q, "spfbehavior");
    const char *text;

    if (lines.n == 0)
        return true;
    text = lines.line[0].text;
    if (text[0] < '0' || text[0] > '6' || text[1] != '\0')
        return qp_fail_at(q, &lines.line[0], "\"%s\" is no number from 0 to 6", text);
    *reject = text[0] - '0';
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    static const int of_spf_deny[] = {1, 3, 4};
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    int reject = -1, spf_deny = -1, trust = -1, guess = -1, no_dmarc_policy = 0;
    const char *local = NULL;
    const struct qp_arg args[] = {
        {"reject", .number = &reject, .min = 0, .max = 6},
        {"defer", .flag = &c->defer},
        {"spf_deny", .number = &spf_deny, .min = 0, .max = 2},
        {"trust", .number = &trust, .min = 0, .max = 1},
        {"guess", .number = &guess, .min = 0, .max = 1},
        {"local", .text = &local},
        {"include", .text = &local},
        {"no_dmarc_policy", .number = &no_dmarc_policy, .min = 0, .max = 4},
        {0},
    };

    qp_instance_set(q, c);
    c->defer = true;
    c->reject = REJECT_DEFAULT;
    if (!qp_args(q, argc, argv, args))
        return false;
    if (no_dmarc_policy > 0)
        return qp_fail(q, "no_dmarc_policy needs the plugin dmarc, which there is not: remove it");
    if (local != NULL)
        return qp_fail(q,
            "local and include are gone: let a white list before this plugin make the exception");
    if (reject >= 0 && spf_deny >= 0)
        return qp_fail(q, "reject and spf_deny are the same: write reject %d alone", reject);
    if (trust >= 0)
        warn_dropped(q, "trust", "trusted-forwarder.org has ended");
    if (guess >= 0)
        warn_dropped(q, "guess", "a domain without SPF record is \"none\"");
    if (reject >= 0)
        c->reject = reject;
    else if (spf_deny >= 0)
        c->reject = of_spf_deny[spf_deny];
    else
        return read_spfbehavior(q, &c->reject);
    return true;
}

/* ---- text for headers ---- */

/* RFC 5322, 3.2.3 */
static bool
is_dot_atom(const char *text)
{
    static const char atext[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "!#$%&'*+-/=?^_`{|}~";

    while (true) {
        size_t n = strspn(text, atext);

        if (n == 0 || text[n] != '.')
            return n > 0 && text[n] == '\0';
        text += n + 1;
    }
}

/* With a backslash in front of each of the specials; what is not printable ASCII becomes '?'. */
static char *
escaped(struct qp *q, const char *text, const char *specials)
{
    char *out = qp_alloc(q, QP_TRANSACTION, 2 * strlen(text) + 1), *to = out;

    for (; *text != '\0'; text++) {
        if (strchr(specials, *text) != NULL)
            *to++ = '\\';
        *to++ = *text >= ' ' && *text <= '~' ? *text : '?';
    }
    return out;
}

static const char *
quoted(struct qp *q, const char *text)
{
    return qp_printf(q, QP_TRANSACTION, "\"%s\"", escaped(q, text, "\"\\"));
}

/* What stands behind a "=". An IPv6 address is no dot-atom, so it is quoted (RFC 7208, 9.1). */
static const char *
value(struct qp *q, const char *text)
{
    return is_dot_atom(text) ? text : quoted(q, text);
}

/* ---- the verdict ---- */

/* One sentence, for the reply, the log and the header. */
static const char *
reason(struct qp *q, const struct state *s)
{
    const struct spf_answer *a = &s->answer;
    const char *ip = qp_remote_ip(q);

    switch (a->result) {
    case SPF_PASS:
        return qp_printf(
            q, QP_TRANSACTION, "domain of %s designates %s as permitted sender", s->address, ip);
    case SPF_FAIL:
        return qp_printf(q, QP_TRANSACTION,
            "domain of %s does not designate %s as permitted sender", s->address, ip);
    case SPF_SOFTFAIL:
        return qp_printf(q, QP_TRANSACTION,
            "domain of transitioning %s does not designate %s as permitted sender", s->address, ip);
    case SPF_NEUTRAL:
        return qp_printf(q, QP_TRANSACTION, "%s is neither permitted nor denied by domain of %s",
            ip, s->address);
    case SPF_NONE:
        return qp_printf(
            q, QP_TRANSACTION, "domain of %s does not provide an SPF record", s->address);
    case SPF_TEMPERROR:
    case SPF_PERMERROR:
        break;
    }
    return qp_printf(
        q, QP_TRANSACTION, "error in processing during lookup of %s: %s", s->address, a->problem);
}

static void
note_for_dmarc(struct qp *q, const struct state *s, const char *result)
{
    qp_note_set(q, QP_TRANSACTION, "dmarc_spf",
        qp_printf(q, QP_TRANSACTION, "domain=%s scope=%s result=%s", value(q, s->domain),
            s->helo ? "helo" : "mfrom", result));
}

static void
leave_notes(struct qp *q, const struct state *s)
{
    const char *name = policies[s->answer.result].name;
    const char *before = qp_note(q, QP_TRANSACTION, "authentication_results");

    qp_note_add(q, QP_CONNECTION, "karma", policies[s->answer.result].karma);
    qp_note_set(q, QP_TRANSACTION, "authentication_results",
        qp_printf(q, QP_TRANSACTION, "%s%sspf=%s smtp.%s=%s", before != NULL ? before : "",
            before != NULL ? "; " : "", name, s->helo ? "helo" : "mailfrom", value(q, s->domain)));
    note_for_dmarc(q, s, name);
    if (s->answer.result == SPF_PASS) {
        char *host = qp_strdup(q, QP_TRANSACTION, s->domain);

        for (char *p = host; *p != '\0'; p++)
            *p = (char)tolower((unsigned char)*p);
        qp_note_set(q, QP_TRANSACTION, "spf_pass_host", host);
    }
}

/* The state with its answer; the lookups are done once for a transaction, when they are needed. */
static struct state *
verdict(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_TRANSACTION, sizeof *s);
    const struct policy *p;

    if (!s->applies || s->checked)
        return s;
    s->answer = spf_check(q, &(struct spf_question){
                                 .ip = qp_remote_ip(q),
                                 .local = s->local,
                                 .domain = s->domain,
                                 .helo = qp_hello_host(q),
                             });
    s->checked = true;
    p = &policies[s->answer.result];
    leave_notes(q, s);
    qp_log(q, QP_LOG_INFO, "%s result=%s identity=%s mechanism=\"%s\" reason=\"%s\"",
        c->reject >= p->soft || c->reject >= p->hard ? "fail" : p->log, p->name,
        s->helo ? "helo" : "mailfrom", s->answer.mechanism, reason(q, s));
    return s;
}

/*
 * RFC 7372, 3.2: X.7.23 is a failed check, X.7.24 a check that did not work. The words of a foreign
 * domain are marked as such (RFC 7208, 11.5.4).
 */
static enum qp_rc
refuse(struct qp *q, const struct state *s)
{
    const struct conf *c = qp_instance(q);
    const struct policy *p = &policies[s->answer.result];
    bool hard = c->reject >= p->hard;
    bool error = s->answer.result == SPF_TEMPERROR || s->answer.result == SPF_PERMERROR;
    const char *why;

    if (!s->checked || (!hard && c->reject < p->soft))
        return QP_DECLINED;
    why = s->answer.explanation == NULL ? reason(q, s)
                                        : qp_printf(q, QP_TRANSACTION, "%s explains: %s",
                                              s->answer.explainer, s->answer.explanation);
    return qp_deny_code(q, hard ? 550 : 450,
        hard    ? error ? "5.7.24" : "5.7.23"
        : error ? "4.7.24"
                : "4.7.23",
        "SPF - %s: %s", hard ? p->hard_text : p->soft_text, why);
}

/* ---- the dialogue ---- */

static bool
is_exempt(struct qp *q)
{
    return qp_immune(q) || !spf_is_client(qp_remote_ip(q));
}

/* The null sender of the mail that may follow is checked by this name. */
static enum qp_rc
on_helo(struct qp *q, const char *host)
{
    if (!is_exempt(q))
        spf_start(q, host);
    return QP_DECLINED;
}

/* Immune clients have passed as far as other plugins are concerned (1.00). */
static void
skip(struct qp *q, const struct state *s)
{
    qp_log(q, QP_LOG_INFO, "skip, %s", qp_immune(q) ? "immune client" : "client without address");
    if (qp_immune(q))
        note_for_dmarc(q, s, "pass");
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_TRANSACTION, sizeof *s);

    *s = (struct state){.helo = sender->host[0] == '\0', .local = sender->user};
    s->domain =
        s->helo ? qp_printf(q, QP_TRANSACTION, "%.*s", DOMAIN_MAX, qp_hello_host(q)) : sender->host;
    s->address = s->helo ? qp_printf(q, QP_TRANSACTION, "postmaster@%s", s->domain)
                         : qp_printf(q, QP_TRANSACTION, "%.*s", ADDRESS_MAX, sender->address);
    if (is_exempt(q)) {
        skip(q, s);
        return QP_DECLINED;
    }
    s->applies = true;
    spf_start(q, s->domain);
    return c->defer ? QP_DECLINED : refuse(q, verdict(q));
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);

    return !c->defer || qp_special(to) || qp_immune(q) ? QP_DECLINED : refuse(q, verdict(q));
}

/* The engine's Authentication-Results comes next, and wants the note. */
static enum qp_rc
on_data_post_headers(struct qp *q)
{
    verdict(q);
    return QP_DECLINED;
}

/* RFC 7208, 9.1. Here and not before: it belongs above our Received. */
static enum qp_rc
on_data_post(struct qp *q)
{
    const struct state *s = verdict(q);

    if (!s->checked)
        return QP_DECLINED;
    qp_header_prepend(q, "Received-SPF",
        qp_printf(q, QP_TRANSACTION,
            "%s (%s: %s)\nclient-ip=%s; envelope-from=%s;\nhelo=%s; receiver=%s; identity=%s;\n"
            "mechanism=%s%s%s",
            policies[s->answer.result].name, qp_me(q), escaped(q, reason(q, s), "()\\"),
            value(q, qp_remote_ip(q)), quoted(q, s->helo ? "<>" : s->address),
            value(q, qp_printf(q, QP_TRANSACTION, "%.*s", DOMAIN_MAX, qp_hello_host(q))),
            value(q, qp_me(q)), s->helo ? "helo" : "mailfrom", value(q, s->answer.mechanism),
            s->answer.problem != NULL ? ";\nproblem=" : "",
            s->answer.problem != NULL ? quoted(q, s->answer.problem) : ""));
    return QP_DECLINED;
}

QP_PLUGIN(.name = "sender_permitted_from", .init = on_init, .helo = on_helo, .ehlo = on_helo,
    .mail = on_mail, .rcpt = on_rcpt, .data_post_headers = on_data_post_headers,
    .data_post = on_data_post);
