/*
 * smtp/receive - DATA and BDAT: the message comes in, is judged, and is handed to a queue plugin
 *
 * One way in (take_block), one way out (receive_end); DATA and BDAT differ in what tells the end.
 */
#include "base/clock.h"
#include "base/log.h"
#include "mail/authres.h"
#include "mail/received.h"
#include "smtp/command.h"

static const struct reply not_mail =
    REPLY_CLOSE_INIT(421, "4.5.2", "See https://cr.yp.to/docs/smtplf.html");

/* ---- the message is complete ---- */

static void
add_received(struct session *s)
{
    struct hook_result r = session_run_hook(s, HOOK_RECEIVED_LINE, NULL);
    bool ehlo = strcmp(s->conn.hello, "ehlo") == 0;
    bool auth = s->conn.auth == CONNECTION_AUTH_PASSED;
    const struct qp_tls *tls = s->conn.tls;
    const char *value = r.text;

    if (r.rc != QP_OK || !*value)
        value = received_value(s->txn_arena,
            &(struct received_facts){
                .remote_info = s->conn.remote_info,
                .hello_host = s->conn.hello_host,
                .remote_ip = s->conn.remote_ip,
                .me = s->settings.me,
                .version = QPSMTPD_VERSION,
                .protocol =
                    received_protocol((ehlo ? RECEIVED_EHLO : 0) | (auth ? RECEIVED_AUTH : 0) |
                                      (tls ? RECEIVED_TLS : 0)),
                .tls_version = tls ? tls->version : "",
                .cipher = tls ? tls->cipher : "",
                .auth_user = auth && s->settings.received_auth_user ? s->conn.auth_user : NULL,
                .auth_mechanism = s->conn.auth_mechanism,
                .now = time(NULL),
            });
    header_insert(message_header(s->txn.message), 0, STR("Received"), str_of(value));
}

/* Plugins leave "method=result …" in the note of either scope, joined with "; ". */
static const char *
auth_items(struct session *s)
{
    const char *conn = map_get(s->conn.notes, STR("authentication_results"));
    const char *txn = map_get(s->txn.notes, STR("authentication_results"));

    return conn && txn ? arena_printf(s->txn_arena, "%s; %s", conn, txn) : txn ? txn : conn;
}

static const char *
auth_result(struct session *s)
{
    static const enum authres_auth results[] = {
        [CONNECTION_AUTH_NONE] = AUTHRES_NONE,
        [CONNECTION_AUTH_PASSED] = AUTHRES_PASS,
        [CONNECTION_AUTH_FAILED] = AUTHRES_FAIL,
    };

    return authres_auth(
        s->txn_arena, results[s->conn.auth], s->conn.auth_mechanism, s->conn.auth_user);
}

/* RFC 8601, 5: what bears our name was forged; then say what we know ourselves. */
static void
add_authres(struct session *s)
{
    struct header *h = message_header(s->txn.message);
    const char *id = s->settings.authres_id;

    if (!id)
        return;
    authres_strip(h, str_of(id));
    header_insert(h, 0, STR("Authentication-Results"),
        str_of(authres_value(s->txn_arena, id, auth_result(s), auth_items(s))));
}

/* After the reply; the transaction is a new one already. */
static struct reply
after_queue(struct session *s)
{
    struct hook_result r = session_run_hook(s, HOOK_QUEUE_POST, NULL);

    if (r.rc != QP_OK && r.rc != QP_DECLINED)
        log_at(
            LOG_LEVEL_ERROR, "queue_post: %s returned %d, which changes nothing", r.plugin, r.rc);
    return (struct reply){0};
}

static struct reply
queue_message(struct session *s)
{
    struct hook_result r;
    struct reply reply;

    if (session_ask(s, HOOK_QUEUE_PRE, NULL, NULL, &reply))
        return reply;
    if (s->txn.n_recipients == 0) {
        log_at(LOG_LEVEL_NOTICE, "not queued: plugins have removed all recipients");
        return REPLY(554, "5.1.0", "no recipients specified (#5.1.0)");
    }
    r = session_run_hook(s, HOOK_QUEUE, NULL);
    if (!outcome_reply(HOOK_QUEUE, &r, s->command_arena, NULL, &reply))
        reply = REPLY(451, "4.3.0", "Queuing declined or disabled; try again later");
    log_at(LOG_LEVEL_NOTICE, "%s: from=%s recipients=%zu size=%llu plugin=%s reply=%d %s",
        r.rc == QP_OK ? "queued" : "not queued", s->txn.sender->format, s->txn.n_recipients,
        (unsigned long long)message_received(s->txn.message), r.plugin ? r.plugin : "-", reply.code,
        reply.text ? reply.text : "");
    reply.then = after_queue;
    return reply;
}

