/*
 * rcpt_regexp - decide about recipients by patterns
 *
 *   plugins file: rcpt_regexp                 before rcpt_ok
 *   file:         rcpt_regexp: "/PATTERN/ RESULT [text]" or "user@host RESULT [text]", a line each
 *   hook rcpt:    the result and text of the first line that matches; none, or a refusal of who is in
 *                 whitelistrcpt of the plugin whitelist: QP_DECLINED
 *
 * Case never counts. RESULT is OK (the recipient is accepted, whoever asks), DENY, DENYSOFT, one of
 * both with _DISCONNECT, or DECLINED (the next plugin decides). Source: 1.00, which skipped wrong
 * lines.
 */
#include <string.h>
#include <strings.h>

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/regex.h>

struct rule {
    const struct qp_regex *regex; /* NULL: address it is */
    const char *address;
    enum qp_rc rc;
    const char *text;
};

struct conf {
    size_t n;
    struct rule *rule;
};

/* Cut the word at *rest off, and the blanks behind it. */
static char *
next_word(char **rest)
{
    char *word = *rest;

    *rest += strcspn(*rest, " \t");
    if (**rest != '\0')
        *(*rest)++ = '\0';
    *rest += strspn(*rest, " \t");
    return word;
}

/* "/PATTERN/" at *rest: cut it off. A slash ends it where a blank follows, so blanks may be inside.
 */
static char *
next_pattern(char **rest)
{
    char *pattern = *rest + 1;

    for (char *p = pattern; (p = strchr(p, '/')) != NULL; p++)
        if (p[1] == ' ' || p[1] == '\t') {
            *p = '\0';
            *rest = p + 1 + strspn(p + 1, " \t");
            return pattern;
        }
    return NULL;
}

static bool
rule_parse(struct qp *q, const struct qp_line *line, struct rule *out)
{
    char *rest = qp_strdup(q, QP_INSTANCE, line->text);
    const char *pattern, *word, *error;

    if (rest[0] != '/') {
        out->address = next_word(&rest);
    } else {
        pattern = next_pattern(&rest);
        if (pattern == NULL)
            return qp_fail_at(q, line, "the pattern has no end: write /PATTERN/ RESULT text");
        out->regex = qp_regex_new(q, pattern, true, &error);
        if (out->regex == NULL)
            return qp_fail_at(q, line, "\"%s\" is no pattern: %s", pattern, error);
    }
    word = next_word(&rest);
    if (!qp_rc_parse(word, &out->rc) || out->rc == QP_DONE)
        return qp_fail_at(q, line,
            "\"%s\" is no result: write OK, DENY, DENYSOFT, DENY_DISCONNECT, DENYSOFT_DISCONNECT "
            "or DECLINED",
            word);
    out->text = rest;
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct qp_lines lines = qp_config_lines(q, "rcpt_regexp");
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->n = lines.n;
    c->rule = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *c->rule);
    for (size_t i = 0; i < lines.n; i++)
        if (!rule_parse(q, &lines.line[i], &c->rule[i]))
            return false;
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}});
}

static bool
refuses(enum qp_rc rc)
{
    return rc != QP_OK && rc != QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);

    for (size_t i = 0; i < c->n; i++) {
        const struct rule *r = &c->rule[i];

        if (!(r->regex != NULL ? qp_regex_match(q, r->regex, to->address)
                               : strcasecmp(r->address, to->address) == 0))
            continue;
        if (refuses(r->rc) && qp_immune_rcpt(q, to))
            return QP_DECLINED;
        return qp_result(q, r->rc, "%s", r->text);
    }
    return QP_DECLINED;
}

QP_PLUGIN(.name = "rcpt_regexp", .init = on_init, .rcpt = on_rcpt);
