/*
 * The connection and the envelope as plugins see them: <qpsmtpd/plugin.h>, <qpsmtpd/client.h>.
 */
#include <qpsmtpd/client.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/tls.h>

#include <stdlib.h>

#include "base/clock.h"
#include "mail/address.h"
#include "plugin/instance.h"

static const struct connection *
connection_of(struct qp *q)
{
    static const struct connection nobody = {.remote_ip = "unknown",
        .remote_host = "",
        .remote_info = "",
        .local_ip = "",
        .local_host = "",
        .hello = "",
        .hello_host = ""};

    return q->context->conn ? q->context->conn : &nobody;
}

const char *
qp_remote_ip(struct qp *q)
{
    return connection_of(q)->remote_ip;
}

const char *
qp_remote_host(struct qp *q)
{
    return connection_of(q)->remote_host;
}

const char *
qp_remote_info(struct qp *q)
{
    return connection_of(q)->remote_info;
}

int
qp_remote_port(struct qp *q)
{
    return connection_of(q)->remote_port;
}

const char *
qp_local_ip(struct qp *q)
{
    return connection_of(q)->local_ip;
}

int
qp_local_port(struct qp *q)
{
    return connection_of(q)->local_port;
}

const char *
qp_local_host(struct qp *q)
{
    return connection_of(q)->local_host;
}

/* What describes a client is not among the process's own variables (server/startup): they are the
 * administrator's, and hold for each client. Programs get the same: environment_of(). */
const char *
qp_env(struct qp *q, const char *name)
{
    const struct connection *conn = q->context->conn;
    const char *value = conn ? connection_env(conn, name) : NULL;

    if (value || !conn || conn->env_whole || map_get(conn->env_unset, str_of(name)))
        return value;
    return getenv(name);
}

void
qp_env_unset(struct qp *q, const char *name)
{
    if (q->context->conn)
        connection_env_unset(q->context->conn, name);
}

int
qp_connections(struct qp *q)
{
    return connection_of(q)->from_ip;
}

int
qp_connections_max(struct qp *q)
{
    return connection_of(q)->from_ip_max;
}

const struct qp_tls *
qp_tls(struct qp *q)
{
    return connection_of(q)->tls;
}

bool
qp_relay_client(struct qp *q)
{
    return connection_of(q)->relay_client;
}

void
qp_relay_client_set(struct qp *q, bool allowed)
{
    if (!q->context->conn)
        return;
    q->context->conn->relay_client = allowed;
    if (allowed)
        q->context->address_rules |= ADDRESS_VERP;
    else
        q->context->address_rules &= ~(unsigned)ADDRESS_VERP;
}

/* An empty note says that the list cannot be read: no, but what the plugin refuses it refuses for now. */
static bool
is_listed(struct qp *q, enum qp_scope scope, const char *name)
{
    const char *note = qp_note(q, scope, name);

    if (note && !*note && q->result)
        q->result->doubtful = true;
    return note && *note && strcmp(note, "0") != 0;
}

bool
qp_immune(struct qp *q)
{
    return qp_relay_client(q) || is_listed(q, QP_CONNECTION, "whitelisthost") ||
           is_listed(q, QP_CONNECTION, "whitelistclient") ||
           is_listed(q, QP_TRANSACTION, "whitelistsender");
}

bool
qp_immune_hello(struct qp *q)
{
    return is_listed(q, QP_CONNECTION, "whitelisthelo");
}

bool
qp_immune_rcpt(struct qp *q, const struct qp_address *to)
{
    const char *last = qp_note(q, QP_TRANSACTION, "whitelistrcpt_last");

    return last && strcasecmp(last, to->address) == 0 &&
           is_listed(q, QP_TRANSACTION, "whitelistrcpt_listed");
}

const char *
qp_hello(struct qp *q)
{
    return connection_of(q)->hello;
}

const char *
qp_hello_host(struct qp *q)
{
    return connection_of(q)->hello_host;
}

unsigned int
qp_command_count(struct qp *q)
{
    return connection_of(q)->commands;
}

const char *
qp_command_args(struct qp *q)
{
    return q->context->args ? q->context->args : "";
}

void
qp_capability_add(struct qp *q, const char *line)
{
    struct context *c = q->context;
    const char **longer;

    if (q->hook != HOOK_EHLO && q->hook != HOOK_HELO)
        return; /* at any other time nobody announces anything */
    longer = arena_alloc(c->command, (c->n_capabilities + 1) * sizeof *longer);
    if (c->n_capabilities)
        memcpy(longer, c->capabilities, c->n_capabilities * sizeof *longer);
    longer[c->n_capabilities++] = arena_dup(c->command, str_of(line));
    c->capabilities = longer;
}

enum qp_early
qp_client_wait(struct qp *q, int64_t wait_ms)
{
    if (!q->context->conn)
        return QP_EARLY_NO;
    switch (stream_wait(q->context->conn->stream, clock_ms() + wait_ms)) {
    case STREAM_OK:
        return QP_EARLY_TALKS;
    case STREAM_TIMEOUT:
        return QP_EARLY_NO;
    default:
        return QP_EARLY_HANGUP;
    }
}

/* ---- the envelope ---- */

static struct transaction *
transaction_of(struct qp *q)
{
    return q->context->txn;
}

const struct qp_address *
qp_sender(struct qp *q)
{
    return transaction_of(q) ? transaction_of(q)->sender : NULL;
}

void
qp_sender_set(struct qp *q, const struct qp_address *sender)
{
    if (transaction_of(q))
        transaction_of(q)->sender = address_copy(transaction_of(q)->arena, sender);
}

size_t
qp_rcpt_count(struct qp *q)
{
    return transaction_of(q) ? transaction_of(q)->n_recipients : 0;
}

const struct qp_address *
qp_rcpt(struct qp *q, size_t i)
{
    return i < qp_rcpt_count(q) ? transaction_of(q)->recipients[i] : NULL;
}

void
qp_rcpt_add(struct qp *q, const struct qp_address *recipient)
{
    if (transaction_of(q))
        transaction_add(transaction_of(q), recipient);
}

size_t
qp_rcpt_remove(struct qp *q, const char *address)
{
    return transaction_of(q) ? transaction_remove(transaction_of(q), str_of(address)) : 0;
}

const char *
qp_rcpt_suffix(struct qp *q)
{
    const char *suffix = qp_relay_client(q) ? qp_env(q, "RELAYCLIENT") : NULL;

    return suffix ? suffix : "";
}

const char *
qp_param(struct qp *q, const char *name)
{
    const struct context *c = q->context;

    for (size_t i = 0; i < c->n_params; i++)
        if (str_ieq(str_of(c->params[i].name), str_of(name)))
            return c->params[i].value;
    return NULL;
}

const struct qp_address *
qp_address_parse(struct qp *q, enum qp_scope scope, const char *text)
{
    return address_parse(scope_arena(q, scope), str_of(text), q->context->address_rules);
}
