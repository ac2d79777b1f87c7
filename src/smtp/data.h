/*
 * smtp/data - from the wire's lines to the message's: where does DATA end?
 *
 * Owns   the state machine of DATA: only CR LF . CR LF ends it, wherever the blocks are cut; dots
 *        are un-stuffed, CR LF becomes LF, a bare CR or LF is judged. And the same conversion for
 *        BDAT's chunks, which know their length.
 * Uses   base/str. No I/O: bytes in, bytes out.
 * Keep   no input makes two servers disagree about where the message ends (t/fuzz/data: the result
 *        does not depend on how the input is cut into blocks)
 *
 * Source: RFC 5321 4.1.1.4 and 4.5.2; RFC 3030; qmail's https://cr.yp.to/docs/smtplf.html; SMTP
 * smuggling (2023).
 */
#ifndef QPSMTPD_SMTP_DATA_H
#define QPSMTPD_SMTP_DATA_H

#include "base/str.h"

/* config bare_newlines */
enum data_newlines {
    DATA_REJECT,    /* a bare CR or LF ends the connection */
    DATA_NORMALIZE, /* a bare LF is a line end, a bare CR becomes a space */
    DATA_LEGACY,    /* a bare LF is a line end, a bare CR stays */
};

enum data_status {
    DATA_MORE, /* all of the block was taken */
    DATA_END,  /* CR LF . CR LF was seen; what follows it was not taken */
    DATA_BARE, /* a bare CR or LF, or a lone dot that is not CR LF . CR LF: 421 and close */
};

struct data {
    enum data_newlines newlines;
    uint8_t state;
};

/* data_begin - at the start of a line, as if CR LF had just been read (the command's own) */
void data_begin(struct data *d, enum data_newlines newlines);

/*
 * data_decode - one block of DATA
 *
 * in       n bytes; *taken is set to how many were used: with DATA_MORE all of them
 * out      room for n + 2 bytes; must not overlap `in`; *out_n is set
 */
enum data_status data_decode(
    struct data *d, const char *in, size_t n, size_t *taken, char *out, size_t *out_n);

/*
 * data_chunk - one block of BDAT: CR LF becomes LF, all else is kept, a final CR waits for more
 *
 * out      room for n + 1 bytes; *out_n is set
 */
void data_chunk(struct data *d, const char *in, size_t n, char *out, size_t *out_n);

/* data_chunk_end - after BDAT LAST: a CR that waited comes out; room for 1 byte; gives 0 or 1 */
size_t data_chunk_end(struct data *d, char *out);

#endif
