/*
 * Memory, notes, identity and the log of a plugin: <qpsmtpd/plugin.h>, "memory and state", "notes".
 */
#include <qpsmtpd/plugin.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "mail/address.h"
#include "plugin/instance.h"

struct arena *
scope_arena(struct qp *q, enum qp_scope scope)
{
    const struct context *c = q->context;

    if (scope == QP_INSTANCE)
        return c->host->arena;
    if (!c->conn)
        return c->command; /* outside of a session: as long as the call */
    return scope == QP_TRANSACTION ? c->txn->arena : c->conn->arena;
}

void *
qp_alloc(struct qp *q, enum qp_scope scope, size_t n)
{
    return arena_alloc(scope_arena(q, scope), n);
}

char *
qp_strdup(struct qp *q, enum qp_scope scope, const char *text)
{
    return arena_dup(scope_arena(q, scope), str_of(text));
}

char *
qp_printf(struct qp *q, enum qp_scope scope, const char *format, ...)
{
    va_list ap;
    char *text;

    va_start(ap, format);
    text = arena_vprintf(scope_arena(q, scope), format, ap);
    va_end(ap);
    return text;
}

void
qp_at_end(struct qp *q, enum qp_scope scope, void (*fn)(void *data), void *data)
{
    arena_at_reset(scope_arena(q, scope), fn, data);
}

void
qp_instance_set(struct qp *q, void *data)
{
    q->instance->data = data;
}

const void *
qp_instance(struct qp *q)
{
    return q->instance->data;
}

/* Notes and states share a map per scope; a state's key cannot be a note's name: it has a NUL in
 * front. */
static struct map *
notes(struct qp *q, enum qp_scope scope)
{
    assert(scope != QP_INSTANCE && q->context->conn);
    return scope == QP_TRANSACTION ? q->context->txn->notes : q->context->conn->notes;
}

void *
qp_state(struct qp *q, enum qp_scope scope, size_t size)
{
    char key[1 + sizeof q->instance->index] = {0};
    struct map *m = notes(q, scope);
    void *state;

    memcpy(key + 1, &q->instance->index, sizeof q->instance->index);
    state = map_get(m, (struct str){key, sizeof key});
    if (!state) {
        state = qp_alloc(q, scope, size);
        map_set(m, (struct str){key, sizeof key}, state);
    }
    return state;
}

const char *
qp_note(struct qp *q, enum qp_scope scope, const char *name)
{
    return map_get(notes(q, scope), str_of(name));
}

void
qp_note_set(struct qp *q, enum qp_scope scope, const char *name, const char *text)
{
    struct map *m = notes(q, scope);
    char *before = map_get(m, str_of(name));
    size_t n = text ? strlen(text) : 0;

    if (before && text && n <= strlen(before)) /* a client may make a plugin count for ever */
        memmove(before, text, n + 1);
    else
        map_set(m, str_of(name), text ? qp_strdup(q, scope, text) : NULL);
}

bool
qp_note_true(struct qp *q, enum qp_scope scope, const char *name)
{
    const char *text = qp_note(q, scope, name);

    return text && *text && strcmp(text, "0") != 0;
}

int
qp_note_int(struct qp *q, enum qp_scope scope, const char *name)
{
    const char *text = qp_note(q, scope, name);
    long n = text ? strtol(text, NULL, 10) : 0;

    return n > 1000000000 ? 1000000000 : n < -1000000000 ? -1000000000 : (int)n;
}

int
qp_note_add(struct qp *q, enum qp_scope scope, const char *name, int add)
{
    int n = qp_note_int(q, scope, name) + add;
    char text[16];

    snprintf(text, sizeof text, "%d", n);
    qp_note_set(q, scope, name, text);
    return n;
}

static enum qp_rc
result_at(const struct host *h, size_t i, enum hook hook)
{
    uint8_t kept = h->results[i * HOOK_COUNT + hook];

    return kept ? (enum qp_rc)(kept + RESULT_NONE) : (enum qp_rc)0;
}

enum qp_rc
qp_result_of(struct qp *q, const char *plugin, const char *hook)
{
    const struct host *h = q->context->host;
    enum hook found = hook_find(hook);

    for (size_t i = 0; found != HOOK_NONE && i < h->n; i++)
        if (strcmp(h->instances[i]->name, plugin) == 0)
            return result_at(h, i, found);
    return (enum qp_rc)0;
}

/* ---- identity and log ---- */

const char *
qp_plugin_name(struct qp *q)
{
    return q->instance->name;
}

const char *
qp_hook_name(struct qp *q)
{
    return hook_name(q->hook);
}

const char *
qp_session_id(struct qp *q)
{
    return q->context->conn ? q->context->conn->id : "";
}

const char *
qp_transaction_id(struct qp *q)
{
    const struct context *c = q->context;

    return c->conn ? arena_printf(c->command, "%s.%u", c->conn->id, c->txn->number) : "";
}

const char *
qp_me(struct qp *q)
{
    return q->context->me;
}

const char *
qp_version(void)
{
    return QPSMTPD_VERSION;
}

void
qp_log(struct qp *q, enum qp_log_level level, const char *format, ...)
{
    va_list ap;

    (void)q; /* session, plugin and hook are the logger's context already */
    if (!log_wants((enum log_level)level))
        return;
    va_start(ap, format);
    log_vwrite((enum log_level)level, format, ap);
    va_end(ap);
}

void
qp_logging_wants(struct qp *q, enum qp_log_level level)
{
    q->instance->log_wants = (enum log_level)level;
}
