/*
 * hosts_allow - which clients may connect, by address
 *
 *   plugins file:        hosts_allow
 *   file hosts_allow:    ADDRESS[/BITS] RESULT [TEXT]; RESULT is DENY, DENYSOFT, OK or DECLINED; the
 *                        smallest network that holds the client counts
 *   hook pre_connection: RESULT with TEXT, before the greeting: DENY 554, DENYSOFT 421, both close;
 *                        OK asks no other plugin in this hook; else QP_DECLINED. A list that cannot be
 *                        read is DENYSOFT, as it may have a DENY for the client
 *
 * From 1.00, there for IPv4 alone and in the order of the lines. The limit of connections from an
 * address that it had as well is qpsmtpd-prefork's: --max-from-ip.
 */
#include <string.h>

#include <qpsmtpd/plugin.h>

#define BLANKS " \t"

struct conf {
    const struct qp_table *clients;
};

/* "DENY go away" to its two parts; false: no result. */
static bool
split(const char *value, enum qp_rc *rc, const char **text)
{
    char word[32];
    size_t n = strcspn(value, BLANKS);

    if (n == 0 || n >= sizeof word)
        return false;
    memcpy(word, value, n);
    word[n] = '\0';
    *text = value + n + strspn(value + n, BLANKS);
    return qp_rc_parse(word, rc) && *rc != QP_DONE;
}

/* A compiled list is not read as a whole: what is wrong there is found with its client. */
static bool
check_lines(struct qp *q, struct qp_lines lines)
{
    for (size_t i = 0; i < lines.n; i++) {
        const char *value = lines.line[i].text + strcspn(lines.line[i].text, BLANKS);
        const char *text;
        enum qp_rc rc;

        if (!split(value + strspn(value, BLANKS), &rc, &text))
            return qp_fail_at(q, &lines.line[i],
                "\"%s\": write ADDRESS[/BITS], then DENY, DENYSOFT, OK or DECLINED, then a text if "
                "you like",
                lines.line[i].text);
    }
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->clients = qp_table_open(q, "hosts_allow", QP_MATCH_IP);
    return c->clients && qp_args(q, argc, argv, (const struct qp_arg[]){{0}}) &&
           check_lines(q, qp_table_lines(c->clients));
}

static enum qp_rc
on_pre_connection(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *value, *text;
    enum qp_lookup listed = qp_table_find(q, c->clients, qp_remote_ip(q), &value);
    enum qp_rc rc;

    if (listed == QP_ABSENT)
        return QP_DECLINED;
    if (listed == QP_FOUND && split(value, &rc, &text))
        return qp_result(q, rc, "%s", text);
    if (listed == QP_FOUND)
        qp_log(q, QP_LOG_ERROR, "no result client=%s value=\"%s\"", qp_remote_ip(q), value);
    return qp_denysoft(q, NULL);
}

QP_PLUGIN(.name = "hosts_allow", .init = on_init, .pre_connection = on_pre_connection);
