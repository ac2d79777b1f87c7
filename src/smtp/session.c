#include "smtp/session.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/log.h"
#include "mail/address.h"
#include "net/dns.h"
#include "smtp/command.h"
#include "smtp/starttls.h"

#define DRAIN_MS 1000 /* how long a client that still sends may take to see the last reply */

/* Bytes that plugins may keep of what a client has said. A transaction that has not begun is emptied; when
 * there is no end the client has to go, and no other one suffers. */
#define KEEP_UNBEGUN      (64 << 10)
#define KEEP_MAX          (32 << 20)
#define KEEP_OF_RECIPIENT (8 << 10) /* and so many of each, as max_recipients bounds them */

/* Set by the server's signal handler; the one thing here that is process-wide. */
static struct {
    volatile sig_atomic_t soon;
} leave;

void
session_leave_soon(void)
{
    leave.soon = 1;
    stream_interrupt();
}

/* ---- what every command needs ---- */

int64_t
session_command_deadline(const struct session *s)
{
    return clock_ms() + s->settings.command_timeout_ms;
}

int64_t
session_data_deadline(const struct session *s)
{
    return clock_ms() + s->settings.data_timeout_ms;
}

struct hook_result
session_run_hook(struct session *s, enum hook hook, const struct hook_args *args)
{
    struct hook_result r = hook_run(&s->context, hook, args);

    s->leaving = s->leaving || r.disconnect;
    return r;
}

bool
session_ask(struct session *s, enum hook hook, const struct hook_args *args, const char *about,
    struct reply *reply)
{
    struct hook_result r = session_run_hook(s, hook, args);

    return outcome_reply(hook, &r, s->command_arena, about, reply);
}

static void
begin_transaction(struct session *s)
{
    arena_reset(s->txn_arena);
    transaction_begin(&s->txn, s->txn_arena, ++s->conn.transactions);
    s->incoming.active = s->incoming.refused = false;
    hook_transaction(s->context.host);
}

void
session_end_transaction(struct session *s)
{
    session_run_hook(s, HOOK_RESET_TRANSACTION, NULL);
    begin_transaction(s);
}

/* ---- replies ---- */

static void
send_one(struct session *s, int code, const char *enhanced, const char *text)
{
    struct buf wire;
    struct str lines;

    buf_init(&wire, s->command_arena, 65536);
    reply_format(&wire, code, enhanced, text);
    lines = buf_str(&wire);
    stream_put(s->stream, lines);
    s->leaving = s->leaving || code == 421; /* RFC 5321, 3.8: whoever says it closes the channel */
    while (lines.n && log_wants(LOG_LEVEL_INFO)) {
        struct str line = str_trim(str_cut(&lines, '\n'));

        log_write(LOG_LEVEL_INFO, "%.*s", STR_ARG(line));
    }
}

/* A reply's status, where the site wants statuses at all. */
static const char *
status_of(const struct session *s, const char *enhanced)
{
    return s->settings.enhanced ? enhanced : NULL;
}

/* What a plugin says for itself gets the status that fits its code; 3xx and what answers HELO have
 * none. */
static void
send_replies_of_plugin(struct session *s, const struct reply *reply)
{
    static const char *const by_class[] = {[2] = "2.0.0", [4] = "4.0.0", [5] = "5.0.0"};

    for (const struct hook_reply *r = reply->more; r; r = r->next)
        send_one(s, r->code, reply->plain ? NULL : status_of(s, by_class[r->code / 100]), r->text);
}

static void
send_reply(struct session *s, const struct reply *reply)
{
    if (reply->code)
        send_one(s, reply->code, status_of(s, reply->enhanced), reply->text);
    else
        send_replies_of_plugin(s, reply);
    s->leaving = s->leaving || reply->close;
}

/* Send a reply and do what comes after it, until nothing does. */
static void
answer(struct session *s, struct reply reply)
{
    send_reply(s, &reply);
    while (reply.then) {
        reply = reply.then(s);
        send_reply(s, &reply);
    }
}

/* ---- from the first byte to the last ---- */

/* "ESMTP" as a word: the client must see it (qmail-smtpd appends it too). */
static bool
says_esmtp(struct str s)
{
    for (size_t i = 0; i + 5 <= s.n; i++)
        if (str_ieq((struct str){s.p + i, 5}, STR("ESMTP")) &&
            (i == 0 || !ascii_alnum(s.p[i - 1])) && (i + 5 == s.n || !ascii_alnum(s.p[i + 5])))
            return true;
    return false;
}

static const char *
greeting(struct session *s)
{
    const char *text = s->settings.greeting;

    if (!text)
        return arena_printf(s->command_arena,
            "%s ESMTP qpsmtpd %s ready; send us your mail, but not your spam.", s->settings.me,
            QPSMTPD_VERSION);
    return says_esmtp(str_of(text)) ? text : arena_printf(s->command_arena, "%s ESMTP", text);
}

