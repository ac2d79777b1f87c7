#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void
comparisons_fold_ascii_only_where_asked(void **state)
{
    static const struct {
        struct str a, b;
        bool eq, ieq, starts, istarts, iends;
    } cases[] = {
        {{"", 0}, {"", 0}, true, true, true, true, true},
        {{NULL, 0}, {NULL, 0}, true, true, true, true, true},
        {{"abc", 3}, {NULL, 0}, false, false, true, true, true},
        {{NULL, 0}, {"a", 1}, false, false, false, false, false},
        {{"abc", 3}, {"abc", 3}, true, true, true, true, true},
        {{"ABC", 3}, {"abc", 3}, false, true, false, true, true},
        {{"a\0b", 3}, {"a\0c", 3}, false, false, false, false, false},
        {{"abcd", 4}, {"ab", 2}, false, false, true, true, false},
        {{"abcd", 4}, {"CD", 2}, false, false, false, false, true},
        {{"ab", 2}, {"abcd", 4}, false, false, false, false, false},
        {{"[", 1}, {"{", 1}, false, false, false, false, false}, /* 0x20 apart, and no letters */
        {{"\xc4", 1}, {"\xe4", 1}, false, false, false, false, false}, /* a letter in Latin-1 */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(str_eq(cases[i].a, cases[i].b), cases[i].eq);
        assert_int_equal(str_ieq(cases[i].a, cases[i].b), cases[i].ieq);
        assert_int_equal(str_starts(cases[i].a, cases[i].b), cases[i].starts);
        assert_int_equal(str_istarts(cases[i].a, cases[i].b), cases[i].istarts);
        assert_int_equal(str_iends(cases[i].a, cases[i].b), cases[i].iends);
    }
}

static void
trim_takes_blanks_and_line_ends_only(void **state)
{
    static const struct {
        struct str text, want;
    } cases[] = {
        {{"", 0}, {"", 0}},
        {{NULL, 0}, {"", 0}},
        {{" \t\r\n", 4}, {"", 0}},
        {{" a b\t\r\n", 7}, {"a b", 3}},
        {{"\va\f", 3}, {"\va\f", 3}},
        {{" \0 ", 3}, {"\0", 1}},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_true(str_eq(str_trim(cases[i].text), cases[i].want));
}

static void
words_end_at_blanks_and_the_last_is_empty(void **state)
{
    struct str rest = STR("  one\ttwo \t th\xffree\n  ");

    (void)state;
    assert_true(str_eq(str_word(&rest), STR("one")));
    assert_true(str_eq(str_word(&rest), STR("two")));
    assert_true(str_eq(str_word(&rest), STR("th\xffree\n")));
    assert_int_equal(str_word(&rest).n, 0);
    assert_int_equal(rest.n, 0);
    assert_int_equal(str_word(&rest).n, 0);
    rest = (struct str){NULL, 0};
    assert_int_equal(str_word(&rest).n, 0);
}

static void
cut_takes_all_when_there_is_no_separator(void **state)
{
    struct str rest = STR("a::b");

    (void)state;
    assert_true(str_eq(str_cut(&rest, ':'), STR("a")));
    assert_true(str_eq(str_cut(&rest, ':'), STR("")));
    assert_true(str_eq(str_cut(&rest, ':'), STR("b")));
    assert_int_equal(rest.n, 0);
    assert_int_equal(str_cut(&rest, ':').n, 0);
    assert_int_equal(str_find(STR("abc"), 'c'), 2);
    assert_int_equal(str_find(STR("abc"), 'd'), 3);
    assert_int_equal(str_find((struct str){NULL, 0}, 'd'), 0);
}

static void
numbers_are_digits_within_bounds(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t want;
    } cases[] = {
        {"0", 0, true, 0}, {"1", 0, false, 0}, {"007", 10, true, 7}, {"255", 255, true, 255},
        {"256", 255, false, 0}, {"260", 255, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999999", UINT64_MAX, false, 0}, {"", 9, false, 0}, {" 1", 9, false, 0},
        {"1 ", 9, false, 0}, {"+1", 9, false, 0}, {"-1", 9, false, 0}, {"0x1", 99, false, 0},
        {"1e1", 99, false, 0}, {"\xb2", 9, false, 0}, /* a superscript two */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t out = 4711;

        assert_int_equal(str_number(str_of(cases[i].text), cases[i].max, &out), cases[i].ok);
        assert_int_equal(out, cases[i].ok ? cases[i].want : 4711);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparisons_fold_ascii_only_where_asked),
        cmocka_unit_test(trim_takes_blanks_and_line_ends_only),
        cmocka_unit_test(words_end_at_blanks_and_the_last_is_empty),
        cmocka_unit_test(cut_takes_all_when_there_is_no_separator),
        cmocka_unit_test(numbers_are_digits_within_bounds),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("base/str", tests, NULL, NULL);
}
