/*
 * check_badmailfromto - hide a recipient from particular senders
 *
 *   plugins file: check_badmailfromto         1.00 calls the plugin badmailfromto
 *   file:         badmailfromto: FROM TO, with blanks between; FROM is user@host or @host
 *   hook rcpt:    550 5.1.1 "mail to TO not accepted here" for such a pair; else QP_DECLINED
 *
 * Source: r356, where only the last line that fits the sender counted; here each does. Nobody is
 * exempt.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/plugin.h>

struct pair {
    const char *from;
    const char *to;
};

struct conf {
    size_t n;
    struct pair *pair;
};

static bool
pair_parse(struct qp *q, const struct qp_line *line, struct pair *out)
{
    char *from = qp_strdup(q, QP_INSTANCE, line->text);
    char *to = from + strcspn(from, " \t");

    for (char *p = from; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    if (*to != '\0')
        *to++ = '\0';
    to += strspn(to, " \t");
    to[strcspn(to, " \t")] = '\0'; /* what follows is a comment */
    if (strchr(from, '@') == NULL || strchr(to, '@') == NULL)
        return qp_fail_at(
            q, line, "write a sender, user@host or @host, a blank and a recipient, user@host");
    *out = (struct pair){.from = from, .to = to};
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct qp_lines lines = qp_config_lines(q, "badmailfromto");
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->n = lines.n;
    c->pair = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *c->pair);
    for (size_t i = 0; i < lines.n; i++)
        if (!pair_parse(q, &lines.line[i], &c->pair[i]))
            return false;
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}});
}

static bool
is_from(const char *entry, const struct qp_address *sender)
{
    if (sender->user[0] == '\0' || sender->host[0] == '\0')
        return false;
    if (entry[0] == '@')
        return strcasecmp(entry + 1, sender->host) == 0;
    return strcasecmp(entry, sender->address) == 0;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    const struct qp_address *sender = qp_sender(q);

    for (size_t i = 0; sender != NULL && i < c->n; i++)
        if (strcasecmp(c->pair[i].to, to->address) == 0 && is_from(c->pair[i].from, sender))
            return qp_deny_code(q, 550, "5.1.1", "mail to %s not accepted here", c->pair[i].to);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "check_badmailfromto", .init = on_init, .rcpt = on_rcpt);
