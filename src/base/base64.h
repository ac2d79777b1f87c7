/*
 * base/base64 - RFC 4648, 4, for the lines of a protocol
 *
 * Owns   the alphabet with '+' and '/', and that padding is there and right
 * Uses   base/str. No allocation: the caller knows the room
 * Keep   decoding is strict: one text has one encoding, so nothing can be hidden in it (t/unit/base64)
 */
#ifndef QPSMTPD_BASE_BASE64_H
#define QPSMTPD_BASE_BASE64_H

#include "base/str.h"

/* Room that n bytes need at most: encoded, without a NUL; decoded. */
#define BASE64_ENCODED(n) (((n) + 2) / 3 * 4)
#define BASE64_DECODED(n) ((n) / 4 * 3)

/* base64_encode - out has room for BASE64_ENCODED(in.n) bytes; returns how many were written */
size_t base64_encode(struct str in, char *out);

/*
 * base64_decode - one text without blanks or line ends; "" is the empty text
 *
 * out      room for BASE64_DECODED(in.n) bytes
 * out_n    set when, and only when, the result is true
 * returns  false: another byte, a length that is no multiple of 4, padding that is missing or hides
 *          bits; what was decoded before stands in out
 */
bool base64_decode(struct str in, char *out, size_t *out_n);

#endif
