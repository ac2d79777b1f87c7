/*
 * rspamd - have rspamd judge the message, and do as it says
 *
 *   plugins file:   rspamd [option value ...]
 *     server WHERE     URL (http or https), HOST:PORT, or the path of a unix socket; default
 *                      127.0.0.1:11333
 *     ca FILE          certificates that https is verified against; default: the system's
 *     timeout TIME     1s..10m for all of it, default 20s; 3s of them for the connection
 *     size_limit SIZE  larger messages are not judged; default 50M, as rspamd's max_message
 *     on_error tempfail|accept     what happens when rspamd cannot be asked; default tempfail
 *     relayclient scan|skip        skip: relay clients and whitelisted ones are not judged
 *     spam_header NAME put in with "Yes" for the action "add header"; default X-Spam
 *     settings_id ID   which settings rspamd shall apply
 *     reject 0|1|naughty, reject_type ...      <qpsmtpd/reject.h>, default 1 perm
 *   hook data_post: action reject, discard: REJECT; soft reject: DENYSOFT; the others: header and
 *                   envelope are changed as rspamd wants it, QP_DECLINED. No answer, or one that is
 *                   not understood as a whole: on_error
 *
 * Greylist is no refusal: rspamd's greylist module itself answers "soft reject" where it wants one.
 * Nothing that a sender takes for delivered disappears: discard refuses, quarantine marks.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/auth.h>
#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/host.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/reject.h>
#include <qpsmtpd/tls.h>

#include "http.parts/url.h"
#include "rspamd.late/late.h"

#define CONNECT_MS 3000
#define ANSWER_MAX (4 << 20) /* bytes; rspamd lists every URL of the message */
#define VALUE_MAX  1000      /* bytes of one fact about the message that are told */
/* rspamd reads 80 KiB of request header, and refuses the request when there is more */
#define RCPTS_MAX 32768
#define TEXT_MAX  400 /* bytes of its text that the client sees: one line */

enum on_error { TEMPFAIL, ACCEPT };

struct conf {
    const char *url, *socket, *ca;
    int64_t timeout_ms;
    uint64_t size_limit;
    int on_error, skip_immune;
    const char *spam_header, *settings_id;
    struct qp_reject reject;
};

/* ---- the question ---- */

/* Fields of the request, for libcurl: "Name: value" */
struct facts {
    const char **header;
    size_t n, room;
};

/* The bytes of text, and nothing that could end a line. */
static char *
one_line(struct qp *q, const char *text, size_t max)
{
    char *copy = qp_printf(q, QP_TRANSACTION, "%.*s", (int)max, text);

    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    return copy;
}

static void
tell(struct qp *q, struct facts *f, const char *name, const char *value)
{
    if (value && *value && f->n + 1 < f->room)
        f->header[f->n++] =
            qp_printf(q, QP_TRANSACTION, "%s: %s", name, one_line(q, value, VALUE_MAX));
}

static void
tell_recipients(struct qp *q, struct facts *f)
{
    size_t bytes = 0, n = qp_rcpt_count(q);

    for (size_t i = 0; i < n; i++) {
        const char *to = qp_rcpt(q, i)->format;

        bytes += strlen(to) + sizeof "Rcpt: \r\n";
        if (bytes > RCPTS_MAX) {
            qp_log(q, QP_LOG_INFO, "rspamd is told of %zu recipients of %zu", i, n);
            return;
        }
        tell(q, f, "Rcpt", to);
    }
}

