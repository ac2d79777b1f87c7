/*
 * parse_addr_withhelo - who said HELO gets the parser of the time before ESMTP
 *
 *   plugins file: parse_addr_withhelo
 *   hooks mail_parse, rcpt_parse, after HELO only:
 *     501 "No parameters allowed in MAIL" (RCPT)        something follows the address
 *     501 "Syntax error in command"                     no FROM: (TO:)
 *     501 "Could not parse your MAIL FROM command"      neither brackets nor an @, and not empty
 *     501 "Could not parse your RCPT TO command"        the same, other than postmaster and abuse
 *   MAIL FROM: alone is the null sender; a bare abuse is that of this server.
 *
 * From 1.00. RFC 821 has no parameters: a client that sends them after HELO is confused.
 */
#include <string.h>
#include <strings.h>

#include <qpsmtpd/plugin.h>

/* What distinguishes the two commands. */
struct command {
    const char *verb, *key, *unparsable;
};

static const struct command mail = {"MAIL", "from:", "Could not parse your MAIL FROM command"};
static const struct command rcpt = {"RCPT", "to:", "Could not parse your RCPT TO command"};

/* An address without brackets and without an @: the few words that may stand alone. */
static const char *
bare_word(struct qp *q, const struct command *cmd, const char *word)
{
    if (cmd == &mail)
        return *word ? NULL : "<>";
    if (strcasecmp(word, "postmaster") == 0)
        return qp_printf(q, QP_TRANSACTION, "<%s>", word);
    if (strcasecmp(word, "abuse") == 0)
        return qp_printf(q, QP_TRANSACTION, "<%s@%s>", word, qp_me(q));
    return NULL;
}

static enum qp_rc
parse(struct qp *q, const struct command *cmd, const char *args, struct qp_parsed *out)
{
    size_t key = strlen(cmd->key), n;
    const char *blank = " \t";
    char *text, *end;

    if (strcmp(qp_hello(q), "helo") != 0)
        return QP_DECLINED;
    if (strncasecmp(args, cmd->key, key) != 0)
        return qp_deny(q, "Syntax error in command");
    args += key + strspn(args + key, blank);
    text = qp_strdup(q, QP_TRANSACTION, args);
    for (n = strlen(text); n > 0 && strchr(blank, text[n - 1]); n--)
        text[n - 1] = '\0';

    end = text[0] == '<' ? strrchr(text, '>') : NULL;
    if (end ? end[1] != '\0' : strchr(text, '@') && strpbrk(strchr(text, '@'), blank))
        return qp_deny(q, "No parameters allowed in %s", cmd->verb);
    out->argument = end || strchr(text, '@') ? text : bare_word(q, cmd, text);
    return out->argument ? QP_OK : qp_deny(q, "%s", cmd->unparsable);
}

static enum qp_rc
on_mail_parse(struct qp *q, const char *args, struct qp_parsed *out)
{
    return parse(q, &mail, args, out);
}

static enum qp_rc
on_rcpt_parse(struct qp *q, const char *args, struct qp_parsed *out)
{
    return parse(q, &rcpt, args, out);
}

QP_PLUGIN(.name = "parse_addr_withhelo", .mail_parse = on_mail_parse, .rcpt_parse = on_rcpt_parse);
