#include "macro.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "name.h"

/* Longest value of one macro, before it is escaped: a sender of 900 bytes, and a domain of 255. */
#define VALUE_MAX 1200

/* One piece of a macro-string. %%, %_ and %- are macros to the grammar: they may end a domain-spec. */
struct token {
    enum { TOKEN_LITERAL, TOKEN_PERCENT, TOKEN_MACRO } kind;
    const char *percent; /* what %%, %_ or %- stands for */
    char letter;         /* of a macro, lower case */
    bool escape;         /* the letter was upper case */
    bool reverse;
    size_t parts; /* right-hand parts to keep; 0: all */
    struct spf_span delimiters;
    size_t n; /* bytes that it takes in the text */
};

static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool
is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* DIGIT and "r" behind the letter. Zero parts are none (7.3). */
static bool
parse_transformers(struct spf_span text, size_t *at, struct token *t)
{
    bool counted = false;

    for (; *at < text.n && spf_is_digit(text.p[*at]); (*at)++) {
        counted = true;
        if (t->parts < VALUE_MAX) /* more than any value has */
            t->parts = t->parts * 10 + (size_t)(text.p[*at] - '0');
    }
    if (*at < text.n && lower(text.p[*at]) == 'r') {
        t->reverse = true;
        (*at)++;
    }
    return !counted || t->parts > 0;
}

/* "%{" letter transformers *delimiter "}" */
static bool
parse_macro(struct spf_span text, enum spf_macro_place place, struct token *t)
{
    size_t at = 3;

    if (text.n < 4)
        return false;
    t->kind = TOKEN_MACRO;
    t->letter = lower(text.p[2]);
    t->escape = t->letter != text.p[2];
    if (!is_one_of(t->letter, place == SPF_IN_EXPLANATION ? "slodiphvcrt" : "slodiphv") ||
        !parse_transformers(text, &at, t))
        return false;
    t->delimiters.p = text.p + at;
    while (at < text.n && is_one_of(text.p[at], ".-+,/_="))
        at++;
    t->delimiters.n = (size_t)(text.p + at - t->delimiters.p);
    if (t->delimiters.n == 0)
        t->delimiters = (struct spf_span){".", 1};
    t->n = at + 1;
    return at < text.n && text.p[at] == '}';
}

static bool
parse_percent(struct spf_span text, enum spf_macro_place place, struct token *t)
{
    if (text.n < 2)
        return false;
    t->kind = TOKEN_PERCENT;
    t->n = 2;
    switch (text.p[1]) {
    case '%':
        t->percent = "%";
        return true;
    case '_':
        t->percent = " ";
        return true;
    case '-':
        t->percent = "%20";
        return true;
    case '{':
        return parse_macro(text, place, t);
    default:
        return false;
    }
}

/* The piece at the front of text, which is not empty. false: a syntax error. */
static bool
token_parse(struct spf_span text, enum spf_macro_place place, struct token *t)
{
    char c = text.p[0];

    *t = (struct token){.kind = TOKEN_LITERAL, .n = 1};
    if (c == '%')
        return parse_percent(text, place, t);
    return (c > ' ' && c <= '~') || (c == ' ' && place == SPF_IN_EXPLANATION);
}

bool
spf_macro_check(struct spf_span text, enum spf_macro_place place, size_t *tail)
{
    *tail = 0;
    for (size_t at = 0; at < text.n;) {
        struct token t;

        if (!token_parse(spf_behind(text, at), place, &t))
            return false;
        at += t.n;
        if (t.kind != TOKEN_LITERAL)
            *tail = at;
    }
    return true;
}

bool
spf_macro_uses(struct spf_span text, char letter)
{
    struct token t;

    for (size_t at = 0; at < text.n; at += t.n) {
        if (!token_parse(spf_behind(text, at), SPF_IN_EXPLANATION, &t))
            return false;
        if (t.kind == TOKEN_MACRO && t.letter == letter)
            return true;
    }
    return false;
}

/* ---- values ---- */

static const char *
readable(const uint8_t ip[16], char *out, socklen_t room)
{
    return spf_ip_is_v4(ip) ? inet_ntop(AF_INET, ip + 12, out, room)
                            : inet_ntop(AF_INET6, ip, out, room);
}

