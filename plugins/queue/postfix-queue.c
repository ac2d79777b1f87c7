/*
 * queue/postfix-queue - hand the message to Postfix, at its cleanup(8) socket
 *
 *   plugins file: queue/postfix-queue [SOCKET] [FLAG ...] [timeout DURATION]
 *     SOCKET      absolute path, default /var/spool/postfix/public/cleanup. Without it the lines of
 *                 cleanup_sockets, paths or host:port, are tried in their order. The variable POSTFIXQUEUE,
 *                 an absolute path, comes before all of them
 *     FLAG        FLAG_FILTER, FLAG_HOLD ... see the table below; default FLAG_MASK_EXTERNAL
 *     timeout     1s..1h, default 100s: to connect and deliver, for each socket
 *   hook queue:   QP_OK "Queued! <message-id> (Queue-Id: ID)" when cleanup says status 0
 *                 554 and 451 by status, with its reason or the text of the table below
 *                 451 "queue error (postfix)": nobody listens, the connection broke, no status came
 *   hook mail:    QP_DECLINED; remembers BODY=8BITMIME
 *
 * Sources: 1.00; Postfix 3.7: cleanup(8), global/rec_type.h, global/cleanup_user.h
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#include "postfix-queue.parts/records.h"

#define DEFAULT_SOCKET "/var/spool/postfix/public/cleanup"
#define TIMEOUT_MS     100000
#define ATTRIBUTES_MAX 50
#define NAME_MAX_BYTES 100
#define TEXT_MAX       1000

enum { BOUNCE = 1, FILTER = 2, HOLD = 4, DISCARD = 8, BCC_OK = 16, MAP_OK = 32, MILTER = 64 };

#define MASK_EXTERNAL (FILTER | MILTER | BCC_OK | MAP_OK)

static const struct {
    const char *name;
    unsigned value;
} flags[] = {
    {"FLAG_BOUNCE", BOUNCE},
    {"FLAG_FILTER", FILTER},
    {"FLAG_HOLD", HOLD},
    {"FLAG_DISCARD", DISCARD},
    {"FLAG_BCC_OK", BCC_OK},
    {"FLAG_MAP_OK", MAP_OK},
    {"FLAG_MILTER", MILTER},
    {"FLAG_SMTP_REPLY", 128},
    {"FLAG_SMTPUTF8", 256},
    {"FLAG_AUTOUTF8", 512},
    {"FLAG_FILTER_ALL", FILTER | MILTER},
    {"FLAG_MASK_EXTERNAL", MASK_EXTERNAL},
    {"FLAG_MASK_INTERNAL", MAP_OK},
    {"FLAG_MASK_EXTRA", HOLD | DISCARD},
};

/* What cleanup says was wrong. In this order: with something temporary among it, all of it is. */
static const struct verdict {
    unsigned bit;
    enum qp_rc rc;
    const char *text;
} verdicts[] = {
    {1, QP_DENYSOFT, "internal protocol error (#4.3.0)"},
    {2, QP_DENYSOFT, "queue file write error (#4.3.0)"},
    {128, QP_DENYSOFT, "queue file write error (#4.3.0)"},
    {256, QP_DENYSOFT, "service unavailable (#4.7.1)"},
    {4, QP_DENY, "message file too big (#5.3.4)"},
    {8, QP_DENY, "message content rejected (#5.7.1)"}, {16, QP_DENY, "too many hops (#5.4.0)"},
    {64, QP_DENY, "no recipients specified (#5.1.0)"},
    {512, QP_DENY, "message content rejected (#5.7.1)"},
    {~0U, QP_DENYSOFT, "internal protocol error (#4.3.0)"}, /* of a Postfix to come */
};

struct conf {
    struct qp_peer_at *sockets;
    size_t n;
    unsigned flags;
    int64_t timeout_ms;
};

struct message {
    bool eight_bit; /* BODY=8BITMIME: to a next hop that is not, Postfix converts it */
};

/* ---- attributes that cleanup sends: name NUL value NUL ... NUL ---- */

struct wanted {
    const char *name;
    const char *value; /* printable ASCII; NULL: it did not come */
};

