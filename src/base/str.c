#include "base/str.h"

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool
fold_eq(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ascii_lower(a[i]) != ascii_lower(b[i]))
            return false;
    return true;
}

bool
str_eq(struct str a, struct str b)
{
    /* memcmp may not be given the NULL of an empty view, not even with length 0 */
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
str_ieq(struct str a, struct str b)
{
    return a.n == b.n && fold_eq(a.p, b.p, a.n);
}

bool
str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq((struct str){s.p, prefix.n}, prefix);
}

bool
str_istarts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && fold_eq(s.p, prefix.p, prefix.n);
}

bool
str_iends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_ieq(str_from(s, s.n - suffix.n), suffix);
}

struct str
str_trim(struct str s)
{
    while (s.n > 0 && is_space(s.p[0]))
        s = str_from(s, 1);
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

struct str
str_word(struct str *rest)
{
    struct str word;
    size_t end = 0;

    while (rest->n > 0 && is_blank(rest->p[0]))
        *rest = str_from(*rest, 1);
    while (end < rest->n && !is_blank(rest->p[end]))
        end++;
    word = (struct str){rest->p, end};
    *rest = str_from(*rest, end);
    return word;
}

struct str
str_cut(struct str *rest, char c)
{
    size_t at = str_find(*rest, c);
    struct str before = {rest->p, at};

    *rest = str_from(*rest, at < rest->n ? at + 1 : at);
    return before;
}

size_t
str_find(struct str s, char c)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

    return at ? (size_t)(at - s.p) : s.n;
}

bool
str_number(struct str s, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned int digit = (unsigned int)(s.p[i] - '0');

        if (!ascii_digit(s.p[i]) || value > max / 10 || digit > max - value * 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}