static const char *const *
facts(struct qp *q, const struct conf *c)
{
    struct facts f = {.room = qp_rcpt_count(q) + 16};
    const struct qp_tls *tls = qp_tls(q);
    const char *ip = qp_remote_ip(q), *host = qp_remote_host(q);

    f.header = qp_alloc(q, QP_TRANSACTION, f.room * sizeof *f.header);
    tell(q, &f, "Content-Type", "message/rfc822");
    tell(q, &f, "IP", strcmp(ip, "unknown") == 0 ? NULL : ip);
    tell(q, &f, "Hostname", *host == '[' || strcasecmp(host, "unknown") == 0 ? NULL : host);
    tell(q, &f, "Helo", qp_hello_host(q));
    tell(q, &f, "From", qp_sender(q)->format);
    tell(q, &f, "User", qp_auth_user(q));
    tell(q, &f, "TLS-Version", tls ? tls->version : NULL);
    tell(q, &f, "TLS-Cipher", tls ? tls->cipher : NULL);
    tell(q, &f, "TLS-Cert-Issuer", tls && tls->client_verified ? tls->client_issuer : NULL);
    tell(q, &f, "Queue-Id", qp_transaction_id(q));
    tell(q, &f, "MTA-Name", qp_me(q));
    tell(q, &f, "Settings-ID", c->settings_id);
    tell_recipients(q, &f);
    return f.header;
}

static ptrdiff_t
read_message(void *data, uint64_t offset, void *out, size_t n)
{
    return qp_message_read(data, offset, out, n);
}

/* false: why says why there is no answer. Else late->close(out) is due. */
static bool
ask(struct qp *q, const struct conf *c, const struct rspamd_late *late, struct reply *out,
    char why[256])
{
    return late->ask(
        &(struct http_request){
            .url = c->url,
            .socket = c->socket,
            .ca_file = c->ca,
            .headers = facts(q, c),
            .connect_ms = c->timeout_ms < CONNECT_MS ? c->timeout_ms : CONNECT_MS,
            .total_ms = c->timeout_ms,
            .max = ANSWER_MAX,
            .hurried = true,
            .read = read_message,
            .data = q,
            .size = qp_message_size(q),
        },
        out, why);
}

/* ---- the answer ---- */

