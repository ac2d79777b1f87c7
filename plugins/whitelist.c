/*
 * whitelist - whom other plugins shall leave alone
 *
 *   plugins file: whitelist       before the plugins that it shall keep quiet
 *                 per_recipient 0 and merge 0|1 of 1.00 may stand there and change nothing
 *   files:        whitelisthosts (addresses and networks), whitelisthelo (names), whitelistsenders and
 *                 whitelistrcpt (user@host, or host)
 *   hook connect: environment WHITELISTCLIENT: note whitelistclient; an address that is listed: note
 *                 whitelisthost; each karma +5
 *   hooks helo, ehlo, mail, rcpt: notes whitelisthelo (connection), whitelistsender and whitelistrcpt
 *                 (transaction; the number of listed recipients); for qp_immune_rcpt() the last recipient
 *                 (whitelistrcpt_last) and whether it is listed (whitelistrcpt_listed)
 *   always QP_DECLINED. A note is empty when its list cannot be read
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
    bool per_recipient = false, merge = true;

    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {"per_recipient", .flag = &per_recipient}, {"merge", .flag = &merge}, {0}}))
        return false;
    if (per_recipient)
        return qp_fail(q, "per_recipient: there are no lists of single recipients: write what they "
                          "have into whitelisthosts, whitelisthelo and whitelistsenders, and "
                          "per_recipient 0");
    return (c->hosts = qp_table_open(q, "whitelisthosts", QP_MATCH_IP)) != NULL &&
           (c->helo = qp_table_open(q, "whitelisthelo", QP_MATCH_EXACT)) != NULL &&
           (c->senders = qp_table_open(q, "whitelistsenders", QP_MATCH_EXACT)) != NULL &&
           (c->rcpt = qp_table_open(q, "whitelistrcpt", QP_MATCH_EXACT)) != NULL;
}

/* What a note says of a list; NULL: there is none. */
static const char *const said[] = {[QP_ABSENT] = NULL, [QP_FOUND] = "1", [QP_TROUBLE] = ""};

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
    enum qp_lookup listed;

    if (qp_env(q, "WHITELISTCLIENT")) {
        spare(q, "whitelistclient", ip);
        return QP_DECLINED;
    }
    listed = qp_table_find(q, c->hosts, ip, NULL);
    if (listed == QP_FOUND)
        spare(q, "whitelisthost", ip);
    else
        qp_note_set(q, QP_CONNECTION, "whitelisthost", said[listed]);
    return QP_DECLINED;
}

static enum qp_rc
on_hello(struct qp *q, const char *host)
{
    const struct conf *c = qp_instance(q);

    /* of the last greeting: it may be said again */
    qp_note_set(q, QP_CONNECTION, "whitelisthelo", said[qp_table_find(q, c->helo, host, NULL)]);
    return QP_DECLINED;
}

static enum qp_lookup
look_up(struct qp *q, const struct qp_table *t, const struct qp_address *a)
{
    enum qp_lookup address, host;

    if (!*a->address)
        return QP_ABSENT;
    address = qp_table_find(q, t, a->address, NULL);
    if (address == QP_FOUND || !*a->host)
        return address;
    host = qp_table_find(q, t, a->host, NULL);
    return host == QP_ABSENT ? address : host;
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const struct conf *c = qp_instance(q);
    enum qp_lookup listed = look_up(q, c->senders, sender);

    qp_note_set(q, QP_TRANSACTION, "whitelistsender", said[listed]);
    if (listed == QP_FOUND)
        qp_log(q, QP_LOG_INFO, "listed note=whitelistsender sender=%s", sender->address);
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);

    enum qp_lookup listed = look_up(q, c->rcpt, to);

    qp_note_set(q, QP_TRANSACTION, "whitelistrcpt_last", to->address);
    qp_note_set(q, QP_TRANSACTION, "whitelistrcpt_listed", said[listed]);
    if (listed == QP_FOUND)
        qp_note_add(q, QP_TRANSACTION, "whitelistrcpt", 1);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "whitelist", .init = on_init, .connect = on_connect, .helo = on_hello,
    .ehlo = on_hello, .mail = on_mail, .rcpt = on_rcpt);
