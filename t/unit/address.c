/* mail/address: every row of the table of accepted and refused mailboxes, and the canonical form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mail/address.h"

#define USER64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct good {
    const char *text, *address, *format;
    unsigned rules;
};

struct bad {
    struct str text;
    unsigned rules;
};

#define LENIENT ADDRESS_LENIENT
#define VERP    ADDRESS_VERP

static int
setup(void **state)
{
    *state = arena_open("test");
    return 0;
}

static int
teardown(void **state)
{
    arena_close((struct arena **)state);
    return 0;
}

static void
expect_good(struct arena *a, const struct good *g)
{
    const struct qp_address *got = address_parse(a, str_of(g->text), g->rules);
    const struct qp_address *again;

    if (!got) {
        fail_msg("%s was refused", g->text);
        return;
    }
    assert_string_equal(got->address, g->address);
    assert_string_equal(got->format, g->format);
    again = address_parse(a, str_of(got->format), g->rules);
    assert_non_null(again);
    assert_string_equal(again->address, got->address);
    assert_string_equal(again->user, got->user);
    assert_string_equal(again->host, got->host);
    assert_string_equal(again->format, got->format);
}

static void
good_mailboxes_are_taken_and_formatted(void **state)
{
    static const struct good cases[] = {
        {"<>", "", "<>", 0},
        {"<#@[]>", "", "<>", 0},
        {"<@x.y:>", "", "<>", 0},
        {"<foo@example.com>", "foo@example.com", "<foo@example.com>", 0},
        {"<foo@example>", "foo@example", "<foo@example>", 0},
        {"<foo@1.2>", "foo@1.2", "<foo@1.2>", 0},
        {"<0@a.b>", "0@a.b", "<0@a.b>", 0},
        {"<Foo@Example.COM>", "Foo@Example.COM", "<Foo@Example.COM>", 0},
        {"<foo@exam_ple.com>", "foo@exam_ple.com", "<foo@exam_ple.com>", 0},
        {"<foo@xn--bcher-kva.example>", "foo@xn--bcher-kva.example", "<foo@xn--bcher-kva.example>",
            0},
        {"<foo@[1.2.3.4]>", "foo@[1.2.3.4]", "<foo@[1.2.3.4]>", 0},
        {"<foo@[IPv6:2001:db8::1]>", "foo@[IPv6:2001:db8::1]", "<foo@[IPv6:2001:db8::1]>", 0},
        {"<foo@[ipv6:2001:DB8::1]>", "foo@[ipv6:2001:DB8::1]", "<foo@[ipv6:2001:DB8::1]>", 0},
        {"<foo@[IPv6:::ffff:192.0.2.1]>", "foo@[IPv6:::ffff:192.0.2.1]",
            "<foo@[IPv6:::ffff:192.0.2.1]>", 0},
        {"<foo..bar@a.b>", "foo..bar@a.b", "<foo..bar@a.b>", 0},
        {"<foo.@a.b>", "foo.@a.b", "<foo.@a.b>", 0},
        {"<.foo@a.b>", ".foo@a.b", "<.foo@a.b>", 0},
        {"<\"a@b\"@a.b>", "a@b@a.b", "<\"a\\@b\"@a.b>", 0},
        {"<\"foo bar\"@a.b>", "foo bar@a.b", "<\"foo\\ bar\"@a.b>", 0},
        {"<\"foo\\\"bar\"@a.b>", "foo\"bar@a.b", "<\"foo\\\"bar\"@a.b>", 0},
        {"<\"foo\"@a.b>", "foo@a.b", "<foo@a.b>", 0},
        {"<\"f\\oo\"@a.b>", "foo@a.b", "<foo@a.b>", 0},
        {"<\"<x>\"@a.b>", "<x>@a.b", "<\"\\<x\\>\"@a.b>", 0},
        {"<@x.y,@z.w:foo@a.b>", "foo@a.b", "<foo@a.b>", 0},
        {"<@[IPv6:::1]:foo@a.b>", "foo@a.b", "<foo@a.b>", 0},
        {"<postmaster>", "postmaster", "<postmaster>", 0},
        {"<PostMaster>", "PostMaster", "<PostMaster>", 0},
        {"<!#$%&'*+-/=?^_`{|}~@a.b>", "!#$%&'*+-/=?^_`{|}~@a.b", "<!#$%&'*+-/=?^_`{|}~@a.b>", 0},
        {"<" USER64 "x@a.b>", USER64 "x@a.b", "<" USER64 "x@a.b>", 0},
        {"<foo bar@a.b>", "foo bar@a.b", "<\"foo\\ bar\"@a.b>", LENIENT},
        {"<foo(x)@a.b>", "foo(x)@a.b", "<\"foo\\(x\\)\"@a.b>", LENIENT},
        {"<f,oo@a.b>", "f,oo@a.b", "<\"f\\,oo\"@a.b>", LENIENT},
        {"<foo\"bar@a.b>", "foo\"bar@a.b", "<\"foo\\\"bar\"@a.b>", LENIENT},
        {"<a@b@a.b>", "a@b@a.b", "<\"a\\@b\"@a.b>", LENIENT},
        {"<list-@host-@[]>", "list-@host-@[]", "<list-@host-@[]>", VERP},
        {"<list-@a.b-@[]>", "list-@a.b-@[]", "<list-@a.b-@[]>", VERP | LENIENT},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_good(*state, &cases[i]);
}

static void
bad_mailboxes_are_refused(void **state)
{
    const struct bad cases[] = {
        {STR(""), 0},
        {STR("<"), 0},
        {STR(">"), 0},
        {STR("foo@a.b"), 0},
        {STR("<foo@a.b"), 0},
        {STR("foo@a.b>"), 0},
        {STR("< >"), 0},
        {STR("<@>"), 0},
        {STR("<:>"), 0},
        {STR("<@a>"), 0},
        {STR("<@a.b:"), 0},
        {STR("<@a.b,>"), 0},
        {STR("<@a.b,c.d:foo@a.b>"), 0},
        {STR("<@a..b:foo@a.b>"), 0},
        {STR("<foo@a b>"), LENIENT},
        {STR("<foo@a/b>"), LENIENT},
        {STR("<foo@a#b>"), LENIENT},
        {STR("<foo@a.b>x>"), LENIENT},
        {STR("<user@example.com#>"), LENIENT},
        {STR("<foo@a..b>"), LENIENT},
        {STR("<foo@a.b.>"), LENIENT},
        {STR("<foo@.a>"), LENIENT},
        {STR("<foo@-a.b>"), LENIENT},
        {STR("<foo@a-.b>"), LENIENT},
        {STR("<foo@_a.b>"), LENIENT},
        {STR("<foo@>"), LENIENT},
        {STR("<foo@[999.2.3.4]>"), LENIENT},
        {STR("<foo@[IPv6:1.2.3.4]>"), LENIENT},
        {STR("<foo@[2001:db8::1]>"), LENIENT},
        {STR("<foo@[IPv6:2001:db8::1%lo]>"), LENIENT},
        {STR("<foo@[IPv6:]>"), LENIENT},
        {STR("<foo@[1.2.3]>"), LENIENT},
        {STR("<foo@[]>"), LENIENT},
        {STR("<foo@[>"), LENIENT},
        {STR("<foo@[x-tag:1]>"), LENIENT},
        {STR("<foo bar@a.b>"), 0},
        {STR("<foo(x)@a.b>"), 0},
        {STR("<f,oo@a.b>"), 0},
        {STR("<foo\"bar@a.b>"), 0},
        {STR("<a@b@a.b>"), 0},
        {STR("<\"\"@a.b>"), LENIENT},
        {STR("<\"foo@a.b>"), LENIENT},
        {STR("<\"foo\\\"@a.b>"), LENIENT},
        {STR("<\"foo\\"), LENIENT},
        {STR("<\"foo\">"), LENIENT},
        {STR("<\"foo\"@>"), LENIENT},
        {STR("<\"foo\"bar@a.b>"), LENIENT},
        {STR("<\"postmaster\">"), LENIENT},
        {STR("<@a.b>"), LENIENT},
        {STR("< foo@a.b>"), LENIENT},
        {STR("<f>oo@a.b>"), LENIENT},
        {STR("<abuse>"), LENIENT},
        {STR("<foo>"), LENIENT},
        {STR("<f\303\266@a.b>"), LENIENT},
        {STR("<\303\266@a.b>"), 0},
        {STR("<foo@\303\266.b>"), LENIENT},
        {STR("<\"f\303\266\"@a.b>"), 0},
        {STR("<f\0oo@a.b>"), LENIENT},
        {STR("<\"f\0\"@a.b>"), 0},
        {STR("<f\roo@a.b>"), LENIENT},
        {STR("<f\noo@a.b>"), LENIENT},
        {STR("<\"f\\\noo\"@a.b>"), 0},
        {STR("<foo@a.b\t>"), LENIENT},
        {STR("<foo@a.b\177>"), LENIENT},
        {STR("<x-@[]>"), 0},
        {STR("<x-@[]>"), VERP},
        {STR("<list-@host-@[]>"), 0},
        {STR("<list-@host-@[]>"), LENIENT},
        {STR("<list-@host@[]>"), VERP},
        {STR("<a b@host-@[]>"), VERP | LENIENT},
        {STR("<-@[]>"), VERP},
        {STR("<@host-@[]>"), VERP},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (address_parse(*state, cases[i].text, cases[i].rules))
            fail_msg("%.*s was taken", STR_ARG(cases[i].text));
}

static void
parts_are_split_at_the_host(void **state)
{
    const struct qp_address *a = address_parse(*state, STR("<\"a@b\"@c.d>"), ADDRESS_STRICT);

    assert_string_equal(a->user, "a@b");
    assert_string_equal(a->host, "c.d");
    a = address_parse(*state, STR("<postmaster>"), ADDRESS_STRICT);
    assert_string_equal(a->user, "postmaster");
    assert_string_equal(a->host, "");
    a = address_parse(*state, STR("<list-@host-@[]>"), ADDRESS_VERP);
    assert_string_equal(a->user, "list-@host-");
    assert_string_equal(a->host, "[]");
    a = address_new(*state, STR("joe"), STR("example.org"));
    assert_string_equal(a->address, "joe@example.org");
    assert_string_equal(a->format, "<joe@example.org>");
}

static const struct qp_address *
sized(struct arena *a, const char *fill, size_t user, size_t host, unsigned rules)
{
    char *text = arena_alloc(a, user + host + 8), *p = text;

    *p++ = '<';
    for (size_t i = 0; i < user; i++)
        *p++ = i == 0 ? 'u' : *fill;
    *p++ = '@';
    for (size_t i = 0; i < host; i++)
        *p++ = i % 2 ? '.' : 'h';
    *p++ = '>';
    return address_parse(a, (struct str){text, (size_t)(p - text)}, rules);
}

static void
lengths_are_bounded(void **state)
{
    assert_non_null(sized(*state, "u", 1, 255, ADDRESS_STRICT));
    assert_null(sized(*state, "u", 1, 257, ADDRESS_STRICT));
    assert_non_null(sized(*state, "u", 900 - 2, 1, ADDRESS_STRICT));
    assert_null(sized(*state, "u", 901 - 2, 1, ADDRESS_STRICT));
    /* 400 blanks are 800 bytes when they are quoted, 500 are too many */
    assert_non_null(sized(*state, " ", 401, 1, ADDRESS_LENIENT));
    assert_null(sized(*state, " ", 501, 1, ADDRESS_LENIENT));
}

static void
only_the_host_ignores_case(void **state)
{
    const struct qp_address *a = address_parse(*state, STR("<joe@example.org>"), 0);
    const struct qp_address *b = address_parse(*state, STR("<joe@EXAMPLE.org>"), 0);
    const struct qp_address *c = address_parse(*state, STR("<Joe@example.org>"), 0);
    const struct qp_address *d = address_parse(*state, STR("<joe@example.net>"), 0);

    assert_true(address_eq(a, b));
    assert_false(address_eq(a, c));
    assert_false(address_eq(a, d));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(good_mailboxes_are_taken_and_formatted, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_mailboxes_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_are_split_at_the_host, setup, teardown),
        cmocka_unit_test_setup_teardown(lengths_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_host_ignores_case, setup, teardown),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
