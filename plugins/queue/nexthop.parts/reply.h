/*
 * nexthop/reply - what an SMTP or LMTP server answers, from bytes to a code and a clean text
 *
 * Owns   the syntax of replies (RFC 5321, 4.2) and every limit on them
 * Keep   pure, no I/O; the result does not depend on how the bytes were cut into blocks; whatever the
 *        server sends, text is bounded printable ASCII (t/fuzz/smtp_reply)
 */
#ifndef NEXTHOP_REPLY_H
#define NEXTHOP_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#define REPLY_LINE_MAX  1000 /* bytes without the line end; RFC 5321, 4.5.3.1.5, wants 512 */
#define REPLY_LINES_MAX 100  /* EHLO of a server with everything has about 30 */
#define REPLY_TEXT_MAX  400  /* what is kept of all lines together */
#define REPLY_STATUS    12   /* room for "5.123.123" */

enum reply_status {
    REPLY_MORE, /* all bytes were taken, and the line is not complete */
    REPLY_LINE, /* a line that others follow is complete: see `line` */
    REPLY_DONE, /* the last line is complete: see all of it */
    REPLY_BAD,  /* that is no reply, or one without an end; no more can be read from this server */
};

struct reply {
    int code; /* 200..599 */
    char
        enhanced[REPLY_STATUS]; /* RFC 3463: "5.1.1", of the class of code; "" when there is none */
    char text[REPLY_TEXT_MAX + 1]; /* all lines, one blank between them, without their statuses */
    char line[REPLY_LINE_MAX + 1]; /* the line that was completed last, without its code */
    size_t lines;                  /* complete ones */

    /* private */
    char raw[REPLY_LINE_MAX + 2];
    size_t raw_n, text_n;
};

/* reply_begin - a new reply; the old one is forgotten */
void reply_begin(struct reply *r);

/*
 * reply_feed - the next n bytes; *taken is set to how many were used, at most one line
 *
 * To be called until the result is REPLY_DONE or REPLY_BAD. A line ends in LF, with or without CR.
 */
enum reply_status reply_feed(struct reply *r, const char *p, size_t n, size_t *taken);

#endif
