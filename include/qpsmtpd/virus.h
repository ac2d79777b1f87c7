/*
 * qpsmtpd/virus.h - what scanners do with what they have found
 *
 *     qp_virus_begin(q);
 *     ...
 *     return qp_virus_found(q, &c->virus, names);     or qp_virus_unscanned(q, &c->virus)
 */
#ifndef QPSMTPD_VIRUS_H
#define QPSMTPD_VIRUS_H

#include <string.h>
#include <strings.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

enum qp_virus_action { QP_VIRUS_REJECT, QP_VIRUS_ADD_HEADER, QP_VIRUS_DEFER };
#define QP_VIRUS_ACTIONS "reject add-header defer"

/* What the administrator wants. */
struct qp_virus {
    int action;       /* of enum qp_virus_action, with a message that has a virus */
    bool let_pass;    /* a message that cannot be scanned; otherwise it is put off */
    const char *text; /* of the reply, in front of the name: "Virus Found" */
    bool prepend;     /* fields go above the others, not below them */
};

#define QP_VIRUS_NAMES_MAX  200 /* bytes of names in replies, notes and log */
#define QP_VIRUS_HEADER_MAX 60  /* and in the header (r356) */

/* What is in the header already does not come from a scanner here. Once for a message, so that several
 * scanners do not take each other's fields away. */
static inline void
qp_virus_begin(struct qp *q)
{
    if (qp_note_true(q, QP_TRANSACTION, "virus_scan"))
        return;
    qp_note_set(q, QP_TRANSACTION, "virus_scan", "1");
    qp_header_delete_begin(q, "X-Virus-");
}

/*
 * qp_virus_skip - is the message none that is to be scanned? Then that is logged.
 *
 * max_size  bytes; 0: any
 * scan_all  false: only Content-Type: multipart/..., as others can carry no attachment
 */
static inline bool
qp_virus_skip(struct qp *q, uint64_t max_size, bool scan_all)
{
    const char *type = qp_header_get(q, "Content-Type", 0);
    uint64_t size = qp_message_size(q);

    if (max_size > 0 && size > max_size)
        qp_log(q, QP_LOG_NOTICE, "skip, message larger than max_size size=%llu",
            (unsigned long long)size);
    else if (!scan_all && (!type || strncasecmp(type, "multipart/", strlen("multipart/")) != 0))
        qp_log(q, QP_LOG_INFO, "skip, no multipart message");
    else
        return false;
    return true;
}

/*
 * qp_virus_found - the message has a virus
 *
 * names    as the scanner tells them: cut, and what is not printable becomes '?'. Kept in the notes
 *          virus and, as Yes, virus_flag of the transaction; karma is one less
 * returns  the result to return
 */
static inline enum qp_rc
qp_virus_found(struct qp *q, const struct qp_virus *v, const char *names)
{
    char *text =
        qp_printf(q, QP_TRANSACTION, "%.*s", QP_VIRUS_NAMES_MAX, *names ? names : "unknown");

    for (char *p = text; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    qp_note_set(q, QP_TRANSACTION, "virus", text);
    qp_note_set(q, QP_TRANSACTION, "virus_flag", "Yes");
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    qp_log(q, QP_LOG_NOTICE, "fail, virus found names=\"%s\" sender=%s", text,
        qp_sender(q) ? qp_sender(q)->format : "");
    if (v->action == QP_VIRUS_REJECT)
        return qp_deny(q, "%s: %s", v->text, text);
    if (v->action == QP_VIRUS_DEFER)
        return qp_denysoft(q, "%s: %s", v->text, text);
    text[strnlen(text, QP_VIRUS_HEADER_MAX)] = '\0';
    if (v->prepend) {
        qp_header_prepend(q, "X-Virus-Details", text);
        qp_header_prepend(q, "X-Virus-Found", "Yes");
    } else {
        qp_header_add(q, "X-Virus-Found", "Yes");
        qp_header_add(q, "X-Virus-Details", text);
    }
    return QP_DECLINED;
}

/* qp_virus_unscanned - the scanner failed, and why was logged */
static inline enum qp_rc
qp_virus_unscanned(struct qp *q, const struct qp_virus *v)
{
    if (v->let_pass)
        return QP_DECLINED;
    return qp_denysoft(q, "Unable to scan for viruses");
}

#endif