/* What rspamd wants the client to be told: printable, one line. */
static const char *
text_for_client(struct qp *q, const struct reply *r, const char *usual)
{
    char *text = one_line(q, r->message ? r->message : usual, TEXT_MAX);

    for (char *p = text; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return text;
}

/* "user@host" or "<user@host>"; NULL: no address */
static const struct qp_address *
address_of(struct qp *q, const struct reply_edit *e)
{
    const char *text = *e->value == '<' ? e->value : qp_printf(q, QP_TRANSACTION, "<%s>", e->value);

    return qp_address_parse(q, QP_TRANSACTION, text);
}

static bool
removes(struct qp *q, const struct reply_edit *e, const struct qp_address *to)
{
    const struct qp_address *gone = e->kind == REPLY_RCPT_REMOVE ? address_of(q, e) : NULL;

    return gone && strcasecmp(gone->address, to->address) == 0;
}

static bool
is_removed(struct qp *q, const struct reply *r, const struct qp_address *to)
{
    for (size_t i = 0; i < r->n_edits; i++)
        if (removes(q, &r->edit[i], to))
            return true;
    return false;
}

/* rspamd may have changed the case of what it was told; so whom check_edits() counts as gone must go. */
static void
remove_rcpt(struct qp *q, const struct reply_edit *e)
{
    for (size_t i = 0; i < qp_rcpt_count(q);) {
        if (removes(q, e, qp_rcpt(q, i)))
            qp_rcpt_remove(q, qp_rcpt(q, i)->address);
        else
            i++;
    }
}

/* Can all of it be done? NULL, or what cannot: nothing is changed before that is known. */
static const char *
check_edits(struct qp *q, const struct reply *r)
{
    size_t left = 0, touched = 0;

    for (size_t i = 0; i < r->n_edits; i++) {
        if (r->edit[i].kind < REPLY_SENDER)
            continue;
        touched++;
        if (!address_of(q, &r->edit[i]))
            return "a change of the envelope without an address";
        left += r->edit[i].kind == REPLY_RCPT_ADD;
    }
    for (size_t i = 0; touched && left == 0 && i < qp_rcpt_count(q); i++)
        left += !is_removed(q, r, qp_rcpt(q, i));
    return touched && left == 0 ? "no recipient is left" : NULL;
}

static void
remove_header(struct qp *q, const char *name, int number)
{
    size_t n = qp_header_count(q, name);

    if (number == 0)
        qp_header_delete_all(q, name);
    else if (number > 0)
        qp_header_delete(q, name, (size_t)number - 1);
    else if ((size_t)-number <= n)
        qp_header_delete(q, name, n - (size_t)-number);
}

static void
insert_header(struct qp *q, const struct reply_edit *e)
{
    const char *value = qp_printf(q, QP_TRANSACTION, " %s", e->value);
    struct qp_header_line unused;
    size_t at = (size_t)e->number, n = 0;

    if (e->number < 0) {
        while (qp_header_line(q, n, &unused))
            n++;
        at = (size_t)-e->number <= n ? n + 1 - (size_t)-e->number : 0;
    }
    qp_header_line_insert(q, at, e->name, value);
}

static void
apply_edits(struct qp *q, const struct reply *r)
{
    for (size_t i = 0; i < r->n_edits; i++) {
        const struct reply_edit *e = &r->edit[i];

        switch (e->kind) {
        case REPLY_HEADER_REMOVE:
            remove_header(q, e->name, e->number);
            break;
        case REPLY_HEADER_ADD:
            qp_header_add(q, e->name, e->value);
            break;
        case REPLY_HEADER_INSERT:
            insert_header(q, e);
            break;
        case REPLY_SENDER:
            qp_sender_set(q, address_of(q, e));
            break;
        case REPLY_RCPT_ADD:
            qp_rcpt_add(q, address_of(q, e));
            break;
        case REPLY_RCPT_REMOVE:
            remove_rcpt(q, e);
            break;
        }
    }
}

static void
mark_as_spam(struct qp *q, const struct conf *c, const struct reply *r)
{
    if (r->has_spam_header)
        return;
    qp_header_delete_all(q, c->spam_header);
    qp_header_add(q, c->spam_header, r->spam_header ? r->spam_header : "Yes");
}

static void
rewrite_subject(struct qp *q, const char *subject)
{
    if (!qp_header_replace(q, "Subject", 0, subject))
        qp_header_add(q, "Subject", subject);
}

/* The message passes: with what rspamd wants changed. */
static void
change(struct qp *q, const struct conf *c, const struct reply *r)
{
    apply_edits(q, r);
    if (r->no_action)
        qp_header_add(q, "X-Rspamd-Action", r->action_name);
    else if (r->action == REPLY_REWRITE_SUBJECT && r->subject)
        rewrite_subject(q, r->subject);
    else if (r->action >= REPLY_ADD_HEADER)
        mark_as_spam(q, c, r);
}

static void
report(struct qp *q, const struct reply *r)
{
    qp_note_set(q, QP_TRANSACTION, "rspamd",
        qp_printf(q, QP_TRANSACTION, "%.2f/%.2f %s", r->score, r->required, r->action_name));
    qp_log(q, r->action == REPLY_NO_ACTION ? QP_LOG_INFO : QP_LOG_NOTICE,
        "action=\"%s\" score=%.2f required=%.2f symbols=%s", r->action_name, r->score, r->required,
        r->symbols);
    if (r->action == REPLY_ADD_HEADER || r->action == REPLY_REJECT)
        qp_note_add(q, QP_CONNECTION, "karma", -1);
}

static enum qp_rc
refuse(struct qp *q, const struct conf *c, const struct reply *r)
{
    if (r->no_action)
        return QP_DECLINED;
    if (r->action == REPLY_SOFT_REJECT)
        return qp_deny_code(q, 451, "4.7.1", "%s", text_for_client(q, r, "Try again later"));
    if (r->action == REPLY_REJECT || r->action == REPLY_DISCARD)
        return qp_reject(q, &c->reject, text_for_client(q, r, "Spam message rejected"));
    return QP_DECLINED;
}

/* ---- handlers ---- */

static enum qp_rc
not_judged(struct qp *q, const struct conf *c, const char *why)
{
    char server[200];

    qp_log(q, QP_LOG_ERROR, "message not judged error=\"%s\" server=%s", why,
        c->socket ? c->socket : url_public(c->url, server, sizeof server));
    if (c->on_error == ACCEPT)
        return QP_DECLINED;
    return qp_deny_code(q, 451, "4.3.0", "Unable to check for spam, try again later");
}

/* The answer is here: refuse the message, or change it. */
static enum qp_rc
obey(struct qp *q, const struct conf *c, const struct reply *r)
{
    enum qp_rc rc = refuse(q, c, r);
    const char *why;

    if (rc != QP_DECLINED)
        return rc;
    why = check_edits(q, r);
    if (why)
        return not_judged(q, c, why);
    change(q, c, r);
    return QP_DECLINED;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const struct rspamd_late *late;
    const char *reason;
    struct reply reply;
    char why[256];
    enum qp_rc rc;

    if (c->skip_immune && qp_immune(q))
        return QP_DECLINED;
    if (qp_message_size(q) > c->size_limit) {
        qp_log(q, QP_LOG_NOTICE, "message not judged, larger than size_limit");
        return QP_DECLINED;
    }
    late = qp_late(q, &reason);
    if (!late)
        return not_judged(q, c, reason);
    if (!ask(q, c, late, &reply, why))
        return not_judged(q, c, why);
    report(q, &reply);
    rc = obey(q, c, &reply);
    late->close(&reply);
    return rc;
}

static bool
is_field_name(const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

    return n > 0 && n < 100 && name[n] == '\0';
}

/* "127.0.0.1:11333", "https://scan.example.org" or "/run/rspamd.sock" */
static bool
set_server(struct qp *q, struct conf *c, const char *server)
{
    const char *base =
        strstr(server, "://") ? server : qp_printf(q, QP_INSTANCE, "http://%s", server);
    size_t n = strlen(base);
    struct url url;

    if (*server == '/') {
        c->socket = server;
        base = "http://localhost";
        n = strlen(base);
    }
    while (n > 0 && base[n - 1] == '/')
        n--;
    c->url = qp_printf(q, QP_INSTANCE, "%.*s/checkv2", (int)n, base);
    if (strpbrk(base, "?#") || !url_parse(base, &url))
        return qp_fail(q,
            "%s is no server: write HOST:PORT, http://HOST:PORT, https://HOST:PORT or /PATH",
            server);
    return true;
}

/* Before the children are forked, who then share it. */
static bool
load_now(struct qp *q)
{
    const char *why;

    return !qp_serves_many(q) || qp_late(q, &why) || qp_fail(q, "%s", why);
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *server = "127.0.0.1:11333";

    *c = (struct conf){.timeout_ms = 20000,
        .size_limit = 50 << 20,
        .spam_header = "X-Spam",
        .reject = QP_REJECT_DEFAULT};
    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
               (const struct qp_arg[]){{.name = "server", .text = &server},
                   {.name = "ca", .text = &c->ca},
                   {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 600},
                   {.name = "size_limit", .size = &c->size_limit, .min = 1},
                   {.name = "on_error", .choice = &c->on_error, .choices = "tempfail accept"},
                   {.name = "relayclient", .choice = &c->skip_immune, .choices = "scan skip"},
                   {.name = "spam_header", .text = &c->spam_header},
                   {.name = "settings_id", .text = &c->settings_id}, QP_REJECT_ARGS(&c->reject),
                   {0}}) &&
           (is_field_name(c->spam_header) ||
               qp_fail(q, "spam_header: %s is no name of a header field", c->spam_header)) &&
           set_server(q, c, server) && load_now(q);
}

QP_PLUGIN(.name = "rspamd", .init = on_init, .data_post = on_data_post);
