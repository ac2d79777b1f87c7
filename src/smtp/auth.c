#include "smtp/auth.h"

#include <poll.h>
#include <stdio.h>

#include "base/base64.h"
#include "base/clock.h"
#include "base/log.h"
#include "mail/address.h"
#include "smtp/command.h"
#include "smtp/sasl.h"

#define DELAY_STEPS   5   /* the delay of a failure grows until the sixth */
#define CHALLENGE_MAX 496 /* bytes of base64 that a reply line has room for */
#define USER_SHOWN    64  /* bytes of the user's name in replies and in the log */

/* ---- mechanisms ---- */

static enum hook
hook_of(const char *mechanism)
{
    static const struct {
        const char *name;
        enum hook hook;
    } hooks[] = {
        {"PLAIN", HOOK_AUTH_PLAIN},
        {"LOGIN", HOOK_AUTH_LOGIN},
        {"CRAM-MD5", HOOK_AUTH_CRAM_MD5},
    };

    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++)
        if (strcmp(mechanism, hooks[i].name) == 0)
            return hooks[i].hook;
    return strncmp(mechanism, "SCRAM-", 6) == 0 ? HOOK_AUTH_SCRAM : HOOK_AUTH;
}

/* Can any plugin decide about it? */
static bool
is_offered(const struct session *s, const char *mechanism)
{
    return hook_used(s->context.host, hook_of(mechanism)) || hook_used(s->context.host, HOOK_AUTH);
}

/* The mechanism of that name in upper case, or NULL. */
static const char *
find_mechanism(const struct session *s, struct str name)
{
    for (const char *const *m = s->settings.auth_mechanisms; *m; m++)
        if (str_ieq(name, str_of(*m)) && is_offered(s, *m))
            return *m;
    return NULL;
}

static bool
needs_tls(const struct session *s)
{
    return s->settings.tls_before_auth && !s->conn.tls;
}

const char *
auth_offer(struct session *s)
{
    struct buf b;

    buf_init(&b, s->command_arena, 512);
    for (const char *const *m = s->settings.auth_mechanisms; *m; m++)
        if (is_offered(s, *m))
            buf_printf(&b, "%s%s", b.n ? " " : "", *m);
    s->auth.offered = s->auth.offered || b.n;
    return needs_tls(s) ? "" : buf_text(&b);
}

/* ---- the verdict ---- */

static enum exchange_answer
accept_by(struct session *s, const struct qp_auth *who, const char *secret)
{
    if (who->password ? !secret || qp_auth_equal(who->password, secret) : secret || who->hash)
        return EXCHANGE_ACCEPT;
    if (!who->password)
        log_at(LOG_LEVEL_ERROR, "%s said OK and gave no secret: mechanism=%s",
            s->auth.verdict.plugin, who->mechanism);
    s->auth.verdict.rc = QP_DENY;
    s->auth.verdict.text = "";
    return EXCHANGE_REFUSE;
}

/* The hooks of the mechanism, then those of all mechanisms. */
static enum exchange_answer
ask_hooks(void *data, const struct qp_auth *who, const char **secret)
{
    struct session *s = data;
    struct hook_result *r = &s->auth.verdict;
    const struct hook_args args = {.auth = who};
    enum hook own = hook_of(s->auth.mechanism);

    *r = session_run_hook(s, own, &args);
    if (r->rc == QP_DECLINED && own != HOOK_AUTH) {
        const char *text = r->text;

        *r = session_run_hook(s, HOOK_AUTH, &args);
        r->text = *r->text ? r->text : text;
    }
    if (r->rc == QP_OK) {
        *secret = r->secret;
        return accept_by(s, who, r->secret);
    }
    return r->rc == QP_DENY || r->rc == QP_DECLINED ? EXCHANGE_REFUSE : EXCHANGE_STOP;
}

/* The user as everybody may see it: a client must not write into our log or reply. */
static const char *
shown_user(struct session *s)
{
    struct str user = str_of(exchange_user(s->auth.exchange));
    char *shown;

    user.n = user.n < USER_SHOWN ? user.n : USER_SHOWN;
    shown = arena_dup(s->command_arena, user);
    for (char *p = shown; *p; p++)
        if (ascii_control(*p) || (unsigned char)*p >= 0x80)
            *p = '?';
    return shown;
}

/* " - text", where a plugin has said something */
static const char *
appendix(struct session *s)
{
    const char *text = s->auth.verdict.text;

    return *text ? arena_printf(s->command_arena, " - %s", text) : "";
}

