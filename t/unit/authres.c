/* mail/authres: what pretends to be ours goes, all else stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "mail/authres.h"

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

static size_t
stripped(struct arena *a, const char *text)
{
    struct header *h = header_new(a);

    header_parse(h, str_of(text));
    return authres_strip(h, STR("mx.example.org"));
}

static void
forged_fields_go(void **state)
{
    static const char *const cases[] = {
        "Authentication-Results: mx.example.org; spf=pass\n",
        "Authentication-Results:mx.example.org;spf=pass\n",
        "authentication-RESULTS: MX.Example.ORG; spf=pass\n",
        "Authentication-Results: mx.example.org\n",
        "Authentication-Results: mx.example.org 1; spf=pass\n",
        "Authentication-Results: mx.example.org(x)1; spf=pass\n",
        "Authentication-Results:\n mx.example.org; spf=pass\n",
        "Authentication-Results: \n\t\n mx.example.org\n ; spf=pass\n",
        "Authentication-Results: (a comment) mx.example.org; spf=pass\n",
        "Authentication-Results: (a (nested; \\) one) x)(and\n another)mx.example.org;x\n",
        "Authentication-Results: \"mx.example.org\"; spf=pass\n",
        "Authentication-Results: \"mx.ex\\ample.org\" ; spf=pass\n",
        "Authentication-Results: \"mx.\n example.org\"; spf=pass\n",
        "Authentication-Results: \"mx\".example.org; spf=pass\n",
        "Authentication-Results: \r\v mx.example.org\r; spf=pass\n",
        "Authentication-Results : mx.example.org; spf=pass\n",
        "Authentication-Results\t: mx.example.org; spf=pass\n",
        " Authentication-Results: mx.example.org; spf=pass\n", /* the first line of all */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (stripped(*state, cases[i]) != 1)
            fail_msg("kept: %s", cases[i]);
}

