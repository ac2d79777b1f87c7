#include "deliver.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <qpsmtpd/body.h>

#include "tally.h"

#define WINDOW       32 /* commands sent ahead of their replies: both directions fit into the sockets */
#define BLOCK        ((size_t)32768) /* bytes of the message read at once */
#define LAST_WORD_MS 1000            /* for a reply that may explain why nobody reads any more */

struct delivery {
    struct qp *q;
    struct peer *peer;
    const struct nexthop_conf *conf;
    const struct text_survey *survey;
    char *lines; /* what goes before the recipients, each line ending in LF; the last one is MAIL */
    const char *next; /* of them */
    size_t n_lines, recipients;
    bool reset;   /* the first of the lines is RSET */
    bool refused; /* MAIL */
    struct tally tally;
};

/* ---- answers ---- */

/* Bring the reply's code to what may be said to our own client: 421 and 521 would say that we hang up. */
static int
code_for_client(int code)
{
    return code == 421 ? 451 : code == 521 ? 554 : code;
}

static void
answer(struct delivery *d, const char *step, int code, const char *enhanced, const char *text)
{
    struct result *r = &d->peer->result;

    *r = (struct result){.kind = RESULT_ANSWER, .code = code_for_client(code), .step = step};
    snprintf(r->enhanced, sizeof r->enhanced, "%s", enhanced);
    snprintf(r->text, sizeof r->text, "%s", text);
}

static void
answer_reply(struct delivery *d, const char *step)
{
    const struct reply *r = &d->peer->reply;

    answer(d, step, r->code, r->enhanced, r->text);
}

/* What all recipients' answers come to. */
static void
answer_tally(struct delivery *d, const char *step, bool dot)
{
    const struct tally_answer *a = tally_verdict(&d->tally);
    size_t yes = d->tally.count[TALLY_YES];
    struct result *r = &d->peer->result;
    size_t n;

    answer(d, step, a->code, a->enhanced, a->text);
    r->partial = dot && a->code >= 300 && yes > 0;
    if (a->code < 300 || d->recipients == 1)
        return;
    n = strlen(r->text);
    if (dot)
        snprintf(r->text + n, sizeof r->text - n,
            "\naccepted for %zu of %zu recipients, not for %s", yes, d->recipients, d->tally.names);
    else
        snprintf(r->text + n, sizeof r->text - n,
            "\n%zu of %zu recipients refused, so nobody gets it: %s", tally_refused(&d->tally),
            d->recipients, d->tally.names);
}

/* ---- the envelope ---- */

/* MAIL's line; NULL: this next hop cannot take such a message, and the answer is set. */
static const char *
mail_line(struct delivery *d)
{
    unsigned can = d->peer->capabilities;
    const char *size = "";

    if (d->survey->eight_bit && !(can & PEER_8BITMIME) &&
        d->conf->no8bit == NEXTHOP_NO8BIT_REFUSE) {
        answer(d, "MAIL", 554, "5.6.3", "next hop takes no 8-bit messages");
        return NULL;
    }
    if (d->peer->size_max && d->survey->size > d->peer->size_max) {
        answer(d, "MAIL", 552, "5.3.4", "message too big for next hop");
        return NULL;
    }
    if (can & PEER_SIZE)
        size = qp_printf(d->q, QP_TRANSACTION, " SIZE=%llu", (unsigned long long)d->survey->size);
    return qp_printf(d->q, QP_TRANSACTION, "MAIL FROM:%s%s%s", qp_sender(d->q)->format, size,
        d->survey->eight_bit && can & PEER_8BITMIME ? " BODY=8BITMIME" : "");
}

