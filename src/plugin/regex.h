/*
 * plugin/regex - the patterns of <qpsmtpd/regex.h> for those who are no plugin
 *
 * Owns   nothing more than that header does; see there for limits
 */
#ifndef QPSMTPD_PLUGIN_REGEX_H
#define QPSMTPD_PLUGIN_REGEX_H

#include "base/arena.h"

struct qp_regex;

/* regex_new - as qp_regex_new(), living as long as the arena. NULL: *error, of the arena, tells
 * why. */
const struct qp_regex *regex_new(
    struct arena *a, const char *pattern, bool nocase, const char **error);

enum regex_result { REGEX_NO, REGEX_YES, REGEX_GIVEN_UP };

#define REGEX_WHY 120

/* regex_match - why: written when it was given up, and then it counts as no match */
enum regex_result regex_match(const struct qp_regex *re, const char *text, char why[REGEX_WHY]);

#endif