static const char *
clean(struct qp *q, const char *value)
{
    char *text = qp_strdup(q, QP_TRANSACTION, value);

    for (char *p = text; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    return text;
}

/* One list, to its end; those that are not asked for are passed over. */
static bool
read_attributes(struct qp *q, struct qp_peer *p, struct wanted wanted[], size_t n)
{
    for (int i = 0; i < ATTRIBUTES_MAX; i++) {
        const char *name = qp_peer_until(p, '\0', NAME_MAX_BYTES), *value;

        if (!name)
            return false;
        if (*name == '\0')
            return true;
        name = qp_strdup(q, QP_TRANSACTION, name);
        value = qp_peer_until(p, '\0', TEXT_MAX);
        if (!value)
            return false;
        for (size_t k = 0; k < n; k++)
            if (strcmp(wanted[k].name, name) == 0 && !wanted[k].value)
                wanted[k].value = clean(q, value);
    }
    qp_peer_fail(p, "read: too many attributes");
    return false;
}

/* Decimal digits; false: no number of that kind */
static bool
status_parse(const char *text, unsigned *out)
{
    size_t n = strlen(text);

    if (n == 0 || n > 9 || strspn(text, "0123456789") != n)
        return false;
    *out = (unsigned)strtoul(text, NULL, 10);
    return true;
}

/* ---- what it gets ---- */

static bool
send_bytes(void *data, const char *bytes, size_t n)
{
    return qp_peer_write(data, bytes, n);
}

static void
put_attribute(struct qp *q, struct records *r, const char *name, const char *value)
{
    if (value && *value)
        records_text(r, 'A', qp_printf(q, QP_TRANSACTION, "%s=%s", name, value));
}

/* As smtpd(8) does, so that Postfix's log, milters and delivery agents know the client. */
static void
put_client(struct qp *q, struct records *r)
{
    const char *ip = qp_remote_ip(q), *host = qp_remote_host(q);
    const char *name = host[0] == '[' ? "unknown" : host;
    struct message *m = qp_state(q, QP_TRANSACTION, sizeof *m);

    /* Without it the header of strangers is completed with our domain. */
    put_attribute(q, r, "rewrite_context", qp_relay_client(q) ? "local" : "remote");
    put_attribute(q, r, "encoding", m->eight_bit ? "8bit" : NULL);
    put_attribute(q, r, "log_client_name", name);
    put_attribute(q, r, "log_client_address", ip);
    put_attribute(q, r, "log_client_port", qp_printf(q, QP_TRANSACTION, "%d", qp_remote_port(q)));
    put_attribute(q, r, "log_message_origin", qp_printf(q, QP_TRANSACTION, "%s[%s]", name, ip));
    put_attribute(q, r, "log_helo_name", qp_hello_host(q));
    put_attribute(q, r, "log_protocol_name", strcmp(qp_hello(q), "ehlo") == 0 ? "ESMTP" : "SMTP");
}

static bool
put_message(struct qp *q, struct records *r)
{
    char block[16384];
    uint64_t at = 0;
    ptrdiff_t n;

    while ((n = qp_message_read(q, at, block, sizeof block)) > 0) {
        records_lines(r, block, (size_t)n);
        if (!r->good)
            return false;
        at += (uint64_t)n;
    }
    records_lines_end(r);
    return n == 0;
}

/* The record E is the last: what ends before it is forgotten by cleanup. */
static bool
put_all(struct qp *q, struct qp_peer *p, unsigned flag_bits)
{
    char text[40];
    struct records r;
    int n = snprintf(text, sizeof text, "flags%c%u%c", 0, flag_bits, 0) + 1;

    records_begin(&r, send_bytes, p);
    records_raw(&r, text, (size_t)n);
    records_text(&r, 'T', qp_printf(q, QP_TRANSACTION, "%lld", (long long)time(NULL)));
    put_client(q, &r);
    records_text(&r, 'S', qp_sender(q)->address);
    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        records_text(&r, 'R', qp_rcpt(q, i)->address);
    records_text(&r, 'M', "");
    if (!put_message(q, &r)) {
        qp_peer_fail(p, "the message cannot be read");
        return false;
    }
    records_text(&r, 'X', "");
    records_text(&r, 'E', "");
    return records_end(&r);
}

/* ---- what comes of it ---- */

static enum qp_rc
failed(struct qp *q, const char *where, const char *why)
{
    qp_log(q, QP_LOG_ERROR, "not queued socket=%s error=\"%s\"", where, why);
    return qp_denysoft(q, "queue error (postfix)");
}

static enum qp_rc
judge(struct qp *q, const char *queue_id, unsigned status, const char *reason)
{
    const char *id = qp_message_id(q);
    const struct verdict *v = verdicts;

    if (status == 0) {
        qp_log(q, QP_LOG_NOTICE, "queued queue_id=%s id=%s", queue_id, id);
        return qp_ok(q, "Queued!%s%s (Queue-Id: %s)", *id ? " " : "", id, queue_id);
    }
    while (!(v->bit & status))
        v++;
    qp_log(q, QP_LOG_WARN, "not queued queue_id=%s status=%u reason=\"%s\"", queue_id, status,
        reason ? reason : v->text);
    return qp_result(q, v->rc, "%s", reason && *reason ? reason : v->text);
}

/* false: it does not answer, and the next socket can be tried */
static bool
greeted(struct qp *q, struct qp_peer *p, const char *where, const char **queue_id)
{
    struct wanted first = {"queue_id", NULL};

    if (read_attributes(q, p, &first, 1) && !first.value)
        qp_peer_fail(p, "no queue_id came");
    if (qp_peer_error(p))
        qp_log(q, QP_LOG_WARN, "no cleanup socket=%s error=\"%s\"", where, qp_peer_error(p));
    *queue_id = first.value;
    return !qp_peer_error(p);
}

static enum qp_rc
deliver(
    struct qp *q, const struct conf *c, struct qp_peer *p, const char *where, const char *queue_id)
{
    struct wanted last[] = {{"status", NULL}, {"reason", NULL}};
    unsigned status = ~0U;

    if (put_all(q, p, c->flags) && read_attributes(q, p, last, 2) &&
        !(last[0].value && status_parse(last[0].value, &status)))
        qp_peer_fail(p, "no status came");
    if (qp_peer_error(p))
        return failed(q, where, qp_peer_error(p));
    return judge(q, queue_id, status, last[1].value);
}

/* ---- handlers ---- */

static bool
read_flag(struct qp *q, struct conf *c, const char *word)
{
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcasecmp(word, flags[i].name) == 0) {
            c->flags |= flags[i].value;
            return true;
        }
    return qp_fail(
        q, "%s: there is no such flag (such as FLAG_FILTER or FLAG_MASK_EXTERNAL)", word);
}

