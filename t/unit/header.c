/* mail/header: nothing is lost, nothing is changed unasked, nothing that is added breaks out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "mail/header.h"

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

static struct header *
parsed(struct arena *a, struct str text)
{
    struct header *h = header_new(a);

    header_parse(h, text);
    return h;
}

static void
expect_text(struct arena *a, const struct header *h, struct str want)
{
    struct buf b;

    buf_init(&b, a, 1 << 20);
    for (size_t i = 0; i < header_count(h); i++)
        buf_put(&b, header_at(h, i)->raw);
    assert_int_equal(buf_str(&b).n, want.n);
    assert_memory_equal(buf_text(&b), want.p, want.n);
    assert_int_equal(header_size(h), want.n);
}

static void
every_byte_is_kept(void **state)
{
    const struct str cases[] = {
        STR(""),
        STR("Subject: x\n"),
        STR("Subject: a\n b\n\tc\nTo: d\n"),
        STR("broken line\nSubject : x\nTo: y\n"),
        STR(" orphan\n more\nTo: y\n"),
        STR("broken\n folded\nTo: y\n"),
        STR("a:\r\nb: \r c\n"),
        STR("n\0l: x\0y\nTo:\0\n"),
        STR("\303\244: 8 bit\n"),
        STR(" \n\t\n"),
        STR(":\n: x\n"),
        STR("A \t : x\n y\nB\t:\n"),
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_text(*state, parsed(*state, cases[i]), cases[i]);
}

static void
fields_are_told_from_other_lines(void **state)
{
    struct header *h = parsed(*state,
        STR(" orphan\nSubject: x\n\tfolded\nbroken line\n of two\nName \t : old\n: no\nX-\001: no\n"
            "!y~:z\nTwo words: no\nfold\n : no\nend \n : : no\n"));
    static const char *const names[] = {"", "Subject", "", "Name", "", "", "!y~", "", "", ""};

    assert_int_equal(header_count(h), sizeof names / sizeof *names);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct str name = header_at(h, i)->name;

        assert_true(str_eq(name, str_of(names[i])));
    }
    assert_null(header_at(h, sizeof names / sizeof *names));
}

static void
names_match_without_case(void **state)
{
    struct header *h = parsed(*state, STR("TO: 1\nx: 0\nto: 2\nTo: 3\nTos: 4\n"));
    size_t at = 99;

    assert_int_equal(header_count_of(h, STR("to")), 3);
    assert_string_equal(header_value(h, header_find(h, STR("tO"), 1, &at)), "2");
    assert_int_equal(at, 2);
    assert_string_equal(header_value(h, header_find(h, STR("to"), 2, NULL)), "3");
    assert_null(header_find(h, STR("to"), 3, &at));
    assert_int_equal(at, 2);
    assert_null(header_find(parsed(*state, STR("broken\n")), STR(""), 0, NULL));
    assert_int_equal(header_count_of(parsed(*state, STR("broken\n")), STR("")), 0);
}

static void
values_lose_only_what_surrounds_them(void **state)
{
    const struct {
        struct str text;
        const char *value;
    } cases[] = {
        {STR("A:b\n"), "b"},
        {STR("A: \t b \n"), "b "},
        {STR("A:\n"), ""},
        {STR("A: b\n c\n\td\n"), "b\n c\n\td"},
        {STR("A:\n b\n"), "\n b"},
        {STR("A: b\0c\n"), "b?c"},
        {STR("A: b:c\n"), "b:c"},
        {STR("A \t:b:c\n"), "b:c"},
        {STR("A : \t b \n c\n"), "b \n c"},
        {STR("no field\n"), "no field"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct header *h = parsed(*state, cases[i].text);

        assert_string_equal(header_value(h, header_at(h, 0)), cases[i].value);
    }
}

static void
only_a_first_line_of_an_mbox_is_renamed(void **state)
{
    expect_text(*state, parsed(*state, STR("From joe Mon Jan  1\nTo: x\n")),
        STR("Mail-From: joe Mon Jan  1\nTo: x\n"));
    expect_text(
        *state, parsed(*state, STR("From joe\n folded\n")), STR("Mail-From: joe\n folded\n"));
    expect_text(*state, parsed(*state, STR("To: x\nFrom joe\n")), STR("To: x\nFrom joe\n"));
    expect_text(*state, parsed(*state, STR("From: joe\n")), STR("From: joe\n"));
    expect_text(*state, parsed(*state, STR("From : joe\n")), STR("From : joe\n"));
}

static void
what_is_added_stays_one_field(void **state)
{
    const struct {
        struct str value, raw;
    } cases[] = {
        {STR("v"), STR("N: v\n")},
        {STR(""), STR("N: \n")},
        {STR("a\nb"), STR("N: a\n\tb\n")},
        {STR("a\n b\n\tc"), STR("N: a\n b\n\tc\n")},
        {STR("a\r\nBcc: b\r\n"), STR("N: a\n\tBcc: b\n")},
        {STR("a\n\nbody"), STR("N: a\n\tbody\n")},
        {STR("a\n \t\n\r\nb\n\n"), STR("N: a\n\tb\n")},
        {STR("a\n\r\r b\n\rc"), STR("N: a\n b\n\tc\n")},
        {STR("a\0b\001c\177\td\ve"), STR("N: a?b?c?\td?e\n")},
        {STR("\n\nx"), STR("N: \n\tx\n")},
        {STR("\303\244"), STR("N: \303\244\n")},
        {STR("\n\n\n\n\n\n\n\n\n\n"), STR("N: \n")},
        {STR("a\nb\nc\nd\ne\nf\ng"), STR("N: a\n\tb\n\tc\n\td\n\te\n\tf\n\tg\n")},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct header *h = header_new(*state);

        assert_true(header_insert(h, 0, STR("N"), cases[i].value));
        expect_text(*state, h, cases[i].raw);
        assert_true(header_replace(h, 0, STR("other")));
        assert_true(header_replace(h, 0, cases[i].value));
        expect_text(*state, h, cases[i].raw);
        assert_int_equal(header_count(parsed(*state, cases[i].raw)), 1);
    }
}

static void
no_field_gets_a_name_that_is_none(void **state)
{
    const struct str names[] = {STR(""), STR("a b"), STR("a:"), STR("a\n"), STR("\303\244"),
        STR("a\0b"), STR(" a"), STR("a\177")};
    struct header *h = header_new(*state);

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(header_insert(h, 0, names[i], STR("v")));
    assert_int_equal(header_count(h), 0);
}

static void
fields_that_begin_alike_go_together(void **state)
{
    struct header *h = parsed(*state,
        STR("X-Spam-A: 1\nbroken\nx-spam-b: 2\n\tfold\nX-Span: 3\nX-Spam-: 4\nX-Spam: 5\n"));

    assert_int_equal(header_remove_begin(h, STR("X-Spam-")), 3);
    expect_text(*state, h, STR("broken\nX-Span: 3\nX-Spam: 5\n"));
    assert_int_equal(header_remove_begin(h, STR("X-Spam-")), 0);
    assert_int_equal(header_size(h), strlen("broken\nX-Span: 3\nX-Spam: 5\n"));
}

static void
blanks_before_the_colon_hide_no_field(void **state)
{
    struct header *h = parsed(*state, STR("X-Virus-Found : No\nSubject\t: a\nx-virus-found\t : "
                                          "No\n fold\nX-Virus: b\nSubject : c\n"));

    assert_int_equal(header_count_of(h, STR("subject")), 2);
    assert_string_equal(header_value(h, header_find(h, STR("Subject"), 1, NULL)), "c");
    assert_true(str_eq(header_text(header_at(h, 1)), STR(" a\n")));
    assert_int_equal(header_remove_begin(h, STR("X-Virus-")), 2);
    expect_text(*state, h, STR("Subject\t: a\nX-Virus: b\nSubject : c\n"));
    assert_true(header_replace(h, 2, STR("new")));
    expect_text(*state, h, STR("Subject\t: a\nX-Virus: b\nSubject: new\n"));
    assert_int_equal(header_remove_all(h, STR("SUBJECT")), 2);
    assert_int_equal(header_remove_all(h, STR("SUBJECT")), 0);
    assert_int_equal(header_remove_all(h, STR("")), 0);
    expect_text(*state, h, STR("X-Virus: b\n"));
}

static void
fields_go_where_they_are_put(void **state)
{
    struct header *h = parsed(*state, STR("A: 1\nbroken\nB: 2\n"));

    assert_true(header_insert(h, 0, STR("Top"), STR("t")));
    assert_true(header_insert(h, SIZE_MAX, STR("End"), STR("e")));
    assert_true(header_insert(h, 2, STR("Mid"), STR("m")));
    expect_text(*state, h, STR("Top: t\nA: 1\nMid: m\nbroken\nB: 2\nEnd: e\n"));
    assert_true(header_replace(h, 4, STR("3")));
    assert_false(header_replace(h, 3, STR("3")));
    assert_false(header_replace(h, 6, STR("3")));
    assert_true(header_remove(h, 1));
    assert_true(header_remove(h, 4));
    assert_false(header_remove(h, 4));
    expect_text(*state, h, STR("Top: t\nMid: m\nbroken\nB: 3\n"));
    for (int i = 0; i < 100; i++)
        assert_true(header_insert(h, 0, STR("X"), STR("x")));
    assert_int_equal(header_count(h), 104);
}

static void
exact_values_begin_behind_the_colon(void **state)
{
    struct header *h = parsed(*state, STR("A: 1\nbroken\n"));

    assert_true(header_insert_exact(h, 1, STR("B"), STR("2")));
    assert_true(header_insert_exact(h, SIZE_MAX, STR("C"), STR(" \t3\n\n4")));
    assert_false(header_insert_exact(h, 0, STR("a b"), STR(" v")));
    expect_text(*state, h, STR("A: 1\nB:2\nbroken\nC: \t3\n\t4\n"));
    assert_true(header_replace_exact(h, 0, STR("  x\r\n y")));
    assert_false(header_replace_exact(h, 2, STR(" x")));
    assert_false(header_replace_exact(h, 4, STR(" x")));
    assert_true(header_replace_exact(h, 3, STR("")));
    expect_text(*state, h, STR("A:  x\n y\nB:2\nbroken\nC:\n"));
    assert_int_equal(header_size(h), sizeof "A:  x\n y\nB:2\nbroken\nC:\n" - 1);
}

static void
hops_are_received_and_delivered_to(void **state)
{
    struct header *h = parsed(
        *state, STR("Received: a\nRECEIVED: b\nDelivered-To: c\nReceived-SPF: no\nDelivered: no\n"
                    "Received : d\nreceivedx\n"));

    assert_int_equal(header_hops(h), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_byte_is_kept),
        TEST(fields_are_told_from_other_lines),
        TEST(names_match_without_case),
        TEST(values_lose_only_what_surrounds_them),
        TEST(only_a_first_line_of_an_mbox_is_renamed),
        TEST(what_is_added_stays_one_field),
        TEST(no_field_gets_a_name_that_is_none),
        TEST(fields_that_begin_alike_go_together),
        TEST(blanks_before_the_colon_hide_no_field),
        TEST(fields_go_where_they_are_put),
        TEST(exact_values_begin_behind_the_colon),
        TEST(hops_are_received_and_delivered_to),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
