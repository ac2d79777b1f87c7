#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four before it */
#include <cmocka.h>

#include <string.h>

#include <qpsmtpd/regex.h>

#include "base/clock.h"
#include "plugin/instance.h"

/* A plugin's instance with nothing around it. */
struct fixture {
    struct host host;
    struct instance instance;
    struct context context;
    struct hook_result result;
    struct qp q;
    int warnings;
};

static bool
count_warnings(void *data, const struct log_event *event)
{
    struct fixture *f = data;

    if (event->level == LOG_LEVEL_WARN)
        f->warnings++;
    return true;
}

static int
setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.host.arena = arena_open("plugins"), .instance.log_absolute = -1};
    f.context = (struct context){.host = &f.host, .command = f.host.arena};
    f.q = (struct qp){.context = &f.context, .instance = &f.instance, .result = &f.result};
    log_sink_set(count_warnings, &f, LOG_LEVEL_WARN);
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    log_sink_set(NULL, NULL, LOG_LEVEL_EMERG);
    arena_close(&f->host.arena); /* frees what PCRE2 has: the sanitizer's build sees to it */
    return 0;
}

static void
patterns_match_as_in_perl(void **state)
{
    static const struct {
        const char *pattern;
        bool nocase;
        const char *text;
        bool matches;
    } cases[] = {
        {"b", false, "abc", true},
        {"^b", false, "abc", false},
        {"^a.c$", false, "abc", true},
        {"ABC", false, "abc", false},
        {"ABC", true, "abc", true},
        {"(?i)ABC", false, "abc", true},
        {"^(a)(b)(c)$", false, "abc", true}, /* more groups than are kept */
        {"(.)\\1", false, "abb", true},
        {"(?<!x)a", false, "xa", false},
        {"", false, "", true},
        {"\xe9", false, "caf\xe9", true}, /* bytes, not UTF-8 */
        {"^.$", false, "\xc3\xa9", false},
        {"[[:alpha:]]+\\d{2,3}$", false, "host123", true},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *error = "unset";
        const struct qp_regex *re = qp_regex_new(&f->q, cases[i].pattern, cases[i].nocase, &error);

        if (!re || qp_regex_match(&f->q, re, cases[i].text) != cases[i].matches)
            fail_msg("case %zu: /%s/ and \"%s\"", i, cases[i].pattern, cases[i].text);
        assert_null(error);
    }
    assert_int_equal(f->warnings, 0);
}

static void
what_is_no_pattern_is_told_with_its_place(void **state)
{
    static const struct {
        const char *pattern;
        const char *error; /* a part of it */
    } cases[] = {
        {"a(b", "at character 4"},
        {"a)b", "at character 2"},
        {"[a", "at character 3"},
        {"*a", "at character 1"},
        {"(*UTF)a", "UTF is disabled"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *error = NULL;

        if (qp_regex_new(&f->q, cases[i].pattern, false, &error) || !error ||
            !strstr(error, cases[i].error))
            fail_msg("case %zu: /%s/ gives: %s", i, cases[i].pattern, error ? error : "(nothing)");
    }
}

static void
a_match_that_takes_too_long_is_given_up_and_logged(void **state)
{
    static const char *const patterns[] = {
        "^(a+)+$", "^(a|aa)+$", "^(.*?,){20}x", "(x+x+)+y|(a+a+)+b"};
    struct fixture *f = *state;
    char text[2001];

    memset(text, 'a', sizeof text - 2);
    text[sizeof text - 2] = '!';
    text[sizeof text - 1] = '\0';
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *error;
        const struct qp_regex *re = qp_regex_new(&f->q, patterns[i], false, &error);
        int64_t begin = clock_ms();

        assert_non_null(re);
        if (qp_regex_match(&f->q, re, text))
            fail_msg("/%s/ matches", patterns[i]);
        if (clock_ms() - begin > 2000) /* milliseconds, in fact */
            fail_msg("/%s/ took %lld ms", patterns[i], (long long)(clock_ms() - begin));
    }
    assert_true(f->warnings >= 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(patterns_match_as_in_perl, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_pattern_is_told_with_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_match_that_takes_too_long_is_given_up_and_logged, setup, teardown),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
