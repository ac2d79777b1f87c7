#include "plugin/hooks.h"

#include <stdio.h>
#include <strings.h>

#include "base/clock.h"
#include "plugin/instance.h"

static const char *const names[] = {
#define X(constant, member, name, shape) [HOOK_##constant] = name,
    HOOK_LIST(X)
#undef X
        [HOOK_NONE] = "",
};

const char *
hook_name(enum hook hook)
{
    return names[hook];
}

enum hook
hook_find(const char *name)
{
    for (int h = 0; h < HOOK_COUNT; h++)
        if (strcasecmp(name, names[h]) == 0)
            return (enum hook)h;
    return HOOK_NONE;
}

bool
hook_used(const struct host *h, enum hook hook)
{
    return h->chains[hook].n > 0;
}

static const char *
rc_name(enum qp_rc rc)
{
    switch (rc) {
    case QP_OK:
        return "OK";
    case QP_DENY:
        return "DENY";
    case QP_DENYSOFT:
        return "DENYSOFT";
    case QP_DENY_DISCONNECT:
        return "DENY_DISCONNECT";
    case QP_DENYSOFT_DISCONNECT:
        return "DENYSOFT_DISCONNECT";
    case QP_DECLINED:
        return "DECLINED";
    case QP_DONE:
        return "DONE";
    }
    return NULL; /* a plugin may return any number */
}

static bool
is_deny(enum qp_rc rc)
{
    return rc >= QP_DENY && rc <= QP_DENYSOFT_DISCONNECT;
}

/* ---- one call ---- */

#define CALL_NONE(fn)    fn(q)
#define CALL_TEXT(fn)    fn(q, a->text)
#define CALL_ADDRESS(fn) fn(q, a->address)
#define CALL_PARSE(fn)   fn(q, a->text, a->parsed)
#define CALL_VERB(fn)    fn(q, a->text, a->rest)
#define CALL_VERDICT(fn) fn(q, a->verdict)
#define CALL_USER(fn)    fn(q, a->address, a->text)
#define CALL_EVENT(fn)   fn(q, a->event)
#define CALL_AUTH(fn)    fn(q, a->auth)
#define CALL_OFFER(fn)   fn(q, a->offer)

static enum qp_rc
invoke(struct qp *q, const struct hook_args *a)
{
    const struct qp_plugin *p = &q->instance->plugin;

    switch (q->hook) {
#define X(constant, member, name, shape)                                                           \
    case HOOK_##constant:                                                                          \
        return CALL_##shape(p->member);
        HOOK_LIST(X)
#undef X
    case HOOK_NONE:
        break;
    }
    return QP_DECLINED;
}

static void
note_hook(struct activity *a, const char *name)
{
    size_t n = strnlen(name, sizeof a->hook - 1);

    memcpy(a->hook, name, n);
    a->hook[n] = '\0';
}

/* What the listener reads when this process has died. Before and behind each handler: no formatting. */
static void
note_activity(struct host *h, const struct instance *instance, enum hook hook)
{
    struct activity *a = h->activity;

    if (!a)
        return;
    if (instance)
        memcpy(a->plugin, instance->activity_name, sizeof a->plugin);
    else
        a->plugin[0] = '\0';
    note_hook(a, hook != HOOK_NONE ? names[hook] : instance ? "init" : "");
    a->since_ms = clock_ms();
}

void
hooks_enter(struct host *h, struct instance *instance, enum hook hook)
{
    h->running = instance;
    h->running_hook = hook;
    log_plugin_set(instance->name, hook == HOOK_NONE ? NULL : names[hook]);
    log_shift_set(instance->log_absolute, instance->log_shift);
    note_activity(h, instance, hook);
}

void
hooks_leave(struct host *h, struct instance *before, enum hook hook_before)
{
    if (before) {
        hooks_enter(h, before, hook_before);
        return;
    }
    h->running = NULL;
    h->running_hook = HOOK_NONE;
    log_plugin_set(NULL, NULL);
    note_activity(h, NULL, HOOK_NONE);
}

/* ---- what follows a call ---- */

/* Tell the hooks `deny` and `ok`; they run without being watched themselves. */
static void
tell(struct context *c, enum hook hook, enum hook about, const struct instance *instance,
    struct hook_result *r)
{
    struct qp_verdict v = {instance->name, names[about], r->rc, r->text};
    struct hook_args args = {.verdict = &v};

    if (hook_used(c->host, hook) && hook_run(c, hook, &args).disconnect)
        r->disconnect = true;
}

static bool
is_watched(enum hook hook)
{
    switch (hook) {
    case HOOK_DENY:
    case HOOK_OK:
    case HOOK_CONFIG:
    case HOOK_USER_CONFIG:
    case HOOK_LOGGING:
        return false;
    default:
        return true;
    }
}

static void
follow_up(struct context *c, enum hook hook, const struct hook_args *args,
    const struct instance *instance, struct hook_result *r)
{
    struct host *h = c->host;
    bool secret = hook == HOOK_AUTH_PARSE; /* a password may stand there */
    const char *about = args->address           ? args->address->format
                        : args->text && !secret ? args->text
                                                : "-";

    h->results[instance->index * HOOK_COUNT + hook] = (uint8_t)(r->rc - RESULT_NONE);
    if (is_deny(r->rc)) {
        log_at(LOG_LEVEL_NOTICE, "refused: hook=%s result=%s about=%s text=%s", names[hook],
            rc_name(r->rc), about, r->text);
        tell(c, HOOK_DENY, hook, instance, r);
    } else {
        log_at(LOG_LEVEL_DEBUG, "result: hook=%s result=%s", names[hook], rc_name(r->rc));
        tell(c, HOOK_OK, hook, instance, r);
    }
}