/* Said here, because only here file and line are known. */
static bool
looks_like_socket(const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? strlen(colon + 1) : 0;

    return text[0] == '/' || (colon && colon > text && n >= 1 && n <= 5 && colon[1] != '0' &&
                                 strspn(colon + 1, "0123456789") == n);
}

static bool
read_sockets(struct qp *q, struct conf *c, const char *path)
{
    struct qp_lines lines = {0};

    if (!path)
        lines = qp_config_lines(q, "cleanup_sockets");
    c->n = lines.n ? lines.n : 1;
    c->sockets = qp_alloc(q, QP_INSTANCE, c->n * sizeof *c->sockets);
    if (path && path[0] != '/')
        return qp_fail(q, "%s: a socket is an absolute path, a flag begins with FLAG_", path);
    if (lines.n == 0)
        return qp_peer_arg(q, path ? path : DEFAULT_SOCKET, 0, &c->sockets[0]);
    for (size_t i = 0; i < lines.n; i++) {
        if (!looks_like_socket(lines.line[i].text))
            return qp_fail_at(
                q, &lines.line[i], "%s: want an absolute path or host:port", lines.line[i].text);
        if (!qp_peer_arg(q, lines.line[i].text, 0, &c->sockets[i]))
            return false;
    }
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char **others = qp_alloc(q, QP_INSTANCE, ((size_t)argc + 1) * sizeof *others);
    const char *path = NULL;
    int n = 0;

    c->timeout_ms = TIMEOUT_MS;
    qp_instance_set(q, c);
    for (int i = 0; i < argc; i++) {
        if (strncasecmp(argv[i], "FLAG_", 5) != 0)
            others[n++] = argv[i];
        else if (!read_flag(q, c, argv[i]))
            return false;
    }
    if (c->flags == 0)
        c->flags = MASK_EXTERNAL;
    return qp_args(q, n, others,
               (const struct qp_arg[]){{.name = "socket", .positional = true, .text = &path},
                   {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 3600},
                   {0}}) &&
           read_sockets(q, c, path);
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    const char *body = qp_param(q, "BODY");
    struct message *m = qp_state(q, QP_TRANSACTION, sizeof *m);

    (void)sender;
    m->eight_bit = body && strcasecmp(body, "8BITMIME") == 0;
    return QP_DECLINED;
}

static enum qp_rc
on_queue(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *first = qp_env(q, "POSTFIXQUEUE"), *queue_id = NULL;
    bool before = first && *first;

    if (before && first[0] != '/')
        return failed(q, first, "POSTFIXQUEUE is no absolute path");
    for (size_t i = 0; i < c->n + before; i++) {
        struct qp_peer_at at =
            before && i == 0 ? (struct qp_peer_at){first, 0} : c->sockets[i - before];
        struct qp_peer *p = qp_peer_open(q, at.where, at.port, c->timeout_ms);
        enum qp_rc rc = QP_DECLINED;

        if (greeted(q, p, at.where, &queue_id))
            rc = deliver(q, c, p, at.where, queue_id);
        qp_peer_close(&p);
        if (rc != QP_DECLINED)
            return rc;
    }
    return failed(q, "all", "no cleanup has answered");
}

QP_PLUGIN(.name = "queue/postfix-queue", .init = on_init, .mail = on_mail, .queue = on_queue);
