/*
 * milter edits - what a milter wants changed: collected as it comes, done when all of it is there
 *
 * Owns   the list of edits, the new body in the making, and what they mean to header and envelope
 * Uses   packet; the message and the envelope by the API of every plugin
 * Keep   nothing is changed before milter_edits_apply(), and that cannot fail half-way: names and
 *        addresses are checked when they come, and the new body is complete or not used; at most
 *        MILTER_EDITS_MAX edits and MILTER_EDIT_BYTES_MAX of text
 */
#ifndef MILTER_EDITS_H
#define MILTER_EDITS_H

#include "packet.h"

#define MILTER_EDITS_MAX      1000
#define MILTER_EDIT_BYTES_MAX (256UL << 10) /* what the engine takes for a header */

struct qp;
struct qp_body_draft;
struct milter_edit;

/* Lives as long as the transaction. Begin with {0}. */
struct milter_edits {
    struct milter_edit *first, **last;
    size_t n, bytes;
    size_t fields, addresses;   /* of the n, for the log */
    bool exact;                 /* MILTER_LEADING_BLANK: values bring the blank behind the colon */
    const char *quarantine;     /* reason; NULL: it was not asked for */
    struct qp_body_draft *body; /* NULL: it stays */
    bool cr;                    /* the last byte of the new body so far is a CR, not put yet */
    uint8_t last_byte;          /* that was put */
};

/* milter_is_edit - is that letter one of them? */
bool milter_is_edit(uint8_t letter);

/* milter_edits_take - one more; NULL, or why it cannot be done: then none can be */
const char *milter_edits_take(
    struct qp *q, struct milter_edits *e, const struct milter_packet *packet);

/* milter_edits_any - would milter_edits_apply() change anything? */
bool milter_edits_any(const struct milter_edits *e);

/* milter_edits_apply - all of them, in their order; NULL, or why not: then nothing was changed */
const char *milter_edits_apply(struct qp *q, struct milter_edits *e);

#endif
