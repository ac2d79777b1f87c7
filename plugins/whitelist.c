/*
 * whitelist - whom other plugins shall leave alone
 *
 *   plugins file: whitelist       before the plugins that it shall keep quiet
 *   files:        whitelisthosts (addresses and networks), whitelisthelo (names), whitelistsenders and
 *                 whitelistrcpt (user@host, or host)
 *   hook connect: environment WHITELISTCLIENT: note whitelistclient; an address that is listed: note
 *                 whitelisthost; each karma +5
 *   hooks helo, ehlo, mail, rcpt: notes whitelisthelo (connection), whitelistsender and whitelistrcpt
 *                 (transaction; the number of listed recipients)
 *   always QP_DECLINED
 *
 * From 1.00, which answered OK, and so let listed recipients of any domain in, and kept all plugins
 * behind it from looking: here they look at the notes, as qp_immune() does. Lists of single recipients
 * (per_recipient) are not supported.
 */

#include <qpsmtpd/plugin.h>

#define KARMA 5

struct conf {
    const struct qp_table *hosts, *helo, *senders, *rcpt;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}}) &&
           (c->hosts = qp_table_open(q, "whitelisthosts", QP_MATCH_IP)) != NULL &&
           (c->helo = qp_table_open(q, "whitelisthelo", QP_MATCH_EXACT)) != NULL &&
           (c->senders = qp_table_open(q, "whitelistsenders", QP_MATCH_EXACT)) != NULL &&
           (c->rcpt = qp_table_open(q, "whitelistrcpt", QP_MATCH_EXACT)) != NULL;
}

static void
spare(struct qp *q, const char *note, const char *who)
{
    qp_note_set(q, QP_CONNECTION, note, "1");
    qp_note_add(q, QP_CONNECTION, "karma", KARMA);
    qp_log(q, QP_LOG_INFO, "listed note=%s client=%s", note, who);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *ip = qp_remote_ip(q);

    if (qp_env(q, "WHITELISTCLIENT"))
        spare(q, "whitelistclient", ip);
    else if (qp_table_has(q, c->hosts, ip))
        spare(q, "whitelisthost", ip);
    return QP_DECLINED;
}

static enum qp_rc
on_hello(struct qp *q, const char *host)
{
    const struct conf *c = qp_instance(q);

    /* of the last greeting: it may be said again */
    qp_note_set(q, QP_CONNECTION, "whitelisthelo", qp_table_has(q, c->helo, host) ? "1" : NULL);
    return QP_DECLINED;
}

static bool
is_listed(struct qp *q, const struct qp_table *t, const struct qp_address *a)
{
    return *a->address &&
           (qp_table_has(q, t, a->address) || (*a->host && qp_table_has(q, t, a->host)));
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const struct conf *c = qp_instance(q);

    if (is_listed(q, c->senders, sender)) {
        qp_note_set(q, QP_TRANSACTION, "whitelistsender", "1");
        qp_log(q, QP_LOG_INFO, "listed note=whitelistsender sender=%s", sender->address);
    }
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);

    if (is_listed(q, c->rcpt, to))
        qp_note_add(q, QP_TRANSACTION, "whitelistrcpt", 1);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "whitelist", .init = on_init, .connect = on_connect, .helo = on_hello,
    .ehlo = on_hello, .mail = on_mail, .rcpt = on_rcpt);