/* RSET for a connection that was used, XFORWARD, MAIL */
static bool
make_lines(struct delivery *d, const struct client *client)
{
    char *forward = qp_alloc(d->q, QP_TRANSACTION, CLIENT_TEXT_MAX);
    const char *mail = mail_line(d);

    if (!mail)
        return false;
    d->reset = d->peer->messages > 0;
    d->n_lines = 1 + d->reset;
    if (d->conf->xforward && d->peer->xforward)
        d->n_lines += client_lines(client, "XFORWARD", d->peer->xforward, forward);
    d->lines = qp_printf(d->q, QP_TRANSACTION, "%s%s%s\n", d->reset ? "RSET\n" : "", forward, mail);
    d->next = d->lines;
    return true;
}

static const char *
step_of(const struct delivery *d, size_t i)
{
    return i == 0 && d->reset   ? "RSET"
           : i + 1 < d->n_lines ? "XFORWARD"
           : i < d->n_lines     ? "MAIL"
                                : "RCPT";
}

static bool
send_command(struct delivery *d, size_t i)
{
    char *line;

    if (i < d->n_lines) {
        size_t n = strcspn(d->next, "\n");

        line = qp_printf(d->q, QP_TRANSACTION, "%.*s", (int)n, d->next);
        d->next += n + 1;
    } else {
        line = qp_printf(d->q, QP_TRANSACTION, "RCPT TO:%s", qp_rcpt(d->q, i - d->n_lines)->format);
    }
    return peer_put(d->peer, step_of(d, i), line, d->conf->time.command);
}

/* Before the dot, 421 and what is no answer to our question mean: not here, not now. */
static bool
read_class(struct delivery *d, const char *step, int64_t timeout_ms, enum tally_class *class)
{
    struct peer *p = d->peer;

    if (!peer_read(p, step, timeout_ms))
        return false;
    return (p->reply.code != 421 && tally_class(&p->reply, class)) || peer_fault_reply(p, step);
}

/* RFC 5321, 4.5.3.1.10: what RFC 821 called 552 is 452 now. With another status it speaks of a mailbox
 * that is full, or a message that is too large. */
static bool
too_many_recipients(const struct reply *r)
{
    return r->code == 552 && (!*r->enhanced || strcmp(r->enhanced, "5.5.3") == 0);
}

static void
take_rcpt_answer(struct delivery *d, size_t i, enum tally_class class)
{
    const struct reply *r = &d->peer->reply;
    const char *name = qp_rcpt(d->q, i)->format;

    if (too_many_recipients(r))
        tally_add(&d->tally, name, TALLY_SOFT, 452, "4.5.3", r->text);
    else
        tally_add(&d->tally, name, class, r->code, r->enhanced, r->text);
}

static bool
take_answer(struct delivery *d, size_t i)
{
    const char *step = step_of(d, i);
    enum tally_class class = TALLY_YES;

    if (d->refused) /* what follows a refused MAIL says nothing */
        return peer_read(d->peer, step, d->conf->time.command);
    if (!read_class(d, step, d->conf->time.command, &class))
        return false;
    if (i >= d->n_lines) {
        take_rcpt_answer(d, i - d->n_lines, class);
    } else if (i + 1 == d->n_lines && class != TALLY_YES) {
        answer_reply(d, step);
        d->refused = true;
    } else if (i == 0 && d->reset && class != TALLY_YES) {
        return peer_fault_reply(d->peer, step);
    }
    return true; /* a refused XFORWARD harms nobody */
}

/* As many commands under way as the other side allows. */
static bool
send_envelope(struct delivery *d)
{
    size_t window = d->peer->capabilities & PEER_PIPELINING ? WINDOW : 1;
    size_t all = d->n_lines + d->recipients, sent = 0;

    for (size_t got = 0; got < all; got++) {
        for (; sent < all && sent - got < window; sent++)
            if (!send_command(d, sent))
                return false;
        if (!take_answer(d, got))
            return false;
        if (d->refused)
            all = sent;
    }
    return true;
}

/* ---- the message ---- */

/* The other side reads no more, or speaks before its turn: maybe it says why. */
static bool
last_word(struct delivery *d)
{
    enum tally_class class = TALLY_YES;

    if (!read_class(d, "message", LAST_WORD_MS, &class))
        return false;
    if (class == TALLY_YES)
        return peer_fault_reply(d->peer, "message");
    answer_reply(d, "message");
    return false;
}

