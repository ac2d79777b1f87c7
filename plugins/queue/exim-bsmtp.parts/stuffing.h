/*
 * exim-bsmtp stuffing - the bytes of a message, so that no part of it is taken for the end
 *
 * Owns   doubled dots; a CR, which Exim takes for the end of a line even alone, becomes one
 * Keep   pure: the only line of the output that is a dot alone is the one the caller writes (t/fuzz/bsmtp)
 */
#ifndef EXIM_STUFFING_H
#define EXIM_STUFFING_H

#include <stdbool.h>
#include <stddef.h>

struct stuffing {
    bool
        line_start; /* the next byte begins a line; at the end: the message has ended with a line */
};

#define STUFFING_BEGIN ((struct stuffing){.line_start = true})

/* stuffing_put - the next n bytes; out has room for 2 * n. Returns how many it has got. */
size_t stuffing_put(struct stuffing *s, const char *bytes, size_t n, char *out);

#endif
