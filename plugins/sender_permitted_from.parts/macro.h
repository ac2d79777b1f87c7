/*
 * spf macro - %{d}, %{ir}, %{l1r-}: the macros of SPF
 *
 * Owns   RFC 7208, 7: their grammar, their values, and how those are cut, turned and escaped
 * Uses   span, name; asks no DNS, so the value of %{p} is given
 * Keep   what passes spf_macro_check() expands, but for want of room (t/fuzz/spf)
 */
#ifndef SPF_MACRO_H
#define SPF_MACRO_H

#include <stdint.h>

#include "span.h"

/* Where the text comes from: blanks and %{c} %{r} %{t} belong to explanations. */
enum spf_macro_place { SPF_IN_RECORD, SPF_IN_EXPLANATION };

/* The values. Texts are borrowed; none is NULL, but validated where %{p} does not occur. */
struct spf_macros {
    const char *local;     /* l: local part of the sender, "postmaster" where there is none */
    const char *origin;    /* o: domain of the sender */
    const char *domain;    /* d: the domain whose record is looked at */
    const char *helo;      /* h */
    const char *validated; /* p: the client's confirmed name, or "unknown" */
    const char *receiver;  /* r: this host */
    uint8_t ip[16];        /* i, c, v: network order, IPv4 as ::ffff:a.b.c.d */
    int64_t now;           /* t: seconds since the epoch */
};

/*
 * spf_macro_check - is this a macro-string?
 *
 * tail     where the literal text behind the last macro begins: text.n when nothing follows it, 0
 *          when there is none
 */
bool spf_macro_check(struct spf_span text, enum spf_macro_place place, size_t *tail);

/* spf_macro_uses - does that letter occur, in either case? text has passed the check. */
bool spf_macro_uses(struct spf_span text, char letter);

/*
 * spf_macro_expand - write it out
 *
 * out      room bytes, NUL-terminated
 * returns  false: no macro-string, or more than there is room for; out is then ""
 */
bool spf_macro_expand(struct spf_span text, enum spf_macro_place place,
    const struct spf_macros *values, char *out, size_t room);

#endif
