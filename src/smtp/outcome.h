/*
 * smtp/outcome - from what a hook's plugins decided to what the client is told
 *
 * Owns   ONE table: hook and result to code, status, default text, and whether the connection ends
 * Keep   a result without a row means "nobody objects": the command goes on. An exception that
 *        needs more than a row belongs to the command's own function, not here.
 */
#ifndef QPSMTPD_SMTP_OUTCOME_H
#define QPSMTPD_SMTP_OUTCOME_H

#include "smtp/reply.h"

/*
 * outcome_reply - the reply that a decision demands
 *
 * about    stands for %s in the default text ("<joe@example.com>, denied"); NULL where there is
 * none reply    written when the result is true; its texts live as long as the command returns
 * false: go on
 */
bool outcome_reply(enum hook hook, const struct hook_result *r, struct arena *command,
    const char *about, struct reply *reply);

#endif
