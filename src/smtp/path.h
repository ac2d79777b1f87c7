/*
 * smtp/path - what follows MAIL and RCPT: the path and its parameters
 *
 * Owns   where the address ends and the parameters begin, and their syntax
 * Uses   base. What an address is, mail/address knows; what a parameter means, who runs the
 *        command.
 * Keep   no byte is skipped in silence: it is part of the path, of a parameter, or an error; every
 *        text given out is printable ASCII or, in the path, 8-bit, never a control byte
 *
 * Source: RFC 5321, 4.1.1.2, 4.1.1.3, 4.1.2; with blanks behind the colon and without the brackets,
 * as qmail and qpsmtpd always took it.
 */
#ifndef QPSMTPD_SMTP_PATH_H
#define QPSMTPD_SMTP_PATH_H

#include <qpsmtpd/types.h>

#include "base/arena.h"

#define PATH_PARAMS_MAX 32

enum path_status {
    PATH_OK,
    PATH_SYNTAX,      /* no FROM: or TO:, nothing behind it, or a control byte somewhere */
    PATH_BAD_ADDRESS, /* '<' without its '>' */
    PATH_BAD_PARAM,   /* not KEYWORD or KEYWORD=value; a keyword twice; too many */
};

struct path {
    const char *text; /* as sent: with its angle brackets when bracketed is true, else without */
    bool bracketed;
    const struct qp_param *params; /* in the order they came */
    size_t n_params;
};

/*
 * path_parse - "FROM:<a@b> SIZE=1000"
 *
 * args     what followed the verb; borrowed for the call
 * keyword  "FROM:" or "TO:"; case is ignored
 * out      in the arena; written when, and only when, the result is PATH_OK
 */
enum path_status path_parse(struct arena *a, struct str args, struct str keyword, struct path *out);

/*
 * path_size - the value of SIZE: 1 to 20 digits (RFC 1870, 3)
 *
 * out      bytes; more than 64 bits hold is UINT64_MAX
 * returns  false, and *out untouched: something else
 */
bool path_size(const char *value, uint64_t *out);

#endif
