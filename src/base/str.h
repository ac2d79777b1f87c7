/*
 * base/str - look at text without owning it
 *
 * Owns   the view: pointer and length, no terminator, any byte allowed inside
 * Keep   nothing here allocates, and nothing here reads past n
 * Change freely: add what three callers need
 */
#ifndef QPSMTPD_BASE_STR_H
#define QPSMTPD_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})

/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str
str_of(const char *z)
{
    return (struct str){z, strlen(z)};
}

static inline struct str
str_from(struct str s, size_t start)
{
    /* an empty view may have NULL, to which not even 0 may be added */
    return (struct str){start > 0 ? s.p + start : s.p, s.n - start};
}

/* The "i" forms fold ASCII case only: mail has ASCII names, and no locale may change a verdict */
bool str_eq(struct str a, struct str b);
bool str_ieq(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
bool str_istarts(struct str s, struct str prefix);
bool str_iends(struct str s, struct str suffix);

/* str_trim - s without space, TAB, CR and LF at either end */
struct str str_trim(struct str s);

/*
 * str_word - take the next word: a run of bytes other than space and TAB
 *
 * rest     advanced behind the word
 * returns  the word; n is 0 when only blanks were left
 */
struct str str_word(struct str *rest);

/*
 * str_cut - take what stands before the first c
 *
 * rest     advanced behind that c; to the end when there is none
 * returns  what stood before it
 */
struct str str_cut(struct str *rest, char c);

/* str_find - index of the first c, or s.n */
size_t str_find(struct str s, char c);

/*
 * str_number - decimal digits, nothing else, at most max
 *
 * returns  false, and *out untouched: empty, another byte, or more than max
 */
bool str_number(struct str s, uint64_t max, uint64_t *out);

/* ASCII only, whatever the locale says. */
static inline char
ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline bool
ascii_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool
ascii_alnum(char c)
{
    return ascii_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static inline bool
ascii_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

#endif
