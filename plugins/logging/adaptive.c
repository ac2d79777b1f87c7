/*
 * logging/adaptive - the log on standard error, accepted messages marked
 *
 *   logging file:  logging/adaptive [accept LEVEL] [reject LEVEL] [prefix WORD]
 *     reject       lines up to this level are written at once; default warn
 *     accept       lines up to this level are written once more, marked, when the message was
 *                  queued and nothing was refused in its transaction; default error
 *     prefix       the mark, default ` (a backquote)
 *   hook logging:  `PID SESSION (HOOK) PLUGIN: TEXT`, marked `PID WORD SESSION …`; QP_DECLINED
 *
 * From 1.00; the mark stands right after the process id, so that multilog(8) can select by it.
 * There, one refusal silenced the process for ever, and a transaction without a message counted as
 * accepted.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

#define REMEMBER_MAX 65536 /* bytes of one transaction: RCPT may come by the thousand */

struct conf {
    enum qp_log_level accept, reject;
    const char *prefix;
};

struct line {
    struct line *next;
    struct qp_log_event event;
};

struct txn {
    struct line *first, **last;
    size_t bytes;
    bool refused, queued;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *accept = "error", *reject = "warn";

    c->prefix = "`";
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{"accept", .text = &accept}, {"reject", .text = &reject},
                {"prefix", .text = &c->prefix}, {0}}) ||
        !qp_arg_level(q, accept, &c->accept) || !qp_arg_level(q, reject, &c->reject))
        return false;
    qp_logging_wants(q, c->accept > c->reject ? c->accept : c->reject);
    return true;
}

/* The event is gone after the call: keep a copy of all its texts. */
static void
remember(struct qp *q, struct txn *t, const struct qp_log_event *event)
{
    struct line *line;

    t->bytes += sizeof *line + strlen(event->text);
    if (t->bytes > REMEMBER_MAX)
        return;
    line = qp_alloc(q, QP_TRANSACTION, sizeof *line);
    line->event = *event;
    line->event.session = NULL; /* qp_session_id() tells it */
    if (event->hook)
        line->event.hook = qp_strdup(q, QP_TRANSACTION, event->hook);
    if (event->plugin)
        line->event.plugin = qp_strdup(q, QP_TRANSACTION, event->plugin);
    line->event.text = qp_strdup(q, QP_TRANSACTION, event->text);
    if (!t->first)
        t->last = &t->first;
    *t->last = line;
    t->last = &line->next;
}

static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    const struct conf *c = qp_instance(q);
    char front[32];

    if (event->level <= c->reject)
        qp_log_write(STDERR_FILENO, qp_log_front(front, event), event);
    if (event->level <= c->accept && event->session)
        remember(q, qp_state(q, QP_TRANSACTION, sizeof(struct txn)), event);
    return QP_DECLINED;
}

static enum qp_rc
on_deny(struct qp *q, const struct qp_verdict *v)
{
    struct txn *t = qp_state(q, QP_TRANSACTION, sizeof *t);

    (void)v;
    t->refused = true;
    return QP_DECLINED;
}

static enum qp_rc
on_ok(struct qp *q, const struct qp_verdict *v)
{
    struct txn *t = qp_state(q, QP_TRANSACTION, sizeof *t);

    if (v->rc == QP_OK && strcmp(v->hook, "queue") == 0)
        t->queued = true;
    return QP_DECLINED;
}

static enum qp_rc
on_reset_transaction(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const struct txn *t = qp_state(q, QP_TRANSACTION, sizeof *t);
    char front[128];

    if (!t->queued || t->refused)
        return QP_DECLINED;
    snprintf(front, sizeof front, "%ld %s %s", (long)getpid(), c->prefix, qp_session_id(q));
    for (const struct line *line = t->first; line; line = line->next)
        qp_log_write(STDERR_FILENO, front, &line->event);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "logging/adaptive", .init = on_init, .logging = on_logging, .deny = on_deny,
    .ok = on_ok, .reset_transaction = on_reset_transaction);
