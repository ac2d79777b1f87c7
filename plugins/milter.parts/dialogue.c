#include "dialogue.h"

#include <arpa/inet.h>
#include <string.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/clock.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

#define NO_STAGE MILTER_STAGES /* no macros are sent */

static const struct step {
    char letter;
    uint32_t unwanted, quiet; /* bits of the offer; 0: always wanted, always answered */
    enum milter_stage stage;
    const char *where;
} steps[] = {
    [MILTER_STEP_CONNECT] = {MILTER_CONNECT, MILTER_NO_CONNECT, MILTER_QUIET_CONNECT,
        MILTER_AT_CONNECT, "connection"},
    [MILTER_STEP_HELO] = {MILTER_HELO, MILTER_NO_HELO, MILTER_QUIET_HELO, MILTER_AT_HELO, "HELO"},
    [MILTER_STEP_MAIL] = {MILTER_MAIL, MILTER_NO_MAIL, MILTER_QUIET_MAIL, MILTER_AT_MAIL,
        "MAIL FROM"},
    [MILTER_STEP_RCPT] = {MILTER_RCPT, MILTER_NO_RCPT, MILTER_QUIET_RCPT, MILTER_AT_RCPT,
        "RCPT TO"},
    [MILTER_STEP_DATA] = {MILTER_DATA, MILTER_NO_DATA, MILTER_QUIET_DATA, MILTER_AT_DATA, "DATA"},
    [MILTER_STEP_UNKNOWN] = {MILTER_UNKNOWN, MILTER_NO_UNKNOWN, MILTER_QUIET_UNKNOWN, NO_STAGE,
        "unknown command"},
    [MILTER_STEP_HEADER] = {MILTER_HEADER, MILTER_NO_HEADER, MILTER_QUIET_HEADER, NO_STAGE,
        "header"},
    [MILTER_STEP_HEADERS_END] = {MILTER_HEADERS_END, MILTER_NO_HEADERS_END,
        MILTER_QUIET_HEADERS_END, MILTER_AT_HEADERS_END, "end headers"},
    [MILTER_STEP_BODY] = {MILTER_BODY, MILTER_NO_BODY, MILTER_QUIET_BODY, NO_STAGE, "body"},
    [MILTER_STEP_END] = {MILTER_END, 0, 0, MILTER_AT_END, "end of DATA"},
};

const char *
milter_where(struct qp *q, const struct milter *m)
{
    if (m->step == MILTER_STEP_HEADER && m->field)
        return qp_printf(q, QP_TRANSACTION, "header %.100s", m->field);
    return steps[m->step].where;
}

static bool
wants(const struct milter *m, enum milter_step step)
{
    return !(m->talk.agreed.offer.steps & steps[step].unwanted);
}

/* ---- one step ---- */

/* Macros, and the packet of the command begun; false: it broke */
static bool
begin(struct qp *q, struct milter *m, enum milter_step step)
{
    enum milter_stage stage = steps[step].stage;
    struct milter_talk *t = &m->talk;

    m->step = step;
    if (stage != NO_STAGE) {
        const char *list = t->agreed.own_list[stage] ? t->agreed.list[stage] : NULL;

        talk_begin(t, MILTER_MACROS);
        milter_put_number(&t->out, (uint8_t)steps[step].letter, 1);
        if (milter_put_macros(q, &t->out, stage, list, &m->facts) > 0 && !talk_send(t))
            return false;
    }
    talk_begin(t, steps[step].letter);
    return true;
}

/* How long the next answer may take */
static int64_t
patience(const struct milter *m)
{
    return m->step == MILTER_STEP_END ? m->times.end_ms : m->times.read_ms;
}

static enum milter_verdict
broken(struct milter *m, const char *why)
{
    talk_fail(&m->talk, why);
    return MILTER_BROKEN;
}

/* What an answer means that ends a step. */
static enum milter_verdict
judge(struct milter *m, const struct milter_packet *p, struct milter_code *code)
{
    bool connection = m->step == MILTER_STEP_CONNECT || m->step == MILTER_STEP_HELO;

    switch (p->letter) {
    case MILTER_CONTINUE:
        return MILTER_GO_ON;
    case MILTER_ACCEPT:
        return MILTER_PASS;
    case MILTER_REJECT:
        return MILTER_DENY;
    case MILTER_TEMPFAIL:
        return MILTER_DENY_SOFT;
    case MILTER_REPLY_CODE:
        return milter_code_parse(p->name, code) ? MILTER_DENY_CODE
                                                : broken(m, "a reply code that is none");
    case MILTER_SHUTDOWN:
    case MILTER_CONNECTION_FAIL:
        return MILTER_HANG_UP;
    case MILTER_SKIP:
        if (m->step == MILTER_STEP_BODY && (m->talk.agreed.offer.steps & MILTER_CAN_SKIP))
            return MILTER_ENOUGH;
        return broken(m, "an answer that is out of place");
    case MILTER_DISCARD:
        return connection ? broken(m, "a client to be discarded") : MILTER_DROP;
    default:
        return broken(m, "an answer that is out of place");
    }
}