/* What the engine itself has against the message; code 0: nothing. */
static struct reply
engine_objection(const struct session *s)
{
    const struct message *m = s->txn.message;

    switch (message_trouble(m)) {
    case MESSAGE_TOO_BIG:
        log_at(LOG_LEVEL_NOTICE, "Message too big: size: %llu (max size: %llu)",
            (unsigned long long)message_received(m),
            (unsigned long long)s->settings.message.max_bytes);
        return REPLY(552, "5.3.4", "Message too big!");
    case MESSAGE_HEADER_TOO_BIG:
        log_at(LOG_LEVEL_NOTICE, "refused: header of more than %lu bytes", MESSAGE_HEADER_MAX);
        return REPLY(552, "5.3.4", "Message header too big!");
    case MESSAGE_DISK:
        log_at(LOG_LEVEL_ERROR, "message cannot be spooled: %s", message_error(m));
        return REPLY(451, "4.3.0", "Message denied temporarily");
    case MESSAGE_FINE:
        break;
    }
    return (struct reply){0};
}

static bool
is_looping(struct session *s)
{
    size_t hops = header_hops(message_header(s->txn.message));

    if (!s->settings.max_hops || hops < s->settings.max_hops)
        return false;
    log_at(LOG_LEVEL_NOTICE, "refused: %zu hops", hops);
    return true;
}

static struct reply
judge(struct session *s)
{
    struct reply reply = engine_objection(s);

    log_at(LOG_LEVEL_DEBUG, "max_size: %llu / size: %llu",
        (unsigned long long)s->settings.message.max_bytes,
        (unsigned long long)message_received(s->txn.message));
    if (reply.code)
        return reply;
    if (s->incoming.refused)
        return s->incoming.refusal;
    if (is_looping(s))
        return REPLY(554, "5.4.6", "too many hops, this message is looping (#5.4.6)");
    session_run_hook(s, HOOK_DATA_POST_HEADERS, NULL);
    add_received(s);
    add_authres(s);
    if (session_ask(s, HOOK_DATA_POST, NULL, NULL, &reply))
        return reply;
    return queue_message(s);
}

/* ---- while it comes in ---- */

static void
begin(struct session *s)
{
    s->incoming.active = true;
    s->incoming.refused = false;
    s->txn.message = message_new(s->txn_arena, &s->settings.message);
    data_begin(&s->incoming.decoder, s->settings.newlines);
}

/* The header is complete. true: the session ends here, with s->incoming.refusal. A plugin can only
 * refuse: with QP_DONE the message would be lost without a word, since nothing is answered here. */
static bool
header_complete(struct session *s)
{
    struct hook_result r = session_run_hook(s, HOOK_DATA_HEADERS_END, NULL);

    if (r.rc == QP_DONE ||
        !outcome_reply(HOOK_DATA_HEADERS_END, &r, s->command_arena, NULL, &s->incoming.refusal))
        return false;
    s->incoming.refused = true;
    return s->incoming.refusal.close;
}

/* Give decoded bytes to the message. true: see header_complete(). */
static bool
take_block(struct session *s, size_t n)
{
    if (s->incoming.used < n)
        s->incoming.used = n;
    return message_put(s->txn.message, (struct str){s->incoming.block, n}) && header_complete(s);
}

/* The message has ended, well or not; after this the transaction is over. */
static struct reply
receive_end(struct session *s)
{
    struct reply reply;

    if (message_end(s->txn.message))
        header_complete(s);
    reply = judge(s);
    session_end_transaction(s);
    return reply;
}

static struct reply
give_up(struct session *s, struct reply reply)
{
    session_end_transaction(s);
    return reply;
}

static struct reply
incomplete(struct session *s, enum stream_status status)
{
    log_at(LOG_LEVEL_NOTICE, "message incomplete after %llu bytes: %s",
        s->txn.message ? (unsigned long long)message_received(s->txn.message) : 0ULL,
        status == STREAM_TIMEOUT ? "the client was silent" : "the connection broke");
    s->end = status == STREAM_TIMEOUT ? SESSION_TIMEOUT : SESSION_GONE;
    return give_up(s, REPLY_CLOSE(451, "4.4.2", "Incomplete DATA"));
}

/* ---- DATA ---- */

