/*
 * queue/exim-bsmtp - hand the message to Exim as batched SMTP
 *
 *   plugins file: queue/exim-bsmtp [exim_path PATH] [timeout DURATION]
 *     exim_path   absolute, default /usr/sbin/rsmtp; it is run as PATH -bS
 *     timeout     1s..1d, default 300s: for all of it
 *   hook queue:   QP_OK "Queued! <message-id>" when it has read all, says no refusal, and exits with 0
 *                 554 or 451 and its text, by the code of the first line "NNN text" with 400..599
 *                 451 "Internal error enqueuing mail": it cannot be run, crashed, hung or failed without
 *                 a code
 *
 * The user of this server has to be one of Exim's trusted_users, or the senders are lost.
 * Source: 1.00
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>

#include "exim-bsmtp.parts/answer.h"
#include "exim-bsmtp.parts/stuffing.h"
#include "program.parts/program.h"

#define TIMEOUT_MS 300000
#define BLOCK      32768

struct conf {
    const char *path;
    int64_t timeout_ms;
};

/* ---- the batch ---- */

static bool
say(struct program *p, const char *text)
{
    return program_write(p, p->in, text, strlen(text));
}

static bool
write_envelope(struct qp *q, struct program *p)
{
    const char *me = qp_me(q);

    if (!say(p, qp_printf(q, QP_TRANSACTION, "HELO %s\nMAIL FROM:%s\n", me, qp_sender(q)->format)))
        return false;
    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        if (!say(p, qp_printf(q, QP_TRANSACTION, "RCPT TO:%s\n", qp_rcpt(q, i)->format)))
            return false;
    return say(p, "DATA\n");
}

static bool
write_message(struct qp *q, struct program *p)
{
    char block[BLOCK], wire[2 * BLOCK];
    struct stuffing s = STUFFING_BEGIN;
    uint64_t at = 0;
    ptrdiff_t n;

    while ((n = qp_message_read(q, at, block, sizeof block)) > 0) {
        if (!program_write(p, p->in, wire, stuffing_put(&s, block, (size_t)n, wire)))
            return false;
        at += (uint64_t)n;
    }
    return n == 0 && (s.line_start || say(p, "\n"));
}

/* ---- what comes of it ---- */

static enum qp_rc
internal_error(struct qp *q, const char *why)
{
    qp_log(q, QP_LOG_ERROR, "not queued reason=\"%s\"", why);
    return qp_denysoft(q, "Internal error enqueuing mail");
}

/* The first failure decides: what Exim said is worth more than how it ended. */
static enum qp_rc
judge(struct qp *q, const struct program *p, int status, int trouble)
{
    const char *id = qp_message_id(q);
    struct answer answer;

    qp_log(q, QP_LOG_INFO, "ended pid=%ld status=0x%04x write=\"%s\" output=\"%s\"", (long)p->pid,
        (unsigned)status & 0xffff, trouble ? strerror(trouble) : "complete", program_line(q, p));
    if (answer_parse(p->output, p->n, &answer)) {
        qp_log(q, QP_LOG_NOTICE, "refused code=%d text=\"%s\"", answer.code, answer.text);
        return answer.code < 500 ? qp_denysoft(q, "%s", answer.text)
                                 : qp_deny(q, "%s", answer.text);
    }
    if (trouble || status != 0 || p->unread > 0)
        return internal_error(q, trouble               ? strerror(trouble)
                                 : status < 0          ? "it did not end in time"
                                 : WIFSIGNALED(status) ? "killed by a signal"
                                 : status != 0         ? "exit code, without a word of why"
                                                       : "it has not read everything");
    qp_log(q, QP_LOG_NOTICE, "queued id=%s", id);
    return qp_ok(q, "Queued!%s%s", *id ? " " : "", id);
}

/* ---- handlers ---- */

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    c->path = "/usr/sbin/rsmtp";
    c->timeout_ms = TIMEOUT_MS;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "exim_path", .text = &c->path},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 86400}, {0}}))
        return false;
    if (c->path[0] != '/')
        return qp_fail(q, "exim_path %s: want an absolute path", c->path);
    if (access(c->path, X_OK) < 0)
        return qp_fail(q, "exim_path: cannot run %s: %s", c->path, strerror(errno));
    return true;
}

static enum qp_rc
on_queue(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct program p;
    int trouble = 0, status;

    if (!program_start(q, &p, (const char *const[]){c->path, "-bS", NULL}, -1, c->timeout_ms))
        return internal_error(q, strerror(errno));
    if (!write_envelope(q, &p) || !write_message(q, &p) || !say(&p, ".\nQUIT\n"))
        trouble = errno;
    /* EPIPE: it has ended, and may have said why. All else must not look like the end of a batch. */
    status = trouble == 0 || trouble == EPIPE ? program_end(q, &p) : program_kill(q, &p);
    return judge(q, &p, status, trouble);
}

QP_PLUGIN(.name = "queue/exim-bsmtp", .init = on_init, .queue = on_queue);