static bool
unsure(struct delivery *d)
{
    d->peer->result.kind = RESULT_UNSURE;
    return false;
}

/* All of it and, last, the dot. */
static bool
send_message(struct delivery *d)
{
    char *in = qp_alloc(d->q, QP_TRANSACTION, BLOCK);
    char *out = qp_alloc(d->q, QP_TRANSACTION, 2 * BLOCK), dot[5];
    struct wire *w = &d->peer->wire;
    int64_t block = d->conf->time.block;
    struct text_stuffing state = {0};
    uint64_t at = 0;
    ptrdiff_t n;

    while ((n = qp_message_read(d->q, at, in, BLOCK)) > 0) {
        if (!wire_put(w, out, text_stuff(&state, in, (size_t)n, out), block))
            return last_word(d);
        at += (uint64_t)n;
    }
    if (n < 0) { /* no dot: what is there already is thrown away by the other side */
        qp_log(d->q, QP_LOG_ERROR, "the message cannot be read: %s", strerror(errno));
        answer(d, "message", 451, "4.3.0", "Unable to queue message (spool)");
        return false;
    }
    /* An answer that comes before the dot is none to the message, unless it refuses it. */
    if (!wire_quiet(w))
        return last_word(d);
    if (!wire_put(w, dot, text_end(&state, dot), block) || !wire_flush(w, block)) {
        last_word(d);
        return d->peer->result.kind == RESULT_ANSWER ? false : unsure(d);
    }
    return true;
}

/* After the dot: LMTP answers for each recipient, SMTP once for all. */
static bool
read_verdict(struct delivery *d)
{
    bool lmtp = d->conf->protocol == NEXTHOP_LMTP;
    int64_t end = qp_clock_ms() + d->conf->time.end;
    size_t n = lmtp ? d->recipients : 1;
    struct peer *p = d->peer;
    bool good = true;

    d->tally = (struct tally){0};
    p->wire.end = WIRE_NEVER; /* giving up now makes a duplicate */
    for (size_t i = 0; i < n; i++) {
        const char *name = qp_rcpt(d->q, i)->format;
        enum tally_class class = TALLY_SOFT;

        good = good && peer_read(p, "dot", end - qp_clock_ms());
        if (good && !tally_class(&p->reply, &class))
            good = peer_fault_reply(p, "dot");
        if (good)
            tally_add(&d->tally, name, class, p->reply.code, p->reply.enhanced, p->reply.text);
        else if (!lmtp)
            return unsure(d);
        else
            tally_add(&d->tally, name, TALLY_SOFT, 451, "4.4.2", "no answer of the next hop");
        good = good && p->reply.code != 421;
    }
    if (!lmtp)
        d->recipients = 1;
    answer_tally(d, "dot", true);
    if (!good)
        p->result.partial = true;
    return good;
}

bool
deliver(struct qp *q, struct peer *p, const struct nexthop_conf *c,
    const struct text_survey *survey, const struct client *client)
{
    struct delivery d = {
        .q = q, .peer = p, .conf = c, .survey = survey, .recipients = qp_rcpt_count(q)};
    enum tally_class class;

    if (!make_lines(&d, client))
        return true;
    p->messages++;
    if (!send_envelope(&d))
        return false;
    if (d.refused)
        return true;
    if (tally_refused(&d.tally)) {
        answer_tally(&d, "RCPT", false);
        return true;
    }
    if (!peer_put(p, "DATA", "DATA", c->time.command) || !peer_read(p, "DATA", c->time.data))
        return false;
    if (p->reply.code == 354 && wire_quiet(&p->wire))
        return send_message(&d) && read_verdict(&d);
    if (p->reply.code == 421 || !tally_class(&p->reply, &class) || class == TALLY_YES)
        return peer_fault_reply(p, "DATA");
    answer_reply(&d, "DATA");
    return true;
}