/* It would not have refused if a list that cannot be read has the client: not for good, then. */
static void
soften(struct hook_result *r)
{
    if (r->rc == QP_DENY)
        r->rc = QP_DENYSOFT;
    else if (r->rc == QP_DENY_DISCONNECT)
        r->rc = QP_DENYSOFT_DISCONNECT;
    if (r->code >= 500) {
        r->code = 0; /* the hook's own */
        r->enhanced = NULL;
    }
}

struct hook_result
hook_run(struct context *c, enum hook hook, const struct hook_args *args)
{
    static const struct hook_args none = {0};
    struct host *h = c->host;
    const struct chain *chain = &h->chains[hook];
    struct instance *before = h->running;
    enum hook hook_before = h->running_hook;
    struct hook_result result = {.rc = QP_DECLINED, .text = ""};

    args = args ? args : &none;
    if (!before)
        h->dns_waited_ms = 0;
    for (size_t i = 0; i < chain->n && result.rc == QP_DECLINED; i++) {
        struct hook_result one = {.text = "", .disconnect = result.disconnect};
        struct qp q = {c, chain->handler[i], hook, &one, NULL, args->answer};
        const char *last_text = result.text;

        if (is_watched(hook))
            log_at(LOG_LEVEL_DEBUG, "running plugin (%s): %s", names[hook], q.instance->name);
        hooks_enter(h, q.instance, hook);
        one.rc = invoke(&q, args);
        if (one.doubtful)
            soften(&one);
        result.disconnect = one.disconnect; /* whoever decides: it stays asked for */
        if (!is_deny(one.rc))
            one.code = 0; /* of a qp_deny_code() that was thought better of */
        if (!rc_name(one.rc)) {
            log_at(LOG_LEVEL_ERROR, "returned %d, which is no result: skipped", (int)one.rc);
            hooks_leave(h, before, hook_before);
            continue;
        }
        if (is_watched(hook))
            follow_up(c, hook, args, q.instance, &one);
        hooks_leave(h, before, hook_before);
        result = one;
        result.plugin = one.rc == QP_DECLINED ? NULL : q.instance->name;
        if (!*one.text && one.rc == QP_DECLINED)
            result.text = last_text;
    }
    return result;
}

/* ---- sessions ---- */

void
hook_session(struct host *h, struct context *c)
{
    h->session = c;
    if (h->activity) {
        snprintf(h->activity->session, sizeof h->activity->session, "%s", c ? c->conn->id : "");
        h->activity->encrypted = 0;
    }
    memset(h->results, 0, h->n * HOOK_COUNT * sizeof *h->results);
}

void
hook_transaction(struct host *h)
{
    for (size_t i = 0; i < h->n; i++)
        memset(h->results + i * HOOK_COUNT + HOOK_MAIL_PARSE, 0,
            (HOOK_QUEUE_POST - HOOK_MAIL_PARSE + 1) * sizeof *h->results);
}

/* ---- configuration ---- */

bool
hook_config_answer(struct context *c, const char *name, struct config_value *out)
{
    struct host *h = c->host;
    struct config_lines answer = {.arena = c->command};
    struct hook_result r;

    if (!hook_used(h, HOOK_CONFIG) || h->configuring)
        return false;
    h->configuring = true;
    r = hook_run(c, HOOK_CONFIG, &(struct hook_args){.text = name, .answer = &answer});
    h->configuring = false;
    *out = (struct config_value){answer.line, answer.n};
    return r.rc == QP_OK;
}

enum config_status
hook_config(struct context *c, const char *name, struct config_value *out, struct err *e)
{
    return hook_config_answer(c, name, out) ? CONFIG_OK : config_get(c->config, name, out, e);
}

/* ---- logging ---- */

static bool
log_to_plugins(void *data, const struct log_event *event)
{
    struct host *h = data;
    struct qp_log_event told = {
        (enum qp_log_level)event->level, event->session, event->hook, event->plugin, event->text};
    struct hook_args args = {.event = &told};

    for (size_t i = 0; i < h->chains[HOOK_LOGGING].n; i++) {
        struct instance *instance = h->chains[HOOK_LOGGING].handler[i];
        struct hook_result ignored = {.rc = QP_DECLINED, .text = ""};
        struct qp q = {
            h->session ? h->session : &h->idle, instance, HOOK_LOGGING, &ignored, NULL, NULL};

        if (event->level <= instance->log_wants && invoke(&q, &args) != QP_DECLINED)
            break;
    }
    if (!h->session)
        arena_reset(h->scratch);
    return true; /* any logging plugin replaces the built-in output (qpsmtpd 1.00) */
}

void
host_log_attach(struct host *h)
{
    enum log_level wants = LOG_LEVEL_EMERG;

    if (!hook_used(h, HOOK_LOGGING))
        return;
    for (size_t i = 0; i < h->chains[HOOK_LOGGING].n; i++)
        if (h->chains[HOOK_LOGGING].handler[i]->log_wants > wants)
            wants = h->chains[HOOK_LOGGING].handler[i]->log_wants;
    log_sink_set(log_to_plugins, h, wants);
}

void
hooks_log_detach(struct host *h)
{
    if (hook_used(h, HOOK_LOGGING))
        log_sink_set(NULL, h, LOG_LEVEL_EMERG);
}
