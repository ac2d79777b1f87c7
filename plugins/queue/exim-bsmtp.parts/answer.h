/*
 * exim-bsmtp answer - what Exim says of a batch that it does not take
 *
 * Owns   which of the lines counts, and what of it may be shown to a client
 * Keep   pure: reads n bytes of any kind, allocates nothing (t/fuzz/bsmtp)
 */
#ifndef EXIM_ANSWER_H
#define EXIM_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#define ANSWER_TEXT 400

struct answer {
    int code;                   /* 400..599 */
    char text[ANSWER_TEXT + 1]; /* behind the code; printable ASCII, never empty */
};

/* answer_parse - the first line "NNN text" or "NNN-text" with such a code; false: there is none, *out is
 * untouched */
bool answer_parse(const char *output, size_t n, struct answer *out);

#endif
