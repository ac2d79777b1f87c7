/*
 * spf span - a view of text, and what characters are (ASCII, whatever the locale)
 *
 * Source: RFC 5234, B.1
 */
#ifndef SPF_SPAN_H
#define SPF_SPAN_H

#include <stdbool.h>
#include <stddef.h>

/* No NUL at its end. */
struct spf_span {
    const char *p;
    size_t n;
};

/* spf_behind - without its first n bytes; there are as many */
static inline struct spf_span
spf_behind(struct spf_span text, size_t n)
{
    return (struct spf_span){text.p + n, text.n - n};
}

static inline bool
spf_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool
spf_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#endif
