/* plugins/sender_permitted_from.parts: macro, record, name */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugins/sender_permitted_from.parts/name.h"
#include "../../plugins/sender_permitted_from.parts/record.h"

static struct spf_span
span(const char *text)
{
    return (struct spf_span){text, strlen(text)};
}

static struct spf_macros
values(const char *ip)
{
    struct spf_macros m = {
        .local = "strong-bad",
        .origin = "email.example.com",
        .domain = "email.example.com",
        .helo = "mail.example.net",
        .validated = "mx.example.org",
        .receiver = "here.example",
        .now = 1700000000,
    };

    assert_true(spf_ip_parse(ip, m.ip));
    return m;
}

/* RFC 7208, 7.4, and what that does not show */
static void
macros_expand_as_in_the_rfc(void **state)
{
    static const struct {
        const char *text, *expanded;
        const char *ip;
    } cases[] = {
        {"%{s}", "strong-bad@email.example.com", NULL},
        {"%{o}", "email.example.com", NULL},
        {"%{d}", "email.example.com", NULL},
        {"%{d4}", "email.example.com", NULL},
        {"%{d3}", "email.example.com", NULL},
        {"%{d2}", "example.com", NULL},
        {"%{d1}", "com", NULL},
        {"%{dr}", "com.example.email", NULL},
        {"%{d2r}", "example.email", NULL},
        {"%{l}", "strong-bad", NULL},
        {"%{l-}", "strong.bad", NULL},
        {"%{lr}", "strong-bad", NULL},
        {"%{lr-}", "bad.strong", NULL},
        {"%{l1r-}", "strong", NULL},
        {"%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com", NULL},
        {"%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com", NULL},
        {"%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
            NULL},
        {"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com", NULL},
        {"%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net", NULL},
        {"%{ir}.%{v}._spf.%{d2}",
            "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com",
            "2001:db8::cb01"},
        {"%{c}", "2001:db8::cb01", "2001:db8::cb01"},
        {"%{c} %{r} %{t} %{h} %{p}",
            "192.0.2.3 here.example 1700000000 mail.example.net mx.example.org", NULL},
        {"%{S}", "strong-bad%40email.example.com", NULL},
        {"%{DR}", "com.example.email", NULL},
        {"%{l2r+-}", "bad.strong", NULL},
        {"%{d999999999999}", "email.example.com", NULL},
        {"%%%_%-", "% %20", NULL},
        {"", "", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct spf_macros m = values(cases[i].ip != NULL ? cases[i].ip : "192.0.2.3");
        char out[200];

        assert_true(spf_macro_expand(span(cases[i].text), SPF_IN_EXPLANATION, &m, out, sizeof out));
        assert_string_equal(out, cases[i].expanded);
    }
}

static void
wrong_macros_are_found(void **state)
{
    static const char *const wrong[] = {"%", "a%", "%a", "%{", "%{}", "%{d", "%{x}", "%{d0}",
        "%{d00r}", "%{dx}", "%{d.r}", "%{rd}", "% {d}", "a b", "\x7f", "\xe4", "\t"};
    static const char *const explanation_only[] = {"%{c}", "%{r}", "%{t}", "%{T}"};
    size_t tail;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(spf_macro_check(span(wrong[i]), SPF_IN_RECORD, &tail));
    for (size_t i = 0; i < sizeof explanation_only / sizeof *explanation_only; i++) {
        assert_false(spf_macro_check(span(explanation_only[i]), SPF_IN_RECORD, &tail));
        assert_true(spf_macro_check(span(explanation_only[i]), SPF_IN_EXPLANATION, &tail));
    }
}

static void
what_does_not_fit_is_nothing(void **state)
{
    struct spf_macros m = values("192.0.2.3");
    char out[18];

    (void)state;
    assert_true(spf_macro_expand(span("%{d}"), SPF_IN_RECORD, &m, out, sizeof out));
    assert_false(spf_macro_expand(span("%{d}x"), SPF_IN_RECORD, &m, out, sizeof out));
    assert_string_equal(out, "");
}

static void
records_are_told_from_other_text(void **state)
{
    (void)state;
    assert_true(spf_record_is("v=spf1"));
    assert_true(spf_record_is("V=SPF1 -all"));
    assert_false(spf_record_is("v=spf10"));
    assert_false(spf_record_is(" v=spf1"));
    assert_false(spf_record_is("v=spf1\t-all"));
    assert_false(spf_record_is(""));
}

static void
wrong_terms_are_named(void **state)
{
    static const struct {
        const char *text, *wrong; /* NULL: nothing is wrong */
    } cases[] = {
        {"v=spf1", NULL},
        {"v=spf1  ?a:%{d}/24//64 -ALL ", NULL},
        {"v=spf1 ip6:2001:db8::/32 ip4:192.0.2.0/0", NULL},
        {"v=spf1 a/24//64 mx//0 ptr:a.b exists:%{i}.b. x=", NULL},
        {"v=spf1 redirect=a.b exp=%{d}", NULL},
        {"v=spf1 a all/8", "all/8"},
        {"v=spf1 --all a", "--all"},
        {"v=spf1 +redirect=a.b", "+redirect=a.b"},
        {"v=spf1 a:b", "a:b"},
        {"v=spf1 a:a.b-", "a:a.b-"},
        {"v=spf1 a:a.123", "a:a.123"},
        {"v=spf1 a:%{d}com", "a:%{d}com"},
        {"v=spf1 a/024", "a/024"},
        {"v=spf1 a/24/64", "a/24/64"},
        {"v=spf1 a/", "a/"},
        {"v=spf1 ip4:192.0.2.1/33", "ip4:192.0.2.1/33"},
        {"v=spf1 ip4:192.0.2.01", "ip4:192.0.2.01"},
        {"v=spf1 ip4:192.0.2.1:25", "ip4:192.0.2.1:25"},
        {"v=spf1 ip6:192.0.2.1", "ip6:192.0.2.1"},
        {"v=spf1 ip6:2001:db8::/4294967297", "ip6:2001:db8::/4294967297"},
        {"v=spf1 exp=a.b exp=a.b", "exp=a.b"},
        {"v=spf1 redirect=", "redirect="},
        {"v=spf1 include", "include"},
        {"v=spf1 1x=a", "1x=a"},
        {"v=spf1 x=%", "x=%"},
        {"v=spf1 -", "-"},
        {"v=spf1 a\tmx", "a\tmx"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct spf_record record;
        bool good = spf_record_parse(cases[i].text, &record);

        if (good != (cases[i].wrong == NULL))
            fail_msg("%s", cases[i].text);
        if (!good && cases[i].wrong != NULL) {
            assert_int_equal(record.wrong.n, strlen(cases[i].wrong));
            assert_memory_equal(record.wrong.p, cases[i].wrong, record.wrong.n);
        }
    }
}

static void
long_names_lose_labels_on_the_left(void **state)
{
    char name[512], label[64];
    const char *fit;

    (void)state;
    memset(label, 'x', 60);
    label[60] = '\0';
    snprintf(name, sizeof name, "first.%s.%s.%s.%s.second.example.", label, label, label, label);
    fit = spf_name_fit(name);
    assert_int_equal(strlen(fit), 4 * 60 + 3 - 61 + strlen(".second.example"));
    assert_int_equal(fit[60], '.');
    memset(name, 'x', 300);
    name[300] = '\0';
    assert_string_equal(spf_name_fit(name), "");
}

static void
names_have_labels_or_are_none(void **state)
{
    (void)state;
    assert_int_equal(spf_name_labels("a.b.c"), 3);
    assert_int_equal(spf_name_labels("a"), 1);
    assert_int_equal(spf_name_labels(""), 0);
    assert_int_equal(spf_name_labels("a..b"), 0);
    assert_int_equal(spf_name_labels(".a"), 0);
    assert_int_equal(spf_name_labels("a."), 0);
    assert_true(spf_name_is_within("mail.Example.com", "example.COM"));
    assert_true(spf_name_is_within("example.com", "example.com"));
    assert_false(spf_name_is_within("badexample.com", "example.com"));
    assert_false(spf_name_is_within("com", "example.com"));
    assert_false(spf_name_is_domain("localhost"));
    assert_false(spf_name_is_domain("[192.0.2.1]"));
}

static void
prefixes_are_compared_by_bits(void **state)
{
    uint8_t a[16], b[16];

    (void)state;
    assert_true(spf_ip_parse("192.0.2.129", a) && spf_ip_parse("192.0.2.1", b));
    assert_true(spf_ip_same_prefix(a, b, 96 + 24));
    assert_false(spf_ip_same_prefix(a, b, 96 + 25));
    assert_true(spf_ip_same_prefix(a, b, 0));
    assert_true(spf_ip_is_v4(a));
    assert_true(spf_ip_parse("::ffff:192.0.2.129", b) && spf_ip_same_prefix(a, b, 128));
    assert_true(spf_ip_parse("2001:db8::1", b) && !spf_ip_is_v4(b));
    assert_false(spf_ip_parse("unknown", b));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(macros_expand_as_in_the_rfc),
        cmocka_unit_test(wrong_macros_are_found),
        cmocka_unit_test(what_does_not_fit_is_nothing),
        cmocka_unit_test(records_are_told_from_other_text),
        cmocka_unit_test(wrong_terms_are_named),
        cmocka_unit_test(long_names_lose_labels_on_the_left),
        cmocka_unit_test(names_have_labels_or_are_none),
        cmocka_unit_test(prefixes_are_compared_by_bits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
