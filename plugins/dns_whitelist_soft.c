/*
 * dns_whitelist_soft - let clients whose address is on a white list past the checks
 *
 *   plugins file: dns_whitelist_soft [check_at connect|rcpt] [timeout SECONDS]   default: rcpt 4
 *   file:         whitelist_zones: one zone a line
 *   hook connect: starts all lookups; with `check_at connect` waits for them here
 *   hook rcpt:    waits for them, once in a connection
 *
 * Always QP_DECLINED: a client that is listed gets the note whitelisthost of the connection, which
 * other plugins heed (qp_immune). So it stands before them in the plugins file.
 *
 * Source: r356, which asked for TXT; check_at and timeout are our own. 127.0.0.255 is no listing:
 * dnswl.org sends it to who asks too much. Format of the lists: RFC 5782.
 */
#include <string.h>

#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/plugin.h>

enum when { AT_CONNECT, AT_RCPT };

struct conf {
    const struct qp_dnslist *list;
    int check_at; /* of enum when */
    int64_t timeout_ms;
};

struct state {
    const char **names; /* one for each zone; NULL: this client is not, or no longer, looked up */
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    c->check_at = AT_RCPT;
    c->timeout_ms = 4000;
    return qp_args(q, argc, argv,
               (const struct qp_arg[]){
                   {"check_at", .choice = &c->check_at, .choices = "connect rcpt"},
                   {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
                   {0},
               }) &&
           (c->list = qp_dnslist_open(q, "whitelist_zones", " \t")) != NULL;
}

static void
collect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);
    const char **names = s->names;
    size_t n = c->list->n, i;
    int64_t left_ms = c->timeout_ms;
    const char *code = NULL, *result;

    s->names = NULL;
    if (names == NULL || qp_note_true(q, QP_CONNECTION, "whitelisthost"))
        return;
    while ((i = qp_dnslist_first(q, names, n, &left_ms)) < n) {
        code = qp_dnslist_code(qp_dns_peek(q, QP_DNS_A, names[i]));
        if (strcmp(code, "127.0.0.255") != 0)
            break;
        qp_log(q, QP_LOG_WARN, "the list refuses to answer us name=%s", names[i]);
        names[i] = NULL;
    }
    if (i == n)
        return;
    result = qp_printf(q, QP_CONNECTION, "listed in %s (%s)", c->list->zone[i].name, code);
    qp_note_set(q, QP_CONNECTION, "whitelisthost", result);
    qp_log(q, QP_LOG_INFO, "Host IP is whitelisted: %s", result);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);

    s->names = qp_dnslist_start(q, c->list, qp_remote_ip(q));
    if (c->check_at == AT_CONNECT)
        collect(q);
    return QP_DECLINED;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    (void)to;
    collect(q);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "dns_whitelist_soft", .init = on_init, .connect = on_connect, .rcpt = on_rcpt);
