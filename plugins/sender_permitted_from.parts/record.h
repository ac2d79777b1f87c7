/*
 * spf record - the text of an SPF record, taken apart
 *
 * Owns   the grammar of RFC 7208, 12, but for what is inside of a macro
 * Uses   macro; knows nothing of the DNS. Allocates nothing: what it gives out are views of the text
 * Keep   a record with one wrong term, wherever that stands, is wrong as a whole (4.6)
 */
#ifndef SPF_RECORD_H
#define SPF_RECORD_H

#include "macro.h"

enum spf_mechanism {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
};

/* A mechanism with all that belongs to it. */
struct spf_term {
    enum spf_mechanism mechanism;
    char qualifier;         /* + - ~ ? */
    struct spf_span text;   /* as it was written */
    struct spf_span domain; /* macros not expanded; empty: the domain of the record */
    uint8_t ip[16];         /* SPF_IP4, SPF_IP6: network order, IPv4 as ::ffff:a.b.c.d */
    int bits4, bits6;       /* length of the prefix, 0..32 and 0..128 */
};

struct spf_record {
    struct spf_span terms;    /* what follows the version */
    struct spf_span redirect; /* a domain, macros not expanded; empty: not there */
    struct spf_span exp;
    struct spf_span wrong; /* the term that makes the record useless */
};

/* spf_record_is - is this TXT an SPF record, a good or a bad one (4.5)? */
bool spf_record_is(const char *text);

/*
 * spf_record_parse - check the whole record
 *
 * text     for which spf_record_is() is true; kept
 * returns  false: out->wrong is the first term that is wrong, the rest of *out means nothing
 */
bool spf_record_parse(const char *text, struct spf_record *out);

/*
 * spf_term_next - the mechanisms of a record, one after another; modifiers are skipped
 *
 * rest     begin with a copy of the record's terms
 * returns  false: that was the last one
 */
bool spf_term_next(struct spf_span *rest, struct spf_term *out);

#endif
