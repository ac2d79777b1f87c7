/*
 * nexthop/tally - what became of each recipient, and what one reply can say of all of them
 *
 * Owns   the rule by which several answers become one:
 *            all accepted                  250
 *            else one of them refused for now   the first 4xx: the client tries again
 *            else                          the first 5xx: the client tells the sender
 *        So nobody is forgotten: who was refused is heard of, in the text by name. Who has got it
 *        already may get it again after a 4xx, and the sender is told so after a 5xx.
 * Keep   pure
 */
#ifndef NEXTHOP_TALLY_H
#define NEXTHOP_TALLY_H

#include <stdbool.h>
#include <stddef.h>

#include "reply.h"

#define TALLY_NAMES_MAX 320

enum tally_class { TALLY_YES, TALLY_SOFT, TALLY_HARD, TALLY_CLASSES };

struct tally_answer {
    int code;
    char enhanced[REPLY_STATUS];
    char text[REPLY_TEXT_MAX + 1];
};

struct tally {
    size_t count[TALLY_CLASSES];
    struct tally_answer first[TALLY_CLASSES];
    char names[TALLY_NAMES_MAX + 16]; /* of those who were refused: "<a@b>, <c@d>, ..." */
    size_t names_n;
};

/* tally_class - of a reply to MAIL, RCPT or the final dot. false: it is none of the three, or it
 * speaks of us and not of the message (503 bad sequence, 530 and its kin: AUTH or TLS is wanted) */
bool tally_class(const struct reply *r, enum tally_class *out);

/* tally_add - the answer about one recipient, whose name has angle brackets */
void tally_add(struct tally *t, const char *recipient, enum tally_class class, int code,
    const char *enhanced, const char *text);

/* tally_verdict - the answer that stands for all; at least one was added */
const struct tally_answer *tally_verdict(const struct tally *t);

size_t tally_refused(const struct tally *t);

#endif
