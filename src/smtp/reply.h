/*
 * smtp/reply - what the client is told
 *
 * Owns   the form of replies: several lines, their bound, enhanced status codes (RFC 2034, 3463)
 * Keep   every reply has at least one line; nothing in a text can end the reply or begin another
 */
#ifndef QPSMTPD_SMTP_REPLY_H
#define QPSMTPD_SMTP_REPLY_H

#include "base/buf.h"
#include "plugin/hooks.h"

struct session;

struct reply {
    int code;             /* 0: no reply at all, the command has been answered already */
    const char *enhanced; /* "5.7.1"; NULL: this reply never has one (greeting, HELO, 3xx) */
    const char *text;     /* lines are separated by LF; lives as long as the command */
    bool close;           /* the connection ends after it */
    const struct hook_reply *more; /* replies of a plugin, sent instead when code is 0 */
    bool plain;                    /* they have no status either */
    struct reply (*then)(
        struct session *s); /* what comes after it was sent; its result is sent next */
};

/* The first two as values, the others to initialise static ones. */
#define REPLY(code, enhanced, text)       ((struct reply)REPLY_INIT(code, enhanced, text))
#define REPLY_CLOSE(code, enhanced, text) ((struct reply)REPLY_CLOSE_INIT(code, enhanced, text))
#define REPLY_INIT(c, e, t)                                                                        \
    {                                                                                              \
        .code = (c), .enhanced = (e), .text = (t)                                                  \
    }
#define REPLY_CLOSE_INIT(c, e, t)                                                                  \
    {                                                                                              \
        .code = (c), .enhanced = (e), .text = (t), .close = true                                   \
    }

/*
 * reply_format - the bytes on the wire, CR LF line ends, each line at most 512 bytes (RFC
 * 5321, 4.5.3.1.5)
 *
 * enhanced  put in front of each line, or NULL. A text that ends in "(#5.7.1)", as qmail's and
 * qpsmtpd's do, supplies its own when its class fits the code; with NULL such an ending stays text.
 */
void reply_format(struct buf *out, int code, const char *enhanced, const char *text);

#endif