static void
greet(struct session *s)
{
    struct reply reply;

    if (session_ask(s, HOOK_PRE_CONNECTION, NULL, NULL, &reply) && reply.code)
        reply.close = true;
    else if (!session_ask(s, HOOK_CONNECT, NULL, NULL, &reply))
        reply = REPLY(220, NULL, greeting(s));
    answer(s, reply);
}

struct reply
session_input_ended(struct session *s, enum stream_status status)
{
    switch (status) {
    case STREAM_TIMEOUT:
        s->end = SESSION_TIMEOUT;
        log_at(LOG_LEVEL_NOTICE, "timeout: the client was silent");
        return REPLY_CLOSE(421, "4.4.2", "Connection Timed Out");
    case STREAM_INTERRUPTED:
        s->end = SESSION_QUIT;
        return REPLY_CLOSE(421, "4.3.2", "closing connection: the server is going down");
    case STREAM_EOF:
        s->end = SESSION_GONE;
        break;
    default:
        s->end = SESSION_ERROR;
        log_at(LOG_LEVEL_INFO, "connection broke: %s", stream_error(s->stream));
        break;
    }
    return (struct reply){.close = true};
}

/* Commands may be repeated for ever, and what plugins keep of each outlives it. */
static void
bound_memory(struct session *s)
{
    size_t kept;

    if (!s->txn.sender && arena_used(s->txn_arena) > KEEP_UNBEGUN)
        session_end_transaction(s);
    kept = arena_used(s->conn_arena) + arena_used(s->txn_arena);
    if (kept <= KEEP_MAX || s->incoming.active ||
        kept <= KEEP_MAX + s->txn.n_recipients * KEEP_OF_RECIPIENT)
        return;
    log_at(LOG_LEVEL_WARN, "plugins keep %zu bytes: ip=%s commands=%u", kept, s->conn.remote_ip,
        s->conn.commands);
    answer(s, REPLY_CLOSE(421, "4.3.0", "out of memory (#4.3.0)"));
}

static void
one_command(struct session *s)
{
    struct str line;
    enum stream_status status =
        stream_line(s->stream, command_line_max(s), session_command_deadline(s), &line);

    s->context.params = NULL;
    s->context.n_params = 0;
    if (status == STREAM_OK)
        answer(s, command_run(s, line));
    else if (status == STREAM_TOO_LONG)
        answer(s, command_too_long(s));
    else
        answer(s, session_input_ended(s, status));
    if (!s->leaving)
        bound_memory(s);
    arena_reset(s->command_arena);
}

static void
disconnect(struct session *s)
{
    log_at(LOG_LEVEL_INFO, "click, disconnecting");
    hook_run(&s->context, HOOK_DISCONNECT, NULL);
    session_end_transaction(s);
    hook_run(&s->context, HOOK_POST_CONNECTION, NULL);
    if (!s->said_quit || !stream_end(s->stream))
        stream_finish(s->stream, DRAIN_MS);
}

/* DATABYTES of tcprules overrides the file, for this connection; what is no number means no limit
 * (qmail). */
static void
apply_environment(struct session *s)
{
    const char *databytes = connection_env(&s->conn, "DATABYTES");
    struct str digits;
    uint64_t n = 0;

    if (!databytes)
        return;
    digits = (struct str){databytes, strspn(databytes, "0123456789")};
    str_number(digits, UINT64_MAX, &n);
    s->settings.message.max_bytes = n;
}

/* Answers of `config` hooks may differ from client to client; files do not. false: 421 */
static bool
load_settings(struct session *s)
{
    struct err e;

    if (!hook_used(s->context.host, HOOK_CONFIG)) {
        s->settings = s->common;
    } else if (!settings_load(&s->settings, &s->context, s->conn_arena, &e)) {
        s->settings = s->common;
        log_at(LOG_LEVEL_ERROR, "%s", e.text);
        return false;
    }
    apply_environment(s);
    s->context.me = s->settings.me;
    if (s->settings.lenient_addresses)
        s->context.address_rules |= ADDRESS_LENIENT;
    stream_timeout_set(s->stream, s->settings.command_timeout_ms);
    return true;
}