/* Progress restarts the clock of the step, not that of the message; at other steps than its end it may
 * do so as long as the end of a message may take. */
static enum milter_verdict
hear(struct qp *q, struct milter *m, struct milter_code *code)
{
    int64_t until = qp_clock_ms() + m->times.total_ms;
    struct milter_packet p;

    for (;;) {
        const char *wrong = NULL;

        if (qp_clock_ms() >= until)
            return broken(m, "progress without an end");
        if (!talk_read(&m->talk, patience(m), &p))
            return MILTER_BROKEN;
        if (p.letter == MILTER_PROGRESS)
            continue;
        if (m->step != MILTER_STEP_END || !milter_is_edit(p.letter))
            return judge(m, &p, code);
        wrong = milter_edits_take(q, &m->edits, &p);
        if (wrong)
            return broken(m, wrong);
    }
}

/* Send what was begun, and hear what it says, if it says anything. */
static enum milter_verdict
ask(struct qp *q, struct milter *m, struct milter_code *code)
{
    if (!talk_send(&m->talk))
        return MILTER_BROKEN;
    if (m->talk.agreed.offer.steps & steps[m->step].quiet)
        return MILTER_GO_ON;
    return hear(q, m, code);
}

static void
put_text(struct milter *m, const char *text)
{
    milter_put_text(&m->talk.out, text, strlen(text));
}

/* ---- the session ---- */

enum milter_verdict
milter_say_connect(struct qp *q, struct milter *m, struct milter_code *code)
{
    const char *ip = qp_remote_ip(q);
    uint8_t scratch[16];
    char family = inet_pton(AF_INET, ip, scratch) == 1    ? '4'
                  : inet_pton(AF_INET6, ip, scratch) == 1 ? '6'
                                                          : 'U';

    if (!wants(m, MILTER_STEP_CONNECT))
        return MILTER_GO_ON;
    if (!begin(q, m, MILTER_STEP_CONNECT))
        return MILTER_BROKEN;
    put_text(m, qp_remote_host(q));
    milter_put_bytes(&m->talk.out, &family, 1);
    if (family != 'U') {
        milter_put_number(&m->talk.out, (uint64_t)qp_remote_port(q), 2);
        put_text(m, ip);
    }
    return ask(q, m, code);
}

enum milter_verdict
milter_say_helo(struct qp *q, struct milter *m, const char *host, struct milter_code *code)
{
    if (!wants(m, MILTER_STEP_HELO))
        return MILTER_GO_ON;
    m->facts.hello = host;
    if (!begin(q, m, MILTER_STEP_HELO))
        return MILTER_BROKEN;
    m->facts.hello = NULL;
    put_text(m, host);
    return ask(q, m, code);
}

enum milter_verdict
milter_say_unknown(struct qp *q, struct milter *m, const char *line, struct milter_code *code)
{
    if (!wants(m, MILTER_STEP_UNKNOWN))
        return MILTER_GO_ON;
    if (!begin(q, m, MILTER_STEP_UNKNOWN))
        return MILTER_BROKEN;
    put_text(m, line);
    return ask(q, m, code);
}

/* ---- the envelope ---- */

/* The address, and the ESMTP parameters that the engine lets through. */
static void
put_path(struct qp *q, struct milter *m, const struct qp_address *a)
{
    static const char *const params[] = {"SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID",
        "REQUIRETLS", "BY", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY", "NOTIFY", "ORCPT", "RRVS"};

    put_text(m, a->format);
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        const char *value = qp_param(q, params[i]);

        if (value)
            put_text(m, qp_printf(q, QP_TRANSACTION, *value ? "%s=%s" : "%s", params[i], value));
    }
}

enum milter_verdict
milter_say_mail(
    struct qp *q, struct milter *m, const struct qp_address *from, struct milter_code *code)
{
    if (!wants(m, MILTER_STEP_MAIL))
        return MILTER_GO_ON;
    m->facts.sender = from;
    if (!begin(q, m, MILTER_STEP_MAIL))
        return MILTER_BROKEN;
    m->facts.sender = NULL;
    put_path(q, m, from);
    return ask(q, m, code);
}

enum milter_verdict
milter_say_rcpt(struct qp *q, struct milter *m, const struct qp_address *to, const char *refused,
    struct milter_code *code)
{
    enum milter_verdict verdict;
    bool begun;

    if (!wants(m, MILTER_STEP_RCPT) ||
        (refused && !(m->talk.agreed.offer.steps & MILTER_REFUSED_RCPT)))
        return MILTER_GO_ON;
    m->facts.rcpt = to;
    m->facts.refused = refused;
    begun = begin(q, m, MILTER_STEP_RCPT);
    m->facts.rcpt = NULL; /* it does not outlive the command */
    m->facts.refused = NULL;
    if (!begun)
        return MILTER_BROKEN;
    put_path(q, m, to);
    verdict = ask(q, m, code);
    return refused && verdict != MILTER_BROKEN ? MILTER_GO_ON : verdict;
}

