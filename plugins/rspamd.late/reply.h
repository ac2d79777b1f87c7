/*
 * rspamd.late/reply - what rspamd answers to /checkv2
 *
 * Owns   the JSON of that answer: which members count, of which types, and how many
 * Uses   jansson; knows nothing of HTTP and of the message
 * Keep   an answer is understood as a whole or not at all: a wrong member that we would have to act
 *        on makes it no answer; nothing of it can break out of a header field (t/fuzz/rspamd)
 *
 * jansson, of Debian's JSON libraries, because it checks most: UTF-8, depth, numbers, and hashes with
 * a seed, so that names in an answer cannot be chosen to collide.
 * Source: rspamd.com/doc/developers/protocol.html, and what rspamd's own proxy does with the members
 */
#ifndef RSPAMD_LATE_REPLY_H
#define RSPAMD_LATE_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum reply_action {
    REPLY_NO_ACTION,
    REPLY_GREYLIST,
    REPLY_ADD_HEADER,
    REPLY_REWRITE_SUBJECT,
    REPLY_SOFT_REJECT,
    REPLY_REJECT,
    REPLY_QUARANTINE,
    REPLY_DISCARD,
};

enum reply_edit_kind {
    REPLY_HEADER_REMOVE, /* name; number: 0 all, n the n-th, -n the n-th from the end */
    REPLY_HEADER_ADD,    /* name and value: below all others */
    REPLY_HEADER_INSERT, /* name and value; number: before that many others, -n: from the end */
    REPLY_SENDER,        /* value: the new one */
    REPLY_RCPT_ADD,      /* value */
    REPLY_RCPT_REMOVE,   /* value */
};

struct reply_edit {
    enum reply_edit_kind kind;
    const char *name, *value;
    int number;
};

#define REPLY_EDITS_MAX   200
#define REPLY_NUMBER_MAX  10000
#define REPLY_SYMBOLS_MAX 1000 /* bytes of the list of symbols */

/* Texts hold no NUL; they live until reply_close. */
struct reply {
    struct json_t *root; /* jansson's */
    enum reply_action action;
    const char *action_name;
    double score, required;
    const char *message;     /* for the client, when it is refused; NULL: none */
    const char *subject;     /* for REPLY_REWRITE_SUBJECT; NULL: none */
    bool no_action;          /* the edits only, and X-Rspamd-Action */
    bool has_spam_header;    /* the edits say how the message is marked as spam */
    const char *spam_header; /* value of the header that marks spam, NULL: as usual */
    struct reply_edit edit[REPLY_EDITS_MAX];
    size_t n_edits;
    char symbols[REPLY_SYMBOLS_MAX]; /* "A(1.50),B(-0.10)", most telling first, cut to fit */
};

/*
 * reply_parse - understand an answer
 *
 * text     n bytes, and a NUL behind them; changed: bytes that are no UTF-8 become '?'
 * returns  NULL when it is understood, and reply_close() is due; else what is wrong with it
 */
const char *reply_parse(char *text, size_t n, struct reply *out);

void reply_close(struct reply *r);

#endif
