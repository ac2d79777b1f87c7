/* mail/address: what is accepted is clean, and its canonical form is accepted again and means the
 * same. */
#include <assert.h>

#include "mail/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
expect_equal(const struct qp_address *a, const struct qp_address *b)
{
    assert(b);
    assert(strcmp(a->address, b->address) == 0);
    assert(strcmp(a->user, b->user) == 0);
    assert(strcmp(a->host, b->host) == 0);
    assert(strcmp(a->format, b->format) == 0);
}

static void
check(struct arena *a, struct str text, unsigned rules)
{
    const struct qp_address *got = address_parse(a, text, rules);
    size_t user, host;

    if (!got)
        return;
    user = strlen(got->user);
    host = strlen(got->host);
    assert(strlen(got->address) == user + host + (host > 0));
    assert(user + host <= ADDRESS_PATH_MAX && host <= ADDRESS_DOMAIN_MAX);
    assert(strlen(got->format) <= ADDRESS_PATH_MAX + 2);
    for (const char *p = got->format; *p; p++)
        assert(*p >= 0x20 && *p < 0x7f);
    assert(user > 0 || strcmp(got->format, "<>") == 0);
    expect_equal(got, address_parse(a, str_of(got->format), rules));
    if (strcmp(got->host, "[]") != 0) { /* else a VERP sender */
        expect_equal(got, address_parse(a, str_of(got->format), ADDRESS_STRICT));
        expect_equal(got, address_new(a, str_of(got->user), str_of(got->host)));
    }
    assert(address_eq(got, got));
    /* a more lenient reading may accept more, but never something else */
    expect_equal(got, address_parse(a, text, rules | ADDRESS_VERP));
    if (!(rules & ADDRESS_VERP))
        expect_equal(got, address_parse(a, text, rules | ADDRESS_LENIENT));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_open("fuzz");
    struct str text = {(const char *)data, size};

    for (unsigned rules = 0; rules <= (ADDRESS_LENIENT | ADDRESS_VERP); rules++)
        check(a, text, rules);
    arena_close(&a);
    return 0;
}
