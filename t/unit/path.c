/* smtp/path: where the address ends and the parameters begin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "smtp/path.h"

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

/* The parameters in one text: "[SIZE|10][X|]" */
static const char *
flat(struct arena *a, const struct path *path)
{
    struct buf b;

    buf_init(&b, a, 10000);
    for (size_t i = 0; i < path->n_params; i++)
        buf_printf(&b, "[%s|%s]", path->params[i].name, path->params[i].value);
    return buf_text(&b);
}

static void
good_arguments_are_split(void **state)
{
    static const struct {
        const char *args, *text, *params;
        bool bracketed;
    } cases[] = {
        {"FROM:<a@b>", "<a@b>", "", true},
        {"from: <a@b>", "<a@b>", "", true},
        {"  From:   <a@b>  ", "<a@b>", "", true},
        {"FROM:<>", "<>", "", true},
        {"FROM:<> SIZE=10", "<>", "[SIZE|10]", true},
        {"FROM:<a@b> size=10  Body=8BITMIME smtputf8", "<a@b>",
            "[SIZE|10][BODY|8BITMIME][SMTPUTF8|]", true},
        {"FROM:<a@b> AUTH=<> X-1=a<b>;\"c\"", "<a@b>", "[AUTH|<>][X-1|a<b>;\"c\"]", true},
        {"FROM:<a b@c> X", "<a b@c>", "[X|]", true},
        {"FROM:<\"a>b\"@c> X", "<\"a>b\"@c>", "[X|]", true},
        {"FROM:<\"a\\\">b\"@c> X", "<\"a\\\">b\"@c>", "[X|]", true},
        {"FROM:<@x,@[IPv6:::1]:\"a>b\"@c> X", "<@x,@[IPv6:::1]:\"a>b\"@c>", "[X|]", true},
        {"FROM:<@x:a@c>", "<@x:a@c>", "", true},
        {"FROM:<a\"b@c>", "<a\"b@c>", "", true},
        {"FROM:<@x\"> X", "<@x\">", "[X|]", true},
        {"FROM:<\303\244@b>", "<\303\244@b>", "", true},
        {"FROM:a@b", "a@b", "", false},
        {"FROM: a@b SIZE=1", "a@b", "[SIZE|1]", false},
        {"FROM:a>b X", "a>b", "[X|]", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct path path;

        if (path_parse(*state, str_of(cases[i].args), STR("FROM:"), &path) != PATH_OK)
            fail_msg("refused: %s", cases[i].args);
        assert_string_equal(path.text, cases[i].text);
        assert_string_equal(flat(*state, &path), cases[i].params);
        assert_int_equal(path.bracketed, cases[i].bracketed);
    }
}

static void
bad_arguments_are_refused(void **state)
{
    const struct {
        struct str args;
        enum path_status status;
    } cases[] = {
        {STR(""), PATH_SYNTAX},
        {STR("   "), PATH_SYNTAX},
        {STR("TO"), PATH_SYNTAX},
        {STR("TO <a@b>"), PATH_SYNTAX},
        {STR("TO :<a@b>"), PATH_SYNTAX},
        {STR("FROM:<a@b>"), PATH_SYNTAX},
        {STR("<a@b>"), PATH_SYNTAX},
        {STR("TO:"), PATH_SYNTAX},
        {STR("TO:   "), PATH_SYNTAX},
        {STR("TO:<a\0b@c>"), PATH_SYNTAX},
        {STR("TO:<a@b>\t"), PATH_SYNTAX},
        {STR("TO:<a@b> X=\177"), PATH_SYNTAX},
        {STR("TO:<a\r@b>"), PATH_SYNTAX},
        {STR("TO:<"), PATH_BAD_ADDRESS},
        {STR("TO:<a@b"), PATH_BAD_ADDRESS},
        {STR("TO:<a@b SIZE=1"), PATH_BAD_ADDRESS},
        {STR("TO:<\"a@b>"), PATH_BAD_ADDRESS},
        {STR("TO:<\"a\\\"@b>"), PATH_BAD_ADDRESS},
        {STR("TO:<\"a\\"), PATH_BAD_ADDRESS},
        {STR("TO:<a@b>x"), PATH_BAD_PARAM},
        {STR("TO:<a@b>>"), PATH_BAD_PARAM},
        {STR("TO:<a@b> ="), PATH_BAD_PARAM},
        {STR("TO:<a@b> =x"), PATH_BAD_PARAM},
        {STR("TO:<a@b> X="), PATH_BAD_PARAM},
        {STR("TO:<a@b> X=a=b"), PATH_BAD_PARAM},
        {STR("TO:<a@b> -X"), PATH_BAD_PARAM},
        {STR("TO:<a@b> X_Y=1"), PATH_BAD_PARAM},
        {STR("TO:<a@b> X=\303\244"), PATH_BAD_PARAM},
        {STR("TO:<a@b> X x=1"), PATH_BAD_PARAM},
        {STR("TO:a@b <c@d>"), PATH_BAD_PARAM},
        {STR("TO:\"a b\"@c"), PATH_BAD_PARAM},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct path path = {.text = "untouched"};

        if (path_parse(*state, cases[i].args, STR("TO:"), &path) != cases[i].status)
            fail_msg("wrong: %.*s", STR_ARG(cases[i].args));
        assert_string_equal(path.text, "untouched");
    }
}

static void
parameters_are_counted(void **state)
{
    struct path path;
    struct buf b;

    buf_init(&b, *state, 1000);
    buf_puts(&b, "TO:<a@b>");
    for (int i = 0; i < PATH_PARAMS_MAX; i++)
        buf_printf(&b, " X%d", i);
    assert_int_equal(path_parse(*state, buf_str(&b), STR("TO:"), &path), PATH_OK);
    assert_int_equal(path.n_params, PATH_PARAMS_MAX);
    buf_puts(&b, " Y");
    assert_int_equal(path_parse(*state, buf_str(&b), STR("TO:"), &path), PATH_BAD_PARAM);
}

static void
parameters_keep_their_order_and_values(void **state)
{
    struct path path;

    assert_int_equal(path_parse(*state, STR("FROM:<> size=7 x"), STR("FROM:"), &path), PATH_OK);
    assert_int_equal(path.n_params, 2);
    assert_string_equal(path.params[0].name, "SIZE");
    assert_string_equal(path.params[0].value, "7");
    assert_string_equal(path.params[1].name, "X");
    assert_string_equal(path.params[1].value, "");
}

static void
a_size_is_a_number_of_at_most_20_digits(void **state)
{
    static const struct {
        const char *value;
        uint64_t size;
    } good[] = {
        {"0", 0},
        {"1000", 1000},
        {"00000000000000000001", 1},
        {"18446744073709551614", UINT64_MAX - 1},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551616", UINT64_MAX},
        {"99999999999999999999", UINT64_MAX},
    };
    static const char *const bad[] = {
        "", "x", "-1", "+1", "1k", " 1", "1 ", "000000000000000000001"};
    uint64_t size = 4711;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(path_size(bad[i], &size));
    assert_int_equal(size, 4711);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_true(path_size(good[i].value, &size));
        assert_true(size == good[i].size);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(good_arguments_are_split),
        TEST(bad_arguments_are_refused),
        TEST(parameters_are_counted),
        TEST(parameters_keep_their_order_and_values),
        cmocka_unit_test(a_size_is_a_number_of_at_most_20_digits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