static void
remember(struct session *s, enum connection_auth auth)
{
    struct str user = str_of(exchange_user(s->auth.exchange));

    user.n = strcspn(user.p, "\r\n");
    s->conn.auth = auth;
    snprintf(s->conn.auth_user, sizeof s->conn.auth_user, "%.*s", STR_ARG(user));
    snprintf(s->conn.auth_mechanism, sizeof s->conn.auth_mechanism, "%s", s->auth.mechanism);
    for (char *p = s->conn.auth_mechanism; *p; p++)
        *p = ascii_lower(*p);
}

static void
log_verdict(struct session *s, const char *what)
{
    const struct hook_result *r = &s->auth.verdict;

    log_at(LOG_LEVEL_NOTICE, "auth %s: ip=%s mechanism=%s user=%s plugin=%s text=%s", what,
        s->conn.remote_ip, s->auth.mechanism, shown_user(s), r->plugin ? r->plugin : "-", r->text);
}

static struct reply
passed(struct session *s)
{
    remember(s, CONNECTION_AUTH_PASSED);
    s->auth.relay = !s->conn.relay_client;
    s->conn.relay_client = true;
    s->context.address_rules |= ADDRESS_VERP; /* as for every client that may relay */
    map_set(s->conn.notes, STR("naughty"), NULL);
    log_verdict(s, "passed");
    return REPLY(235, "2.7.0",
        arena_printf(s->command_arena, "%s authentication successful for %s%s", s->auth.mechanism,
            shown_user(s), appendix(s)));
}

static struct reply
too_many(struct session *s)
{
    log_at(LOG_LEVEL_NOTICE, "auth given up: failures=%u", s->auth.failures);
    return REPLY_CLOSE(421, "4.7.0", "Too many authentication failures");
}

/* Nothing is read meanwhile: who sends on does not shorten it. */
static void
delay(const struct session *s)
{
    unsigned steps = s->auth.failures < DELAY_STEPS ? s->auth.failures : DELAY_STEPS;
    int64_t until = clock_ms() + steps * s->settings.auth_failure_delay_ms;

    while (steps && clock_left(until) > 0)
        poll(NULL, 0, clock_left(until));
}

/* Somebody has failed: remember, log, let him wait, count. */
static struct reply
failed(struct session *s, struct reply reply)
{
    remember(s, CONNECTION_AUTH_FAILED);
    log_verdict(s, "failed");
    delay(s);
    if (++s->auth.failures == s->settings.max_auth_failures && !reply.close)
        reply.then = too_many;
    return reply;
}

/* Who asked could not tell today: that is no guess, and nobody is to be banned for it. */
static struct reply
deferred(struct session *s, bool close)
{
    const struct hook_result *r = &s->auth.verdict;

    log_verdict(s, "deferred");
    return (struct reply){.code = r->code ? r->code
                                  : close ? 421
                                          : 454,
        .enhanced = r->code && *r->enhanced ? r->enhanced : "4.7.0",
        .text = arena_printf(s->command_arena, "Temporary authentication failure%s", appendix(s)),
        .close = close};
}

static struct reply
refused(struct session *s)
{
    struct hook_result *r = &s->auth.verdict;
    struct reply reply = {.code = 535, .enhanced = "5.7.8"};

    if (r->rc == QP_DENYSOFT || r->rc == QP_DENYSOFT_DISCONNECT)
        return deferred(s, r->rc == QP_DENYSOFT_DISCONNECT);
    if (r->rc == QP_OK) /* the plugin found nothing wrong, the proof was */
        r->text = "";
    reply.text = arena_printf(s->command_arena, "%s authentication failed for %s from %s%s",
        s->auth.mechanism, shown_user(s), s->conn.remote_ip, appendix(s));
    reply.close = r->rc == QP_DENY_DISCONNECT;
    if (r->rc == QP_DENY && r->code) { /* qp_deny_code() */
        reply.code = r->code;
        reply.enhanced = *r->enhanced ? r->enhanced : reply.enhanced;
    }
    if (r->rc == QP_DONE && r->replies)
        reply = (struct reply){.more = r->replies};
    return failed(s, reply);
}

/* Without a name, or in somebody else's. */
static struct reply
invalid(struct session *s)
{
    const char *user = shown_user(s);

    s->auth.verdict.text = "invalid";
    return failed(s, REPLY(535, "5.7.8",
                         arena_printf(s->command_arena, "Authentication invalid%s%s",
                             *user ? " for " : "", user)));
}

/* ---- the exchange ---- */

static struct reply read_response(struct session *s);

static struct reply
send_challenge(struct session *s, struct str challenge)
{
    char *text = arena_alloc(s->command_arena, BASE64_ENCODED(challenge.n) + 1);
    struct reply reply = REPLY(334, NULL, text);

    if (BASE64_ENCODED(challenge.n) >
        CHALLENGE_MAX) /* a nonce of the client's that no client has */
        return REPLY(501, "5.5.2", "Invalid authentication string");
    base64_encode(challenge, text);
    reply.then = read_response;
    return reply;
}