static bool
begin(struct session *s, const struct peer *p)
{
    struct context *c = &s->context;

    s->in = p->in;
    s->out = p->out;
    stream_reset(s->stream, p->in, p->out, s->common.command_timeout_ms);
    stream_interruptible(s->stream, &leave.soon, p->wake ? p->wake : -1);
    stream_direct(s->stream, p->receive_timeout_ms);
    stream_dns(s->stream, host_dns(s->context.host));
    connection_begin(&s->conn, s->conn_arena, s->stream, p);
    log_session_set(s->conn.id);
    *c = (struct context){.host = c->host,
        .config = c->config,
        .command = s->command_arena,
        .conn = &s->conn,
        .txn = &s->txn,
        .args = "",
        .me = s->common.me,
        .address_rules = ADDRESS_STRICT};
    s->auth = (struct auth){.offered = false};
    s->leaving = s->said_quit = false;
    s->end = SESSION_QUIT;
    hook_session(c->host, c);
    begin_transaction(s);
    log_at(LOG_LEVEL_NOTICE, "Connection from %s [%s]", s->conn.remote_info, s->conn.remote_ip);
    return load_settings(s);
}

/* Does this client begin with a handshake? */
static bool
wants_tls(const struct session *s, const struct peer *p)
{
    int port = p->listening_port ? p->listening_port : p->local_port;

    if (p->tls)
        return true;
    for (size_t i = 0; i < s->settings.tls_ports_n; i++)
        if (s->settings.tls_ports[i] == port)
            return true;
    return false;
}

/* Nothing of this client is left for the next one. */
static void
forget(struct session *s)
{
    hook_session(s->context.host, NULL);
    explicit_bzero(s->incoming.block, s->incoming.used);
    s->incoming.used = 0;
    arena_reset(s->command_arena);
    arena_reset(s->txn_arena);
    arena_reset(s->hello_arena);
    arena_reset(s->conn_arena);
    dns_end(host_dns(s->context.host));
    log_session_set(NULL);
}

int64_t
session_receive_timeout(const struct session *s)
{
    const struct settings *c = &s->common;

    return c->command_timeout_ms == c->data_timeout_ms ? c->command_timeout_ms : 0;
}

enum session_end
session_run(struct session *s, const struct peer *p)
{
    bool begun = begin(s, p);

    if (wants_tls(s, p) && (!begun || !starttls_implicit(s)))
        s->leaving = true; /* in the clear there is nothing to say */
    else if (!begun)
        answer(s, REPLY_CLOSE(421, "4.3.0", "unable to read controls (#4.3.0)"));
    else
        greet(s);
    arena_reset(s->command_arena);
    while (!s->leaving)
        one_command(s);
    disconnect(s);
    forget(s);
    return s->end;
}

/* ---- the storage ---- */

/*
 * What every session writes to, side by side: a child that waits costs the pages that it has touched, and
 * malloc would have spread these over as many. Larger sessions get more from malloc.
 */
struct storage {
    alignas(max_align_t) char stream[STREAM_SIZE];
    alignas(max_align_t) char connection[1024];
    alignas(max_align_t) char hello[512];
    alignas(max_align_t) char command[1792];
    alignas(max_align_t) char transaction[2560];
    alignas(max_align_t) char process[4096];
};

static bool
settle(struct session *s, struct err *e)
{
    struct context *c = &s->context;

    if (!s->stream || !s->incoming.block)
        return err_set(e, "out of memory");
    if (!settings_load(&s->common, c, s->process, e))
        return false;
    return !s->common.tls_ports_n || hook_used(c->host, HOOK_TLS) ||
           err_set(e, "tls_ports: no plugin supplies TLS: add `tls` to plugins");
}

struct session *
session_open(struct config *config, struct host *host, struct err *e)
{
    struct storage *storage =
        mmap(NULL, sizeof *storage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct arena *process;
    struct session *s;

    if (storage == MAP_FAILED) {
        err_set(e, "out of memory");
        return NULL;
    }
    process = arena_open_in("process", storage->process, sizeof storage->process);
    s = arena_alloc(process, sizeof *s);
    s->process = process;
    s->storage = storage;
    s->conn_arena = arena_open_in("connection", storage->connection, sizeof storage->connection);
    s->hello_arena = arena_open_in("greeting", storage->hello, sizeof storage->hello);
    s->txn_arena = arena_open_in("transaction", storage->transaction, sizeof storage->transaction);
    s->command_arena = arena_open_in("command", storage->command, sizeof storage->command);
    s->stream = stream_open_in(storage->stream);
    s->incoming.block = malloc(STREAM_IN + 2); /* only what mail fills is memory */
    s->context = (struct context){.host = host, .config = config, .command = process, .args = ""};
    if (!settle(s, e))
        session_close(&s);
    return s;
}

void
session_close(struct session **s)
{
    struct session copy = **s;

    *s = NULL;
    if (copy.stream)
        stream_close(&copy.stream);
    free(copy.incoming.block);
    arena_close(&copy.command_arena);
    arena_close(&copy.txn_arena);
    arena_close(&copy.hello_arena);
    arena_close(&copy.conn_arena);
    arena_close(&copy.process);
    munmap(copy.storage, sizeof *copy.storage);
}
