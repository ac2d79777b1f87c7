/*
 * What a handler says besides its return value: <qpsmtpd/plugin.h>, "results", and init's
 * complaints.
 */
#include <qpsmtpd/plugin.h>

#include <assert.h>
#include <stdio.h>

#include "plugin/instance.h"

#define TEXT_MAX 4096 /* bytes of one reply's text; a plugin has no business saying more */

static __attribute__((format(printf, 3, 0))) enum qp_rc
say(struct qp *q, enum qp_rc rc, const char *format, va_list ap)
{
    char *text;

    if (!format || !*format)
        return rc;
    text = arena_vprintf(q->context->command, format, ap);
    if (strlen(text) > TEXT_MAX)
        text[TEXT_MAX] = '\0';
    q->result->text = text;
    return rc;
}

/* clang-format off: seven functions of one shape, told apart at a glance */
#define SAY(rc)                                                                                    \
    va_list ap;                                                                                    \
    enum qp_rc result;                                                                             \
    va_start(ap, format);                                                                          \
    result = say(q, rc, format, ap);                                                               \
    va_end(ap);                                                                                    \
    return result

enum qp_rc
qp_ok(struct qp *q, const char *format, ...)
{
    SAY(QP_OK);
}
enum qp_rc
qp_deny(struct qp *q, const char *format, ...)
{
    SAY(QP_DENY);
}
enum qp_rc
qp_denysoft(struct qp *q, const char *format, ...)
{
    SAY(QP_DENYSOFT);
}
enum qp_rc
qp_deny_disconnect(struct qp *q, const char *format, ...)
{
    SAY(QP_DENY_DISCONNECT);
}
enum qp_rc
qp_denysoft_disconnect(struct qp *q, const char *format, ...)
{
    SAY(QP_DENYSOFT_DISCONNECT);
}
enum qp_rc
qp_declined(struct qp *q, const char *format, ...)
{
    SAY(QP_DECLINED);
}
enum qp_rc
qp_result(struct qp *q, enum qp_rc rc, const char *format, ...)
{
    SAY(rc);
}
/* clang-format on */

enum qp_rc
qp_deny_code(struct qp *q, int code, const char *enhanced, const char *format, ...)
{
    va_list ap;

    assert(code >= 400 && code <= 599); /* a bug of the plugin, told by its name in the log */
    q->result->code = code;
    q->result->enhanced = arena_dup(q->context->command, str_of(enhanced));
    va_start(ap, format);
    say(q, QP_DENY, format, ap);
    va_end(ap);
    return code < 500 ? QP_DENYSOFT : QP_DENY;
}

void
qp_respond(struct qp *q, int code, const char *format, ...)
{
    struct hook_reply *reply = arena_alloc(q->context->command, sizeof *reply), **last;
    va_list ap;

    assert(code >= 200 && code <= 599);
    va_start(ap, format);
    reply->text = arena_vprintf(q->context->command, format, ap);
    va_end(ap);
    reply->code = code;
    for (last = &q->result->replies; *last; last = &(*last)->next)
        ;
    *last = reply;
}

void
qp_disconnect(struct qp *q)
{
    q->result->disconnect = true;
}

/* ---- init's complaints ---- */

bool
qp_fail(struct qp *q, const char *format, ...)
{
    char text[sizeof q->failure->err.text];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (!q->failure) { /* not in init: nothing to stop any more */
        log_at(LOG_LEVEL_ERROR, "%s", text);
        return false;
    }
    if (!*q->failure->err.text) /* the first reason is the cause of the others */
        err_set(&q->failure->err, "%s", text);
    return false;
}

bool
qp_fail_at(struct qp *q, const struct qp_line *line, const char *format, ...)
{
    char text[sizeof q->failure->err.text];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (!q->failure) {
        log_at(LOG_LEVEL_ERROR, "%s:%u: %s", line->file, line->number, text);
        return false;
    }
    if (!*q->failure->err.text) {
        err_set(
            &q->failure->err, "%s:%u: %s: %s", line->file, line->number, q->instance->name, text);
        q->failure->placed = true;
    }
    return false;
}
