/*
 * milter dialogue - the steps of a session and of a message, told to one milter
 *
 * Owns   which step wants which packet, which steps a milter does not want to see or does not answer,
 *        how the message is cut into packets
 * Uses   talk, macros, edits
 * Keep   every step ends in one verdict, in bounded time; a milter that breaks the protocol is broken
 *        for the rest of the message, whatever it says later
 */
#ifndef MILTER_DIALOGUE_H
#define MILTER_DIALOGUE_H

#include "edits.h"
#include "macros.h"
#include "talk.h"

enum milter_step {
    MILTER_STEP_CONNECT,
    MILTER_STEP_HELO,
    MILTER_STEP_MAIL,
    MILTER_STEP_RCPT,
    MILTER_STEP_DATA,
    MILTER_STEP_UNKNOWN,
    MILTER_STEP_HEADER,
    MILTER_STEP_HEADERS_END,
    MILTER_STEP_BODY,
    MILTER_STEP_END,
};

struct milter_times {
    int64_t connect_ms, write_ms, read_ms, end_ms;
    int64_t total_ms; /* for one message, from its first field to the verdict */
};

/* One milter during one connection of a client. */
struct milter {
    struct milter_talk talk;
    struct milter_times times;
    struct milter_facts facts;
    struct milter_edits edits;
    enum milter_step step; /* the last one */
    const char *field;     /* name of the field, when that was a header; NULL */
};

/* What it says about a step. */
enum milter_verdict {
    MILTER_BROKEN, /* nothing that can be used: m->talk.error */
    MILTER_GO_ON,
    MILTER_PASS, /* it wants to hear no more of this client, or of this message */
    MILTER_DROP,
    MILTER_DENY,
    MILTER_DENY_SOFT,
    MILTER_DENY_CODE, /* m->code */
    MILTER_HANG_UP,
    MILTER_ENOUGH, /* of the body; no caller sees it */
};

/* Each returns its verdict; in *code the reply of MILTER_DENY_CODE. */
enum milter_verdict milter_say_connect(struct qp *q, struct milter *m, struct milter_code *code);
enum milter_verdict milter_say_helo(
    struct qp *q, struct milter *m, const char *host, struct milter_code *code);
enum milter_verdict milter_say_mail(
    struct qp *q, struct milter *m, const struct qp_address *from, struct milter_code *code);
/* refused  NULL; or why nobody wants that recipient, for milters that want to know: no verdict counts */
enum milter_verdict milter_say_rcpt(struct qp *q, struct milter *m, const struct qp_address *to,
    const char *refused, struct milter_code *code);
enum milter_verdict milter_say_data(struct qp *q, struct milter *m, struct milter_code *code);
enum milter_verdict milter_say_unknown(
    struct qp *q, struct milter *m, const char *line, struct milter_code *code);
/* Header, body, and their end. What it wants changed is in m->edits, to be applied unless it breaks. */
enum milter_verdict milter_say_message(struct qp *q, struct milter *m, struct milter_code *code);

/* milter_say_abort - the message is over before its end. Nothing is answered. */
void milter_say_abort(struct milter *m);

/* milter_where - "MAIL FROM", "header Subject": the last step, in words of qpsmtpd's milter plugin */
const char *milter_where(struct qp *q, const struct milter *m);

#endif