/* "2.0.0.1.0.D.B.8. ..." The test suite of openspf.org wants these digits in capitals. */
static const char *
nibbles(const uint8_t ip[16], char *out)
{
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = "0123456789ABCDEF"[ip[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
        out[2 * i + 1] = '.';
    }
    out[63] = '\0';
    return out;
}

/* What the letter stands for; in out when it has to be made up. */
static const char *
value_of(const struct spf_macros *m, char letter, char out[VALUE_MAX])
{
    switch (letter) {
    case 's':
        snprintf(out, VALUE_MAX, "%s@%s", m->local, m->origin);
        return out;
    case 'l':
        return m->local;
    case 'o':
        return m->origin;
    case 'd':
        return m->domain;
    case 'p':
        return m->validated;
    case 'h':
        return m->helo;
    case 'r':
        return m->receiver;
    case 'v':
        return spf_ip_is_v4(m->ip) ? "in-addr" : "ip6";
    case 'i':
        return spf_ip_is_v4(m->ip) ? readable(m->ip, out, VALUE_MAX) : nibbles(m->ip, out);
    case 'c':
        return readable(m->ip, out, VALUE_MAX);
    default: /* 't': the parser lets no other pass */
        snprintf(out, VALUE_MAX, "%" PRId64, m->now);
        return out;
    }
}

/* ---- writing ---- */

struct out {
    char *p;
    size_t n, room; /* room for the NUL as well */
    bool full;
};

static void
put(struct out *o, char c)
{
    if (o->n + 1 < o->room)
        o->p[o->n++] = c;
    else
        o->full = true;
}

static void
put_text(struct out *o, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        put(o, text[i]);
}

/* RFC 3986, 2.3: what is not unreserved */
static void
put_escaped(struct out *o, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (spf_is_digit(text[i]) || spf_is_alpha(text[i]) || is_one_of(text[i], "-._~")) {
            put(o, text[i]);
        } else {
            put(o, '%');
            put(o, "0123456789ABCDEF"[c >> 4]);
            put(o, "0123456789ABCDEF"[c & 15]);
        }
    }
}

static bool
is_delimiter(const struct token *t, char c)
{
    return c != '\0' && memchr(t->delimiters.p, c, t->delimiters.n) != NULL;
}

/* The i-th part of value, from 0 */
static struct spf_span
part_of(const struct token *t, const char *value, size_t i)
{
    const char *begin = value, *end;

    for (; i > 0; begin++)
        i -= is_delimiter(t, *begin);
    for (end = begin; *end != '\0' && !is_delimiter(t, *end);)
        end++;
    return (struct spf_span){begin, (size_t)(end - begin)};
}

static size_t
count_parts(const struct token *t, const char *value)
{
    size_t n = 1;

    for (; *value != '\0'; value++)
        n += is_delimiter(t, *value);
    return n;
}

/* Cut into parts, turn them round, keep the right-hand ones, join them with dots (7.3). */
static void
put_macro(struct out *o, const struct token *t, const char *value)
{
    size_t n = count_parts(t, value);
    size_t first = t->parts > 0 && t->parts < n ? n - t->parts : 0;

    for (size_t i = first; i < n && !o->full; i++) {
        struct spf_span part = part_of(t, value, t->reverse ? n - 1 - i : i);

        if (i > first)
            put(o, '.');
        (t->escape ? put_escaped : put_text)(o, part.p, part.n);
    }
}

bool
spf_macro_expand(struct spf_span text, enum spf_macro_place place, const struct spf_macros *values,
    char *out, size_t room)
{
    struct out o = {.p = out, .room = room};
    char value[VALUE_MAX];

    for (size_t at = 0; at < text.n && !o.full;) {
        struct token t;

        if (!token_parse(spf_behind(text, at), place, &t))
            o.full = true;
        else if (t.kind == TOKEN_MACRO)
            put_macro(&o, &t, value_of(values, t.letter, value));
        else if (t.kind == TOKEN_PERCENT)
            put_text(&o, t.percent, strlen(t.percent));
        else
            put(&o, text.p[at]);
        at += t.n;
    }
    out[o.full ? 0 : o.n] = '\0';
    return !o.full;
}