static struct reply
read_data(struct session *s)
{
    for (;;) {
        enum stream_status status = stream_fill(s->stream, session_data_deadline(s), NULL);
        enum data_status end;
        size_t n, taken, out_n;
        char *in;

        if (status != STREAM_OK)
            return incomplete(s, status);
        in = stream_buffered(s->stream, &n);
        end = data_decode(&s->incoming.decoder, in, n, &taken, s->incoming.block, &out_n);
        stream_take(s->stream, taken);
        if (end == DATA_BARE) {
            log_at(LOG_LEVEL_NOTICE, "refused: bare CR or LF in DATA");
            return give_up(s, not_mail);
        }
        if (take_block(s, out_n))
            return give_up(s, s->incoming.refusal);
        if (end == DATA_END)
            return receive_end(s);
    }
}

/* The hook `data`; true: *reply refuses, and the transaction is over */
static bool
refused_by_plugin(struct session *s, struct reply *reply)
{
    if (!session_ask(s, HOOK_DATA, NULL, NULL, reply))
        return false;
    session_end_transaction(s);
    return true;
}

struct reply
receive_data(struct session *s, const char *args)
{
    struct reply reply = REPLY(354, NULL, "go ahead");

    (void)args; /* qpsmtpd has always ignored them */
    if (refused_by_plugin(s, &reply))
        return reply;
    begin(s);
    reply.then = read_data;
    return reply;
}

/* ---- BDAT (RFC 3030) ---- */

static bool
bdat_parse(const char *args, uint64_t *size, bool *last)
{
    struct str rest = str_of(args), number = str_word(&rest), word = str_word(&rest);

    *last = str_ieq(word, STR("LAST"));
    return str_number(number, INT64_MAX, size) && (*last || !word.n) && !str_trim(rest).n;
}

/* One chunk, through the decoder into the message; with `skip` it is only read away.
 * returns STREAM_OK, or what broke the connection; *stop: see header_complete() */
static enum stream_status
read_chunk(struct session *s, uint64_t size, bool skip, bool *stop)
{
    *stop = false;
    while (size && !*stop) {
        enum stream_status status = stream_fill(s->stream, session_data_deadline(s), NULL);
        size_t n, out_n;
        char *in;

        if (status != STREAM_OK)
            return status;
        in = stream_buffered(s->stream, &n);
        n = n < size ? n : (size_t)size;
        if (!skip) {
            data_chunk(&s->incoming.decoder, in, n, s->incoming.block, &out_n);
            *stop = take_block(s, out_n);
        }
        stream_take(s->stream, n);
        size -= n;
    }
    return STREAM_OK;
}

/* May a chunk come now? true: *reply refuses it; the chunk must be read away all the same. */
static bool
chunk_refused(struct session *s, struct reply *reply)
{
    if (s->incoming.active)
        return false;
    if (!s->txn.sender)
        *reply = REPLY(503, "5.5.1", "MAIL first");
    else if (!s->txn.n_recipients)
        *reply = REPLY(503, "5.5.1", "RCPT first");
    else if (!refused_by_plugin(s, reply)) {
        begin(s);
        return false;
    }
    return true;
}

static struct reply
chunk_taken(struct session *s, uint64_t size, bool last)
{
    struct reply objection;

    if (last) {
        size_t n = data_chunk_end(&s->incoming.decoder, s->incoming.block);

        if (take_block(s, n))
            return give_up(s, s->incoming.refusal);
        return receive_end(s);
    }
    objection = engine_objection(s);
    if (objection.code)
        return give_up(s, objection);
    if (s->incoming.refused)
        return give_up(s, s->incoming.refusal);
    return REPLY(250, "2.0.0",
        arena_printf(s->command_arena, "%llu octets received", (unsigned long long)size));
}

struct reply
receive_bdat(struct session *s, const char *args)
{
    enum stream_status status;
    struct reply refusal;
    bool last, stop, skip;
    uint64_t size;

    if (!bdat_parse(
            args, &size, &last)) /* how much to read away nobody knows: the dialogue is lost */
        return give_up(s, REPLY_CLOSE(501, "5.5.4", "syntax error in parameters"));
    skip = chunk_refused(s, &refusal);
    if (skip && refusal.close)
        return refusal;
    status = read_chunk(s, size, skip, &stop);
    if (status != STREAM_OK)
        return incomplete(s, status);
    if (skip)
        return refusal;
    if (stop)
        return give_up(s, s->incoming.refusal);
    return chunk_taken(s, size, last);
}
