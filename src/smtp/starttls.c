#include "smtp/starttls.h"

#include "base/clock.h"
#include "base/log.h"
#include "mail/address.h"
#include "smtp/command.h"

bool
starttls_offered(const struct session *s)
{
    return hook_used(s->context.host, HOOK_TLS) && !s->conn.tls;
}

/* ---- the handshake ---- */

/* Ask the plugins for a layer. false: none of them can supply one now. */
static bool
find_layer(struct session *s, struct qp_tls_offer *offer)
{
    struct hook_result r;

    *offer = (struct qp_tls_offer){.in = s->in, .out = s->out};
    r = session_run_hook(s, HOOK_TLS, &(struct hook_args){.offer = offer});
    return r.rc == QP_OK && offer->layer;
}

static void
note(struct session *s, const char *name, const char *value)
{
    if (*value)
        map_set(s->conn.notes, str_of(name), arena_dup(s->conn_arena, str_of(value)));
}

/* For Received, for plugins, and for whoever reads the log. */
static void
remember(struct session *s, const struct qp_tls_offer *offer)
{
    struct qp_tls *tls = arena_alloc(s->conn_arena, sizeof *tls);
    const char *bits;

    *tls = (struct qp_tls){"", "", 0, "", false, false, "", "", "", false, ""};
    offer->layer->describe(offer->data, tls);
    bits = arena_printf(s->conn_arena, "%d", tls->bits);
    s->conn.tls = tls;
    note(s, "tls_enabled", "1");
    note(s, "tls_version", tls->version);
    note(s, "tls_cipher", tls->cipher);
    note(s, "tls_bits", bits);
    note(s, "tls_server_name", tls->server_name);
    note(s, "tls_client_dn", tls->client_dn);
    note(s, "tls_client_issuer", tls->client_issuer);
    note(s, "tls_client_hash", tls->client_hash);
    note(s, "tls_client_verified", tls->client_verified ? "1" : "");
    log_at(LOG_LEVEL_INFO,
        "tls established: version=%s cipher=%s bits=%s name=%s resumed=%d kernel=%d client=%s "
        "verified=%d",
        tls->version, tls->cipher, bits, *tls->server_name ? tls->server_name : "-", tls->resumed,
        tls->kernel, *tls->client_dn ? tls->client_dn : "-", tls->client_verified);
    if (*tls->remark)
        log_at(LOG_LEVEL_WARN, "another certificate was shown: %s", tls->remark);
}

static const char *
reason(struct session *s, enum stream_status status)
{
    switch (status) {
    case STREAM_TIMEOUT:
        return "the client has stalled";
    case STREAM_EOF:
        return "the client has gone";
    default:
        return stream_error(s->stream);
    }
}

static bool
shake_hands(struct session *s, const struct qp_tls_offer *offer)
{
    const struct stream_layer layer = {
        offer->layer->handshake,
        offer->layer->read,
        offer->layer->write,
        offer->layer->end,
        offer->layer->error,
    };
    struct stream_layer *kept = arena_alloc(s->conn_arena, sizeof *kept);
    int64_t deadline = clock_ms() + s->settings.tls_timeout_ms;
    enum stream_status status;

    *kept = layer;
    host_encrypted(s->context.host);
    status = stream_layer_push(s->stream, kept, offer->data, deadline);
    if (status != STREAM_OK) {
        log_at(LOG_LEVEL_NOTICE, "tls handshake failed: ip=%s reason=%s", s->conn.remote_ip,
            reason(s, status));
        s->end = status == STREAM_TIMEOUT ? SESSION_TIMEOUT : SESSION_ERROR;
        return false;
    }
    remember(s, offer);
    return true;
}

bool
starttls_implicit(struct session *s)
{
    struct qp_tls_offer offer;

    if (find_layer(s, &offer))
        return shake_hands(s, &offer);
    log_at(LOG_LEVEL_ERROR, "tls: no plugin can supply it now; the connection is closed");
    s->end = SESSION_ERROR;
    return false;
}

/* ---- the command ---- */

/* Somebody between us and the client may have said all of it (RFC 3207, 4.2 and 6). */
static void
forget_client(struct session *s)
{
    session_end_transaction(s);
    s->conn.hello = s->conn.hello_host = "";
    s->context.capabilities = NULL;
    s->context.n_capabilities = 0;
    if (s->auth.relay) {
        s->conn.relay_client = false;
        s->context.address_rules &= ~(unsigned)ADDRESS_VERP;
    }
    s->conn.auth = CONNECTION_AUTH_NONE;
    s->conn.auth_user[0] = s->conn.auth_mechanism[0] = '\0';
    s->auth = (struct auth){.failures = s->auth.failures};
}

/* After the 220, whose bytes are not sent yet. */
static struct reply
begin(struct session *s)
{
    struct reply nothing = {0};
    const struct qp_tls_offer *offer = s->tls_offer;

    s->tls_offer = NULL;
    if (shake_hands(s, offer))
        forget_client(s);
    else
        nothing.close = true;
    return nothing;
}

struct reply
starttls_run(struct session *s, const char *args)
{
    struct qp_tls_offer *offer = arena_alloc(s->command_arena, sizeof *offer);
    struct reply reply = REPLY(220, "2.0.0", "Go ahead with TLS");

    if (!hook_used(s->context.host, HOOK_TLS))
        return minor_unrecognized(s, "starttls", args, "Unrecognized command");
    if (*args)
        return REPLY(501, "5.5.4", "Syntax error (no parameters allowed)");
    if (s->conn.tls)
        return REPLY(503, "5.5.1", "TLS is active already");
    if (strcmp(s->conn.hello, "ehlo") != 0)
        return REPLY(503, "5.5.1", "please say EHLO first ...");
    if (stream_unread(s->stream)) {
        log_at(LOG_LEVEL_WARN, "bytes behind STARTTLS, discarded: ip=%s", s->conn.remote_ip);
        return REPLY_CLOSE(554, "5.5.1", "nothing may follow STARTTLS in the clear");
    }
    if (!find_layer(s, offer))
        return REPLY(454, "4.7.0", "TLS not available due to temporary reason");
    s->tls_offer = offer;
    reply.then = begin;
    return reply;
}