enum milter_verdict
milter_say_data(struct qp *q, struct milter *m, struct milter_code *code)
{
    if (!wants(m, MILTER_STEP_DATA))
        return MILTER_GO_ON;
    return begin(q, m, MILTER_STEP_DATA) ? ask(q, m, code) : MILTER_BROKEN;
}

/* ---- the message ---- */

static enum milter_verdict
say_field(
    struct qp *q, struct milter *m, const struct qp_header_line *line, struct milter_code *code)
{
    const char *value = line->value;
    size_t n = line->length;

    /* Sendmail has always left out one blank, not more, not a TAB. */
    if (!(m->talk.agreed.offer.steps & MILTER_LEADING_BLANK) && n > 0 && *value == ' ') {
        value++;
        n--;
    }
    m->field = line->name;
    if (!begin(q, m, MILTER_STEP_HEADER))
        return MILTER_BROKEN;
    if (milter_put_text_cut(&m->talk.out, line->name, strlen(line->name)))
        return broken(m, "a field with a name as long as a packet");
    if (milter_put_text_cut(&m->talk.out, value, n))
        qp_log(q, QP_LOG_NOTICE, "the milter sees the beginning of it only: field=%.100s size=%zu",
            line->name, n);
    return ask(q, m, code);
}

/* Our own Received, the topmost one, is not shown: Sendmail adds its own later, and filters count on
 * that. */
static enum milter_verdict
say_header(struct qp *q, struct milter *m, struct milter_code *code)
{
    size_t hidden = qp_header_line_find(q, "Received", 0);
    enum milter_verdict verdict = MILTER_GO_ON;
    struct qp_header_line line;

    if (!wants(m, MILTER_STEP_HEADER))
        return MILTER_GO_ON;
    for (size_t i = 0; verdict == MILTER_GO_ON && qp_header_line(q, i, &line); i++)
        if (*line.name && i != hidden)
            verdict = say_field(q, m, &line, code);
    return verdict;
}

static enum milter_verdict
say_headers_end(struct qp *q, struct milter *m, struct milter_code *code)
{
    if (!wants(m, MILTER_STEP_HEADERS_END))
        return MILTER_GO_ON;
    return begin(q, m, MILTER_STEP_HEADERS_END) ? ask(q, m, code) : MILTER_BROKEN;
}

/* LF becomes CR LF, so half a packet of ours is at most one of theirs. */
static void
put_lines(struct milter *m, const char *p, size_t n)
{
    while (n > 0) {
        const char *lf = memchr(p, '\n', n);
        size_t until = lf ? (size_t)(lf - p) : n;

        milter_put_bytes(&m->talk.out, p, until);
        if (lf)
            milter_put_bytes(&m->talk.out, "\r\n", 2);
        p += until + (lf != NULL);
        n -= until + (lf != NULL);
    }
}

static enum milter_verdict
say_piece(struct qp *q, struct milter *m, const char *piece, size_t n, struct milter_code *code)
{
    if (!begin(q, m, MILTER_STEP_BODY))
        return MILTER_BROKEN;
    put_lines(m, piece, n);
    return ask(q, m, code);
}

static enum milter_verdict
say_body(struct qp *q, struct milter *m, struct milter_code *code)
{
    static const size_t piece_max = MILTER_DATA_MAX / 2;
    enum milter_verdict verdict = MILTER_GO_ON;
    uint64_t at = 0;
    char *piece;

    if (!wants(m, MILTER_STEP_BODY))
        return MILTER_GO_ON;
    piece = qp_alloc(q, QP_TRANSACTION, piece_max);

    /* The empty line between header and body is neither's. */
    if (qp_body_read(q, 0, piece, 1) == 1 && *piece == '\n')
        at = 1;
    while (verdict == MILTER_GO_ON) {
        ptrdiff_t n = qp_body_read(q, at, piece, piece_max);

        if (n < 0)
            return broken(m, "the body cannot be read");
        if (n == 0)
            break;
        at += (uint64_t)n;
        verdict = say_piece(q, m, piece, (size_t)n, code);
    }
    return verdict == MILTER_ENOUGH ? MILTER_GO_ON : verdict;
}

static enum milter_verdict
say_end(struct qp *q, struct milter *m, struct milter_code *code)
{
    return begin(q, m, MILTER_STEP_END) ? ask(q, m, code) : MILTER_BROKEN;
}

enum milter_verdict
milter_say_message(struct qp *q, struct milter *m, struct milter_code *code)
{
    static enum milter_verdict (*const parts[])(struct qp *, struct milter *,
        struct milter_code *) = {say_header, say_headers_end, say_body, say_end};
    enum milter_verdict verdict = MILTER_GO_ON;

    m->talk.deadline = qp_clock_ms() + m->times.total_ms;
    m->edits =
        (struct milter_edits){.exact = (m->talk.agreed.offer.steps & MILTER_LEADING_BLANK) != 0};
    for (size_t i = 0; i < sizeof parts / sizeof *parts && verdict == MILTER_GO_ON; i++)
        verdict = parts[i](q, m, code);
    m->talk.deadline = 0;
    return verdict;
}

void
milter_say_abort(struct milter *m)
{
    talk_word(&m->talk, MILTER_ABORT);
}