static struct reply
conclude(struct session *s, enum exchange_status status, struct str challenge)
{
    switch (status) {
    case EXCHANGE_MORE:
        return send_challenge(s, challenge);
    case EXCHANGE_PASSED:
        return passed(s);
    case EXCHANGE_FAILED:
        return refused(s);
    case EXCHANGE_INVALID:
        return invalid(s);
    case EXCHANGE_MALFORMED:
        return REPLY(501, "5.5.2", "Invalid authentication string");
    case EXCHANGE_BROKEN:
        break;
    }
    return REPLY(454, "4.7.0", "Temporary authentication failure");
}

/* One response; NULL: the command had none. */
static struct reply
step(struct session *s, const struct str *text)
{
    size_t room = text ? BASE64_DECODED(text->n) : 0, n = 0;
    char *decoded = arena_alloc(s->command_arena, room);
    enum exchange_status status = EXCHANGE_MALFORMED;
    struct str challenge = {"", 0};
    bool good = !text || base64_decode(*text, decoded, &n);

    stream_wipe(s->stream);
    if (good)
        status =
            exchange_step(s->auth.exchange, text ? &(struct str){decoded, n} : NULL, &challenge);
    explicit_bzero(decoded, room);
    return good ? conclude(s, status, challenge) : REPLY(501, "5.5.2", "Invalid base64");
}

static struct reply
read_response(struct session *s)
{
    struct str line;
    enum stream_status status =
        stream_line(s->stream, AUTH_LINE_MAX, session_command_deadline(s), &line);

    if (status == STREAM_TOO_LONG)
        return REPLY(500, "5.5.6", "Line too long");
    if (status != STREAM_OK)
        return session_input_ended(s, status);
    if (str_eq(line, STR("*")))
        return REPLY(501, "5.7.0", "Authentication canceled");
    return step(s, &line);
}

/* ---- the command ---- */

/* The hook auth_parse may read the arguments its own way. false: *reply refuses. */
static bool
parse(
    struct session *s, const char *args, struct str *name, struct str *initial, struct reply *reply)
{
    struct qp_parsed parsed = {0};
    struct hook_result r =
        session_run_hook(s, HOOK_AUTH_PARSE, &(struct hook_args){.text = args, .parsed = &parsed});
    struct str rest = str_of(r.rc == QP_OK && parsed.argument ? parsed.argument : args);

    *name = str_word(&rest);
    *initial = str_word(&rest);
    if ((r.rc == QP_OK || r.rc == QP_DECLINED) && name->n && !str_trim(rest).n)
        return true;
    *reply = REPLY(501, "5.5.4", *r.text ? r.text : "Syntax error in command");
    return false;
}

/* true: *reply says what is in the way */
static bool
is_untimely(const struct session *s, struct reply *reply)
{
    if (s->conn.auth == CONNECTION_AUTH_PASSED)
        *reply = REPLY(503, "5.5.1", "but you already said AUTH ...");
    else if (strcmp(s->conn.hello, "ehlo") != 0)
        *reply = REPLY(503, "5.5.1", "AUTH not defined for HELO");
    else if (s->txn.sender || s->incoming.active)
        *reply = REPLY(503, "5.5.1", "AUTH not permitted during a mail transaction");
    else if (needs_tls(s))
        *reply = REPLY(538, "5.7.11", "SSL/TLS required before AUTH");
    else
        return false;
    return true;
}

/* What is written like a mechanism is told back; all else could be a password in the wrong place. */
static struct reply
unknown_mechanism(struct session *s, struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.n > SETTINGS_MECHANISM_MAX || !settings_mechanism_char(name.p[i]))
            return REPLY(504, "5.5.4", "Unimplemented authentication mechanism");
    return REPLY(504, "5.5.4",
        arena_printf(
            s->command_arena, "Unimplemented authentication mechanism: %.*s", STR_ARG(name)));
}

struct reply
auth_auth(struct session *s, const char *args)
{
    struct str name, initial;
    struct reply reply;

    if (!parse(s, args, &name, &initial, &reply) || is_untimely(s, &reply))
        return reply;
    s->auth.mechanism = find_mechanism(s, name);
    if (!s->auth.mechanism)
        return unknown_mechanism(s, name);
    s->auth.verdict = (struct hook_result){.rc = QP_DECLINED, .text = ""};
    s->auth.exchange =
        exchange_new(s->command_arena, s->auth.mechanism, s->settings.me, ask_hooks, s);
    if (str_eq(initial, STR("="))) /* RFC 4954, 4: a response of no bytes */
        return step(s, &STR(""));
    return step(s, initial.n ? &initial : NULL);
}
