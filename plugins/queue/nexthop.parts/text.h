/*
 * nexthop/text - the message in the form that DATA wants: CR LF at each line's end, dots stuffed
 *
 * Owns   the conversion, and what has to be known of a message before: its size, 8-bit bytes
 * Keep   pure, in blocks of any size; nothing that a message holds ends it early: no CR leaves this
 *        place without its LF, no line is a lone dot (t/fuzz/smtp_text)
 *
 * Messages have LF here. A CR that is left in one was no part of a line end (BDAT carries such); it
 * becomes a blank, one byte for one byte, because a bare CR is a line end to some and none to others.
 */
#ifndef NEXTHOP_TEXT_H
#define NEXTHOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text_survey {
    uint64_t
        size; /* bytes with CR LF, as SIZE counts: without stuffing and the final dot (RFC 1870) */
    bool eight_bit;
    bool open; /* the last line has no end yet */
};

/* text_survey - the next n bytes. Begin with {0}; text_survey_end() adds the last line's end. */
void text_survey(struct text_survey *s, const char *p, size_t n);
void text_survey_end(struct text_survey *s);

struct text_stuffing {
    bool inside; /* of a line */
};

/* text_stuff - the next n bytes; out has room for 2 * n. Begin with {0}. Gives the bytes written. */
size_t text_stuff(struct text_stuffing *s, const char *p, size_t n, char *out);

/* text_end - the last line's end, if it lacks one, and the dot; room for 5 bytes */
size_t text_end(const struct text_stuffing *s, char *out);

#endif