/* What RFC 8601 does not allow, and some reader may still understand as our name. */
static void
fields_that_only_a_generous_reader_takes_for_ours_go(void **state)
{
    static const char *const cases[] = {
        /* folds, comments and blanks inside of the name */
        "Authentication-Results: mx.\n example.org; spf=pass\n",
        "Authentication-Results: mx.exam\n\tple.org; spf=pass\n",
        "Authentication-Results: mx.example.org\n .evil.net; spf=pass\n",
        "Authentication-Results: mx . example . org; spf=pass\n",
        "Authentication-Results: mx (x) .\n (y) example.org; spf=pass\n",
        "Authentication-Results: mx(x).example(y(z)).org; spf=pass\n",
        "Authentication-Results: \"mx\"(x)\".example.org\"; spf=pass\n",
        "Authentication-Results: mx\\.example.org; spf=pass\n",
        "Authentication-Results: mx.example.org.; spf=pass\n",
        "Authentication-Results: mx.example.org. 1; spf=pass\n",
        /* comments that do not nest for everybody, nor know a backslash */
        "Authentication-Results: (a (b) mx.example.org; spf=pass )\n",
        "Authentication-Results: (a \\) mx.example.org; spf=pass )\n",
        "Authentication-Results: (a ( \\) b) mx.example.org; spf=pass ) )\n",
        /* encoded words */
        "Authentication-Results: =?us-ascii?q?mx=2Eexample=2Eorg?=; spf=pass\n",
        "Authentication-Results: =?utf-8?b?bXguZXhhbXBsZS5vcmc7IHNwZj1wYXNz?=\n",
        "Authentication-Results: (=?us-ascii?q?=29mx=2Eexample=2Eorg=3B=28?=) other; x\n",
        "Authentication-Results: mx.=?us-ascii?q?example?=.org; spf=pass\n",
        /* letters and dots that are mapped to ours, or to nothing (IDNA) */
        "Authentication-Results: \xef\xbd\x8d\xef\xbd\x98.example.org; spf=pass\n",
        "Authentication-Results: mx\xe3\x80\x82"
        "example\xef\xbc\x8eorg; spf=pass\n",
        "Authentication-Results: mx.\xe2\x80\x8b"
        "example.org; spf=pass\n",
        "Authentication-Results: \"mx.example\xc2\xad.ORG\"; spf=pass\n",
        /* lines that end in CR alone */
        "Subject: x\rAuthentication-Results: mx.example.org; spf=pass\n",
        "Authentication-Results: other; x\rauthentication-results : mx.example.org\ry\n",
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (stripped(*state, cases[i]) != 1)
            fail_msg("kept: %s", cases[i]);
}

static void
other_fields_stay(void **state)
{
    static const char *const cases[] = {
        "",
        "Authentication-Results:\n",
        "Authentication-Results: ;\n",
        "Authentication-Results: \"\"\n",
        "Authentication-Results: other.example.org; spf=pass\n",
        "Authentication-Results: mx.example.org.evil.net; spf=pass\n",
        "Authentication-Results: mx.example.or; spf=pass\n",
        "Authentication-Results: amx.example.org; spf=pass\n",
        "Authentication-Results: (mx.example.org) other; spf=pass\n",
        "Authentication-Results: (mx.example.org; x\n",
        "Authentication-Results: (\\\n",
        "Authentication-Results: \"mx\\\n",
        "Authentication-Results: other; x=mx.example.org\n",
        "Authentication-Results mx.example.org\n",
        "X-Authentication-Results: mx.example.org; spf=pass\n",
        "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\n",
        "Authentication-Results: mx example.org; spf=pass\n",
        "Authentication-Results: mx.example.org..; spf=pass\n",
        "Authentication-Results: (a (mx.example.org) b) other; spf=pass\n",
        "Authentication-Results: other; x==?us-ascii?q?mx=2Eexample=2Eorg?=\n",
        "Authentication-Results: \xc3\xbc"
        "bermail.example; spf=pass\n",
        "Authentication-Results: mx.\xc3\xbc"
        "bermail.net; spf=pass\n",
        "Subject: Authentication-Results: mx.example.org\rx\n",
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (stripped(*state, cases[i]) != 0)
            fail_msg("removed: %s", cases[i]);
}

static void
each_forged_field_goes_and_order_is_kept(void **state)
{
    struct header *h = header_new(*state);

    header_parse(h,
        STR("Authentication-Results: mx.example.org; 1\nA: 1\nAuthentication-Results: other; 2\n"
            "Authentication-Results: mx.example.org; 3\nAuthentication-Results: mx.example.org; 4\n"
            "B: 2\n"));
    assert_int_equal(authres_strip(h, STR("mx.example.org")), 3);
    assert_int_equal(header_count(h), 3);
    assert_true(str_eq(header_at(h, 0)->raw, STR("A: 1\n")));
    assert_string_equal(header_value(h, header_at(h, 1)), "other; 2");
    assert_true(str_eq(header_at(h, 2)->raw, STR("B: 2\n")));
}

/* The time grows with the length, not with its square: these take milliseconds, or for ever. */
static void
long_fields_cost_no_time(void **state)
{
    static const char *const parts[] = {"\r", "\rAuthentication-Results:(", "(", "(x)", "\\", "\"",
        "\n ", ".", "mx.example.org", "\r ", "\xff", "=?", " ."};
    static const char *const before[] = {
        "", "Authentication-Results:", "Authentication-Results: mx"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts * 3; i++) {
        const char *part = parts[i / 3];
        struct buf b;

        buf_init(&b, *state, 4 << 20);
        buf_puts(&b, before[i % 3]);
        while (b.n < 2 << 20)
            buf_puts(&b, part);
        buf_puts(&b, "\n");
        stripped(*state, buf_text(&b));
    }
}

static void
auth_results_cannot_be_extended_by_a_user_name(void **state)
{
    struct arena *a = *state;

    assert_string_equal(authres_auth(a, AUTHRES_NONE, NULL, NULL), "auth=none");
    assert_string_equal(
        authres_auth(a, AUTHRES_PASS, "PLAIN", "joe"), "auth=pass (PLAIN) smtp.auth=joe");
    assert_string_equal(authres_auth(a, AUTHRES_FAIL, "CRAM-MD5", "joe@example.org"),
        "auth=fail (CRAM-MD5) smtp.auth=joe@example.org");
    assert_string_equal(authres_auth(a, AUTHRES_PASS, "LOGIN)", "x; dkim=pass\nB: \""),
        "auth=pass (LOGIN?) smtp.auth=\"x??dkim=pass?B:??\"");
    assert_string_equal(
        authres_auth(a, AUTHRES_FAIL, "PLAIN", ""), "auth=fail (PLAIN) smtp.auth=\"\"");
    assert_string_equal(
        authres_auth(a, AUTHRES_FAIL, "PLAIN", "a@b@c"), "auth=fail (PLAIN) smtp.auth=\"a@b@c\"");
}

static void
values_are_recognized_as_ours(void **state)
{
    static const char *const items[] = {NULL, "", "spf=pass smtp.mailfrom=x; dkim=none"};
    static const char *const want[] = {"mx.example.org; auth=none", "mx.example.org; auth=none",
        "mx.example.org; auth=none;\n\tspf=pass smtp.mailfrom=x; dkim=none"};

    for (size_t i = 0; i < sizeof items / sizeof *items; i++) {
        const char *value = authres_value(*state, "mx.example.org", "auth=none", items[i]);

        assert_string_equal(value, want[i]);
        assert_int_equal(
            stripped(*state, arena_printf(*state, "Authentication-Results: %s\n", value)), 1);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(forged_fields_go),
        TEST(fields_that_only_a_generous_reader_takes_for_ours_go),
        TEST(other_fields_stay),
        TEST(each_forged_field_goes_and_order_is_kept),
        TEST(long_fields_cost_no_time),
        TEST(auth_results_cannot_be_extended_by_a_user_name),
        TEST(values_are_recognized_as_ours),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
