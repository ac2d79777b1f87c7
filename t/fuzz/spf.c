/*
 * t/fuzz/spf - any text as an SPF record and as an explanation: what is accepted is accepted again term
 * by term, names what it says it names, and expands to text that is safe to ask for and to show
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/sender_permitted_from.parts/name.h"
#include "../../plugins/sender_permitted_from.parts/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct spf_macros values = {
    .local = "strong-bad",
    .origin = "email.example.com",
    .domain = "e.example.com",
    .helo = "mail.example.net",
    .validated = "mx.example.org",
    .receiver = "here.example",
    .ip = {0x20, 0x01, 0x0d, 0xb8, [15] = 1},
    .now = 1234567890,
};

static void
check_inside(struct spf_span part, struct spf_span whole)
{
    assert(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

static void
check_printable(const char *text)
{
    for (; *text != '\0'; text++)
        assert(*text >= ' ' && *text <= '~');
}

static void
check_domain(struct spf_span domain, struct spf_span whole)
{
    char name[4096];
    const char *fit;
    size_t tail;

    check_inside(domain, whole);
    if (domain.n == 0)
        return;
    assert(spf_macro_check(domain, SPF_IN_RECORD, &tail) && tail <= domain.n);
    assert(!spf_macro_uses(domain, 'c') && !spf_macro_uses(domain, 't'));
    spf_macro_expand(domain, SPF_IN_RECORD, &values, name, sizeof name);
    check_printable(name);
    fit = spf_name_fit(name);
    assert(strlen(fit) <= 253 && spf_name_labels(fit) <= 127);
}

static void
check_term(const struct spf_term *t, struct spf_span whole)
{
    size_t room = t->text.n + sizeof "v=spf1 ";
    char *text = malloc(room);
    struct spf_record record;
    struct spf_term again;

    assert(text != NULL);
    check_inside(t->text, whole);
    check_domain(t->domain, t->text);
    assert(strchr("+-~?", t->qualifier) != NULL);
    assert(t->bits4 >= 0 && t->bits4 <= 32 && t->bits6 >= 0 && t->bits6 <= 128);
    snprintf(text, room, "v=spf1 %.*s", (int)t->text.n, t->text.p);
    assert(spf_record_parse(text, &record) && spf_term_next(&record.terms, &again));
    assert(again.mechanism == t->mechanism && again.qualifier == t->qualifier);
    assert(again.bits4 == t->bits4 && again.bits6 == t->bits6);
    assert(memcmp(again.ip, t->ip, sizeof t->ip) == 0 && again.domain.n == t->domain.n);
    assert(!spf_term_next(&record.terms, &again));
    free(text);
}

static void
check_record(const char *text)
{
    struct spf_span whole = {text, strlen(text)}, rest;
    struct spf_record record;
    struct spf_term term;

    assert(spf_record_is(text));
    if (!spf_record_parse(text, &record)) {
        assert(record.wrong.n > 0);
        check_inside(record.wrong, whole);
        return;
    }
    check_domain(record.redirect, whole);
    check_domain(record.exp, whole);
    for (rest = record.terms; spf_term_next(&rest, &term);)
        check_term(&term, whole);
    assert(rest.n == 0);
}

static void
check_explanation(const char *text)
{
    struct spf_span whole = {text, strlen(text)};
    char told[201];
    size_t tail;

    if (spf_macro_expand(whole, SPF_IN_EXPLANATION, &values, told, sizeof told))
        assert(spf_macro_check(whole, SPF_IN_EXPLANATION, &tail));
    else
        assert(told[0] == '\0');
    check_printable(told);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char version[] = "v=spf1 ";
    char *text = malloc(sizeof version + n);

    assert(text != NULL);
    memcpy(text, version, sizeof version - 1);
    memcpy(text + sizeof version - 1, data, n);
    text[sizeof version - 1 + n] = '\0';
    check_record(text);
    check_explanation(text + sizeof version - 1);
    if (spf_record_is(text + sizeof version - 1))
        check_record(text + sizeof version - 1);
    free(text);
    return 0;
}
