/*
 * qpsmtpd/reject.h - the arguments `reject` and `reject_type` of qpsmtpd 1.00
 *
 *     struct conf {
 *         struct qp_reject reject;
 *     };
 *
 *     c->reject = QP_REJECT_DEFAULT;
 *     return qp_args(q, argc, argv, (const struct qp_arg[]){QP_REJECT_ARGS(&c->reject), {0}});
 *     ...
 *     return qp_reject(q, &c->reject, "You are not localhost");
 */
#ifndef QPSMTPD_REJECT_H
#define QPSMTPD_REJECT_H

#include <string.h>

#include <qpsmtpd/plugin.h>

enum qp_reject_policy {
    QP_REJECT_NO,      /* reject 0: log it, let it pass */
    QP_REJECT_YES,     /* reject 1: refuse here and now */
    QP_REJECT_NAUGHTY, /* reject naughty: remember it; the plugin naughty refuses later */
};

struct qp_reject {
    int policy;      /* of enum qp_reject_policy */
    enum qp_rc type; /* what reject_type said */
};

#define QP_REJECT_DEFAULT ((struct qp_reject){.policy = QP_REJECT_YES, .type = QP_DENY})

/* Two entries of the table for qp_args(). r: struct qp_reject *, holding the defaults. */
/* clang-format off */
#define QP_REJECT_ARGS(r)                                                                          \
    {.name = "reject", .choice = &(r)->policy, .choices = "0 1 naughty"},                          \
    {.name = "reject_type", .reject_type = &(r)->type}
/* clang-format on */

/* So much of the note naughty is kept: a client must not grow it by failing again and again. */
#define QP_NAUGHTY_MAX 1000

/*
 * qp_naughty_add - remember a reason to refuse this connection later
 *
 * The note naughty gets "(PLUGIN) text", one line for each different reason. The note
 * naughty_reject_type gets the type of the first one, in words that qp_rc_parse() reads, when the plugin
 * has the argument reject_type, or when it is temporary, which must not become permanent; otherwise the
 * plugin naughty says what it is.
 */
static inline void
qp_naughty_add(struct qp *q, enum qp_rc type, const char *text)
{
    const char *before = qp_note(q, QP_CONNECTION, "naughty");
    const char *line = qp_printf(q, QP_TRANSACTION, "(%s) %s", qp_plugin_name(q), text);
    const char *word = type == QP_DENYSOFT              ? "DENYSOFT"
                       : type == QP_DENYSOFT_DISCONNECT ? "DENYSOFT_DISCONNECT"
                       : !qp_reject_type_given(q)       ? NULL
                       : type == QP_DENY_DISCONNECT     ? "DENY_DISCONNECT"
                                                        : "DENY";

    if (!qp_note_true(q, QP_CONNECTION, "naughty")) {
        qp_note_set(q, QP_CONNECTION, "naughty", line);
        qp_note_set(q, QP_CONNECTION, "naughty_reject_type", word);
    } else if (strlen(before) < QP_NAUGHTY_MAX && strstr(before, line) == NULL) {
        qp_note_set(
            q, QP_CONNECTION, "naughty", qp_printf(q, QP_TRANSACTION, "%s\n%s", before, line));
    }
}

/*
 * qp_naughty_forget - take back what this plugin has said: it concerned a sender, who is gone
 *
 * Its lines go from the note naughty; the last one takes naughty_reject_type along. What goes leaves its
 * memory behind until the connection ends: not for as often as a client likes.
 */
static inline void
qp_naughty_forget(struct qp *q)
{
    const char *note = qp_note(q, QP_CONNECTION, "naughty"), *rest = "", *end;
    const char *mine = qp_printf(q, QP_TRANSACTION, "(%s) ", qp_plugin_name(q));

    if (note == NULL || strstr(note, mine) == NULL)
        return;
    for (; *note; note = end + (*end == '\n')) {
        end = strchrnul(note, '\n');
        if (strncmp(note, mine, strlen(mine)) != 0)
            rest = qp_printf(
                q, QP_TRANSACTION, "%s%s%.*s", rest, *rest ? "\n" : "", (int)(end - note), note);
    }
    qp_note_set(q, QP_CONNECTION, "naughty", *rest ? rest : NULL);
    if (!*rest)
        qp_note_set(q, QP_CONNECTION, "naughty_reject_type", NULL);
}

/*
 * qp_reject - refuse as the administrator wants it (1.00 get_reject)
 *
 * text     for the client, and for the log when the failure is let pass; NULL: the default of the
 * hook returns  the result to return: reject_type, or QP_DECLINED
 */
static inline enum qp_rc
qp_reject(struct qp *q, const struct qp_reject *r, const char *text)
{
    if (text == NULL)
        text = "";
    if (r->policy == QP_REJECT_YES)
        return qp_result(q, r->type, "%s", text);
    if (r->policy == QP_REJECT_NAUGHTY)
        qp_naughty_add(q, r->type, text);
    qp_log(q, QP_LOG_INFO, "fail, tolerated reason=\"%s\"", text);
    return QP_DECLINED;
}

#endif
