#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "net/ip.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void
text_becomes_one_form_and_back(void **state)
{
    static const struct {
        const char *text, *canonical;
        bool v4, loopback;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", true, false},
        {"0.0.0.0", "0.0.0.0", true, false},
        {"255.255.255.255", "255.255.255.255", true, false},
        {"127.0.0.1", "127.0.0.1", true, true},
        {"127.9.8.7", "127.9.8.7", true, true},
        {"128.0.0.1", "128.0.0.1", true, false},
        {"::ffff:192.0.2.1", "192.0.2.1", true, false},
        {"::FFFF:c000:201", "192.0.2.1", true, false},
        {"::ffff:127.0.0.1", "127.0.0.1", true, true},
        {"::1", "::1", false, true},
        {"::", "::", false, false},
        {"::2", "::2", false, false},
        {"2001:DB8:0:0:0:0:0:1", "2001:db8::1", false, false},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", false, false},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", false, false},
        {"2001:0db8::0001", "2001:db8::1", false, false},
        {"2001:db8::", "2001:db8::", false, false},
        {"fe80::1:2:3:4", "fe80::1:2:3:4", false, false},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            false, false},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            false, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[IP_TEXT_MAX];
        struct ip ip, again;

        assert_true(ip_parse(str_of(cases[i].text), &ip));
        ip_format(&ip, text);
        assert_string_equal(text, cases[i].canonical);
        assert_int_equal(ip_is_v4(&ip), cases[i].v4);
        assert_int_equal(ip_is_loopback(&ip), cases[i].loopback);
        assert_true(ip_parse(str_of(text), &again));
        assert_true(ip_eq(&ip, &again));
    }
}

static void
what_is_no_address_is_refused(void **state)
{
    static const struct str cases[] = {
        {"", 0},
        {NULL, 0},
        {"1.2.3", 5},
        {"1.2.3.4.", 8},
        {"1.2.3.4.5", 9},
        {"1.2.3.256", 9},
        {"01.2.3.4", 8},
        {"1.2.3.4 ", 8},
        {" 1.2.3.4", 8},
        {"0x1.2.3.4", 9},
        {"16909060", 8},
        {"1.2.3.4\0", 8},
        {"1.2.3.4\0x", 9},
        {"[1.2.3.4]", 9},
        {"[::1]", 5},
        {"fe80::1%eth0", 12},
        {"1::2::3", 7},
        {":::", 3},
        {"12345::", 7},
        {"1:2:3:4:5:6:7", 13},
        {"1:2:3:4:5:6:7:8:9", 17},
        {"IPv6:::1", 8},
        {"::1/128", 7},
        {"unknown", 7},
        {"0000000000000000000000000000000000000000000000000000::1", 55},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ip ip = {{1, 2, 3}};

        assert_false(ip_parse(cases[i], &ip));
        assert_int_equal(ip.b[0], 1); /* untouched */
    }
}

static void
socket_addresses_of_both_families_are_read(void **state)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(25)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(65535)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    char text[IP_TEXT_MAX];
    struct ip ip;
    int port = -1;

    (void)state;
    v4.sin_addr.s_addr = htonl(0xc0000201);
    assert_true(ip_from_sockaddr((const struct sockaddr *)&v4, &ip, &port));
    ip_format(&ip, text);
    assert_string_equal(text, "192.0.2.1");
    assert_int_equal(port, 25);

    inet_pton(AF_INET6, "2001:db8::5", &v6.sin6_addr);
    assert_true(ip_from_sockaddr((const struct sockaddr *)&v6, &ip, &port));
    ip_format(&ip, text);
    assert_string_equal(text, "2001:db8::5");
    assert_int_equal(port, 65535);

    inet_pton(
        AF_INET6, "::ffff:192.0.2.1", &v6.sin6_addr); /* a client on a socket for both families */
    assert_true(ip_from_sockaddr((const struct sockaddr *)&v6, &ip, &port));
    assert_true(ip_is_v4(&ip));

    assert_false(ip_from_sockaddr((const struct sockaddr *)&local, &ip, &port));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_one_form_and_back),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(socket_addresses_of_both_families_are_read),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("net/ip", tests, NULL, NULL);
}
