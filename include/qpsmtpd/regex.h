/*
 * qpsmtpd/regex.h - Perl's regular expressions, bounded
 *
 * PCRE2 is loaded by the first qp_regex_new() of a process and not before; matching has limits on
 * steps, depth and memory, so a hostile subject costs an error, not the machine.
 */
#ifndef QPSMTPD_REGEX_H
#define QPSMTPD_REGEX_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

struct qp_regex;

/*
 * qp_regex_new - compile, in init; lives as long as the instance
 *
 * nocase   case is ignored
 * error    set to a text that says what is wrong and where, when the result is NULL
 */
const struct qp_regex *qp_regex_new(
    struct qp *q, const char *pattern, bool nocase, const char **error);

/* qp_regex_match - does it match somewhere in text? A limit that is hit is logged and counts as no
 * match. */
bool qp_regex_match(struct qp *q, const struct qp_regex *re, const char *text);

#endif
