#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/connection.h"

static struct connection
begin(struct arena *a, struct peer p)
{
    struct connection c;

    connection_begin(&c, a, NULL, &p);
    return c;
}

static void
names_are_cleaned_of_what_no_name_has(void **state)
{
    static const struct {
        const char *ip, *host, *info, *remote_ip, *remote_host, *remote_info;
    } cases[] = {
        {"192.0.2.1", NULL, NULL, "192.0.2.1", "[192.0.2.1]", "[192.0.2.1]"},
        {"192.0.2.1", "", "", "192.0.2.1", "[192.0.2.1]", "[192.0.2.1]"},
        {"192.0.2.1", "mx.example.org", "joe", "192.0.2.1", "mx.example.org", "joe@mx.example.org"},
        {"192.0.2.1", "a b\r\n(c)", "j o\ne", "192.0.2.1", "abc", "j?o?e@a?b???c?"},
        {"2001:db8::1", NULL, NULL, "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]"},
        {NULL, NULL, NULL, "unknown", "[unknown]", "[unknown]"},
    };
    struct arena *a = arena_open("test");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct connection c = begin(a, (struct peer){.remote_ip = cases[i].ip,
                                           .remote_host = cases[i].host,
                                           .remote_info = cases[i].info});

        assert_string_equal(c.remote_ip, cases[i].remote_ip);
        assert_string_equal(c.remote_host, cases[i].remote_host);
        assert_string_equal(c.remote_info, cases[i].remote_info);
        assert_int_equal(strlen(c.id), CONNECTION_ID_LEN);
    }
    arena_close(&a);
}

static void
sessions_of_one_second_have_different_ids(void **state)
{
    struct arena *a = arena_open("test");
    struct connection one = begin(a, (struct peer){.sequence = 1});
    struct connection two = begin(a, (struct peer){.sequence = 2});

    (void)state;
    assert_string_not_equal(one.id, two.id);
    arena_close(&a);
}

static void
variables_are_found_by_their_whole_name_until_unset(void **state)
{
    static const char *const env[] = {"RELAYCLIENTS=1", "RELAYCLIENT=", "X=a=b", NULL};
    struct arena *a = arena_open("test");
    struct connection c = begin(a, (struct peer){.env = env});
    struct connection none = begin(a, (struct peer){.env = NULL});

    (void)state;
    assert_string_equal(connection_env(&c, "RELAYCLIENT"), "");
    assert_string_equal(connection_env(&c, "X"), "a=b");
    assert_null(connection_env(&c, "RELAY"));
    connection_env_unset(&c, "RELAYCLIENT");
    assert_null(connection_env(&c, "RELAYCLIENT"));
    assert_string_equal(connection_env(&c, "RELAYCLIENTS"), "1");
    assert_null(connection_env(&none, "X"));
    arena_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_cleaned_of_what_no_name_has),
        cmocka_unit_test(sessions_of_one_second_have_different_ids),
        cmocka_unit_test(variables_are_found_by_their_whole_name_until_unset),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
