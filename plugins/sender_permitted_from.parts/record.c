#include "record.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static const char version[] = "v=spf1";

static bool
span_is(struct spf_span s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

/* The next word, and *rest without it. Only blanks separate words (4.6.1); false: none is left. */
static bool
next_word(struct spf_span *rest, struct spf_span *word)
{
    size_t n = 0;

    while (rest->n > 0 && rest->p[0] == ' ')
        *rest = spf_behind(*rest, 1);
    while (n < rest->n && rest->p[n] != ' ')
        n++;
    *word = (struct spf_span){rest->p, n};
    *rest = spf_behind(*rest, n);
    return n > 0;
}

/* name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ); its length, 0: none */
static size_t
name_length(struct spf_span word)
{
    size_t n = 0;

    if (word.n == 0 || !spf_is_alpha(word.p[0]))
        return 0;
    while (n < word.n && (spf_is_alpha(word.p[n]) || spf_is_digit(word.p[n]) || word.p[n] == '-' ||
                             word.p[n] == '_' || word.p[n] == '.'))
        n++;
    return n;
}

static bool
is_modifier(struct spf_span word)
{
    size_t n = name_length(word);

    return n > 0 && n < word.n && word.p[n] == '=';
}

/* ---- domain-spec ---- */

/* Letters, digits and hyphens, none of these at an end, and not only digits */
static bool
is_toplabel(struct spf_span label)
{
    bool numeric = true;

    if (label.n == 0 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        if (!spf_is_alpha(label.p[i]) && !spf_is_digit(label.p[i]) && label.p[i] != '-')
            return false;
        numeric = numeric && spf_is_digit(label.p[i]);
    }
    return !numeric;
}

/* macro-string, then a macro or "." toplabel [ "." ] (7.1) */
static bool
is_domain_spec(struct spf_span text)
{
    const char *dot;
    size_t tail;

    if (text.n == 0 || !spf_macro_check(text, SPF_IN_RECORD, &tail))
        return false;
    if (tail == text.n)
        return true;
    text = spf_behind(text, tail);
    if (text.p[text.n - 1] == '.')
        text.n--;
    dot = memrchr(text.p, '.', text.n);
    return dot != NULL && is_toplabel(spf_behind(text, (size_t)(dot + 1 - text.p)));
}

/* ":" domain-spec */
static bool
parse_domain(struct spf_span text, struct spf_term *out)
{
    if (text.n == 0 || text.p[0] != ':')
        return false;
    out->domain = spf_behind(text, 1);
    return is_domain_spec(out->domain);
}

static bool
parse_optional_domain(struct spf_span text, struct spf_term *out)
{
    return text.n == 0 || parse_domain(text, out);
}

/* ---- addresses ---- */

/*
 * Take slashes and a number from the end: "/24", "//64". From the end, because a domain-spec may
 * hold slashes. false: the number is none of 0..max.
 */
static bool
cut_length(struct spf_span *text, size_t slashes, int max, int *bits)
{
    size_t digits = 0, at;
    int value = 0;

    while (digits < text->n && spf_is_digit(text->p[text->n - 1 - digits]))
        digits++;
    at = text->n - digits;
    if (digits == 0 || at < slashes || memcmp(text->p + at - slashes, "//", slashes) != 0)
        return true;
    if (digits > 3 || (digits > 1 && text->p[at] == '0'))
        return false;
    for (size_t i = at; i < text->n; i++)
        value = value * 10 + (text->p[i] - '0');
    text->n = at - slashes;
    *bits = value;
    return value <= max;
}

/* [ ":" domain-spec ] [ "/" ip4-cidr-length ] [ "//" ip6-cidr-length ] */
static bool
parse_hosts(struct spf_span text, struct spf_term *out)
{
    return cut_length(&text, 2, 128, &out->bits6) && cut_length(&text, 1, 32, &out->bits4) &&
           parse_optional_domain(text, out);
}

/* ":" address; family AF_INET or AF_INET6 */
static bool
parse_address(struct spf_span text, int family, uint8_t *out)
{
    char address[INET6_ADDRSTRLEN];

    if (text.n < 2 || text.p[0] != ':' || text.n > sizeof address)
        return false;
    memcpy(address, text.p + 1, text.n - 1);
    address[text.n - 1] = '\0';
    return inet_pton(family, address, out) == 1;
}

static bool
parse_ip4(struct spf_span text, struct spf_term *out)
{
    memset(out->ip + 10, 0xff, 2);
    return cut_length(&text, 1, 32, &out->bits4) && parse_address(text, AF_INET, out->ip + 12);
}

static bool
parse_ip6(struct spf_span text, struct spf_term *out)
{
    return cut_length(&text, 1, 128, &out->bits6) && parse_address(text, AF_INET6, out->ip);
}

static bool
parse_nothing(struct spf_span text, struct spf_term *out)
{
    (void)out;
    return text.n == 0;
}

/* ---- terms ---- */

static const struct {
    const char *name;
    enum spf_mechanism mechanism;
    bool (*parse)(struct spf_span text, struct spf_term *out); /* what follows the name */
} mechanisms[] = {
    {"all", SPF_ALL, parse_nothing},
    {"include", SPF_INCLUDE, parse_domain},
    {"a", SPF_A, parse_hosts},
    {"mx", SPF_MX, parse_hosts},
    {"ptr", SPF_PTR, parse_optional_domain},
    {"ip4", SPF_IP4, parse_ip4},
    {"ip6", SPF_IP6, parse_ip6},
    {"exists", SPF_EXISTS, parse_domain},
};

static bool
parse_mechanism(struct spf_span word, struct spf_term *out)
{
    struct spf_span name;

    *out = (struct spf_term){.qualifier = '+', .text = word, .bits4 = 32, .bits6 = 128};
    if (strchr("+-~?", word.p[0]) != NULL) {
        out->qualifier = word.p[0];
        word = spf_behind(word, 1);
    }
    name = (struct spf_span){word.p, name_length(word)};
    for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++) {
        if (span_is(name, mechanisms[i].name)) {
            out->mechanism = mechanisms[i].mechanism;
            return mechanisms[i].parse(spf_behind(word, name.n), out);
        }
    }
    return false;
}

