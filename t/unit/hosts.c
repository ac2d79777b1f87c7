#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four before it */
#include <cmocka.h>

#include "net/hosts.h"

#include "scratch.h"

#define MAX 3

static const char file[] = "127.0.0.1 localhost\n"
                           "# 192.0.2.9 comment.test\n"
                           "192.0.2.1\timap.test imap # old.test\r\n"
                           "192.0.2.2 imap2.test imap\n"
                           "not-an-address imap\n"
                           "2001:db8::1  IMAP\n"
                           "192.0.2.4 imap\n"
                           "\n"
                           "192.0.2.5\n"
                           "192.0.2.6 last.test";

static void
names_have_the_addresses_of_their_lines(void **state)
{
    static const struct {
        const char *name;
        const char *ip[MAX];
    } cases[] = {
        {"imap.test", {"192.0.2.1"}},
        {"IMAP", {"192.0.2.1", "192.0.2.2", "2001:db8::1"}},
        {"localhost", {"127.0.0.1"}},
        {"last.test", {"192.0.2.6"}},
        {"comment.test", {0}},
        {"old.test", {0}},
        {"test", {0}},
        {"192.0.2.5", {0}},
        {"", {0}},
    };
    struct scratch s;

    (void)state;
    scratch_open(&s);
    scratch_write(&s, "hosts", (struct str){file, sizeof file - 1});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ip found[MAX], wanted;
        size_t n = hosts_find(s.path, cases[i].name, found, MAX), want = 0;

        for (; want < MAX && cases[i].ip[want]; want++)
            if (want >= n || !ip_parse(str_of(cases[i].ip[want]), &wanted) ||
                !ip_eq(&found[want], &wanted))
                fail_msg("%s: no %s at place %zu", cases[i].name, cases[i].ip[want], want);
        if (n != want)
            fail_msg("%s: %zu addresses instead of %zu", cases[i].name, n, want);
    }
    scratch_close(&s);
}

static void
localhost_needs_no_file(void **state)
{
    struct ip found[MAX];

    (void)state;
    assert_int_equal(hosts_find("/nonexistent/hosts", "LocalHost", found, MAX), 2);
    assert_true(ip_is_loopback(&found[0]) && ip_is_v4(&found[0]));
    assert_true(ip_is_loopback(&found[1]) && !ip_is_v4(&found[1]));
    assert_int_equal(hosts_find("/nonexistent/hosts", "localhost", found, 1), 1);
    assert_int_equal(hosts_find("/nonexistent/hosts", "other", found, MAX), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_have_the_addresses_of_their_lines),
        cmocka_unit_test(localhost_needs_no_file),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
