/*
 * milter macros - Sendmail's macros: what a milter may know besides the commands
 *
 * Owns   the names that have a value here, and which of them are sent where unless the milter wishes
 *        otherwise
 * Uses   packet, and the connection and envelope as every plugin sees them
 */
#ifndef MILTER_MACROS_H
#define MILTER_MACROS_H

#include "packet.h"

struct qp;
struct qp_address;

/* What the engine does not know (yet) at that step; NULL elsewhere. */
struct milter_facts {
    const char *daemon_name;
    const char *hello;               /* of the HELO that is being run */
    const struct qp_address *sender; /* of the MAIL that is being run */
    const struct qp_address *rcpt;
    const char *refused; /* why rcpt was */
};

/*
 * milter_put_macros - name and value of each that has one, behind the letter of the command
 *
 * list     names, separated by blanks or commas; NULL: the usual ones of that stage
 * returns  how many these were
 */
size_t milter_put_macros(struct qp *q, struct milter_writer *w, enum milter_stage stage,
    const char *list, const struct milter_facts *facts);

#endif