/* redirect and exp, at most one of each (6); any other name means nothing, but is well-formed */
static bool
parse_modifier(struct spf_span word, struct spf_record *out)
{
    struct spf_span name = {word.p, name_length(word)}, value = spf_behind(word, name.n + 1);
    struct spf_span *known = span_is(name, "redirect") ? &out->redirect
                             : span_is(name, "exp")    ? &out->exp
                                                       : NULL;
    size_t tail;

    if (known == NULL)
        return spf_macro_check(value, SPF_IN_RECORD, &tail);
    if (known->n > 0)
        return false;
    *known = value;
    return is_domain_spec(value);
}

bool
spf_record_is(const char *text)
{
    size_t n = strlen(version);

    return strncasecmp(text, version, n) == 0 && (text[n] == ' ' || text[n] == '\0');
}

bool
spf_record_parse(const char *text, struct spf_record *out)
{
    struct spf_span rest = {text + strlen(version), strlen(text) - strlen(version)}, word;
    struct spf_term term;

    *out = (struct spf_record){.terms = rest};
    while (next_word(&rest, &word)) {
        if (is_modifier(word) ? !parse_modifier(word, out) : !parse_mechanism(word, &term)) {
            out->wrong = word;
            return false;
        }
    }
    return true;
}

bool
spf_term_next(struct spf_span *rest, struct spf_term *out)
{
    struct spf_span word;

    while (next_word(rest, &word))
        if (!is_modifier(word))
            return parse_mechanism(word, out);
    return false;
}
