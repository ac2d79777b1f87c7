#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/proxy.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define SIG      "\r\n\r\n\0\r\nQUIT\n"
/* A literal with NULs. */
#define BYTES(s) ((struct str){s, sizeof(s) - 1})

static void
assert_ip(const struct ip *ip, const char *text)
{
    char got[IP_TEXT_MAX];

    ip_format(ip, got);
    assert_string_equal(got, text);
}

static void
lines_of_version_1_are_read(void **state)
{
    static const struct {
        const char *line, *source, *destination;
        int source_port, destination_port;
    } cases[] = {
        {"PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\n", "192.0.2.1", "192.0.2.2", 56324, 25},
        {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255",
            "255.255.255.255", 65535, 65535},
        {"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", "1.2.3.4", "5.6.7.8", 0, 0},
        {"PROXY TCP6 2001:db8::1 2001:db8::2 1024 465\r\n", "2001:db8::1", "2001:db8::2", 1024,
            465},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1024 25\r\n", "192.0.2.1", "192.0.2.2", 1024,
            25},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct proxy p;

        assert_true(proxy_parse(str_of(cases[i].line), &p));
        assert_true(p.known);
        assert_ip(&p.source, cases[i].source);
        assert_ip(&p.destination, cases[i].destination);
        assert_int_equal(p.source_port, cases[i].source_port);
        assert_int_equal(p.destination_port, cases[i].destination_port);
    }
}

static void
a_proxy_that_speaks_for_itself_is_not_known(void **state)
{
    const struct str cases[] = {
        STR("PROXY UNKNOWN\r\n"),
        STR("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"),
        BYTES(SIG "\x20\x00\x00\x00"),
        BYTES(SIG "\x20\x11\x00\x0c"
                  "aaaabbbbccdd"),
        BYTES(SIG "\x21\x00\x00\x03"
                  "xyz"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct proxy p = {.known = true};

        assert_true(proxy_parse(cases[i], &p));
        assert_false(p.known);
    }
}

static void
what_is_wrong_anywhere_is_no_header(void **state)
{
    const struct str cases[] = {
        STR(""), STR("PROXY"), STR("PROXY \r\n"), STR("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\n"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25 \r\n"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25 1\r\n"),
        STR("PROXY  TCP4 192.0.2.1 192.0.2.2 56324 25\r\n"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 65536 25\r\n"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 025 25\r\n"),
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 -1 25\r\n"),
        STR("PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n"),
        STR("PROXY TCP6 192.0.2.1 192.0.2.2 1 25\r\n"),
        STR("PROXY TCP4 ::ffff:192.0.2.1 192.0.2.2 1 25\r\n"),
        STR("PROXY TCP4 192.0.2.300 192.0.2.2 1 25\r\n"),
        STR("PROXY UDP4 192.0.2.1 192.0.2.2 1 25\r\n"),
        STR("proxy TCP4 192.0.2.1 192.0.2.2 1 25\r\n"), BYTES(SIG), BYTES(SIG "\x21\x11\x00"),
        BYTES(SIG "\x11\x11\x00\x0c"
                  "aaaabbbbccdd"), /* version 1 in binary */
        BYTES(SIG "\x22\x11\x00\x0c"
                  "aaaabbbbccdd"), /* no such command */
        BYTES(SIG "\x21\x12\x00\x0c"
                  "aaaabbbbccdd"), /* UDP */
        BYTES(SIG "\x21\x31\x00\x0c"
                  "aaaabbbbccdd"), /* Unix */
        BYTES(SIG "\x21\x11\x00\x0b"
                  "aaaabbbbccd"), /* too short for its family */
        BYTES(SIG "\x21\x21\x00\x0c"
                  "aaaabbbbccdd"),
        BYTES(SIG "\x21\x11\x00\x0d"
                  "aaaabbbbccdd"), /* its length is another */
        BYTES(SIG "\x21\x11\x00\x0e"
                  "aaaabbbbccdd"
                  "\x01\x00"), /* a TLV that is cut off */
        BYTES(SIG "\x21\x11\x00\x0f"
                  "aaaabbbbccdd"
                  "\x01\x00\x01"),
        BYTES(SIG "\x21\x11\x00\x13"
                  "aaaabbbbccdd"
                  "\x03\x00\x04"
                  "XXXX"), /* wrong checksum */
        BYTES(SIG "\x21\x11\x00\x12"
                  "aaaabbbbccdd"
                  "\x20\x00\x03"
                  "\x01\x00\x00"), /* an SSL TLV that is too short */
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct proxy p;

        assert_false(proxy_parse(cases[i], &p));
    }
}

static void
version_2_tells_what_tls_has_shown(void **state)
{
    const struct str header = BYTES(SIG "\x21\x11\x00\x36"
                                        "\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x00\x19"
                                        "\x01\x00\x04smtp"
                                        "\x20\x00\x1d\x07\x00\x00\x00\x00"
                                        "\x21\x00\x07TLSv1.3"
                                        "\x22\x00\x03"
                                        "bob"
                                        "\x23\x00\x05"
                                        "AES!!"
                                        "\x04\x00\x00");
    struct proxy p;

    (void)state;
    assert_true(proxy_parse(header, &p));
    assert_true(p.known && p.tls && p.tls_verified);
    assert_ip(&p.source, "192.0.2.1");
    assert_int_equal(p.source_port, 0xdc04);
    assert_true(str_eq(p.alpn, STR("smtp")));
    assert_true(str_eq(p.tls_version, STR("TLSv1.3")));
    assert_true(str_eq(p.tls_name, STR("bob")));
    assert_true(str_eq(p.tls_cipher, STR("AES!!")));
    assert_null(p.authority.p);
}

static void
not_one_byte_behind_the_header_is_read(void **state)
{
    const struct str cases[] = {
        STR("PROXY TCP4 192.0.2.1 192.0.2.2 56324 25\r\nEHLO x\r\n"),
        BYTES(SIG "\x21\x11\x00\x0c"
                  "aaaabbbbccdd"
                  "EHLO x\r\n"),
        STR("PROXY UNKNOWN\r\nEHLO x\r\n"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char header[PROXY_MAX], left[64];
        struct proxy p;
        const char *why;
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        assert_int_equal(write(pair[1], cases[i].p, cases[i].n), cases[i].n);
        assert_true(proxy_read(pair[0], clock_ms() + 10000, header, &p, &why));
        assert_int_equal(read(pair[0], left, sizeof left), 8);
        assert_memory_equal(left, "EHLO x\r\n", 8);
        close(pair[0]);
        close(pair[1]);
    }
}

static void
headers_that_do_not_end_are_given_up(void **state)
{
    const struct str cases[] = {
        STR("PROXY TCP4 192.0.2.1"),
        STR("EHLO client.test\r\n"),
        BYTES(SIG "\x21\x11\xff\xff"),
        STR("PROXY UNKNOWN "
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char header[PROXY_MAX];
        struct proxy p;
        const char *why = NULL;
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        assert_int_equal(write(pair[1], cases[i].p, cases[i].n), cases[i].n);
        assert_false(proxy_read(pair[0], clock_ms() + 50, header, &p, &why));
        assert_non_null(why);
        close(pair[0]);
        close(pair[1]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_version_1_are_read),
        cmocka_unit_test(a_proxy_that_speaks_for_itself_is_not_known),
        cmocka_unit_test(what_is_wrong_anywhere_is_no_header),
        cmocka_unit_test(version_2_tells_what_tls_has_shown),
        cmocka_unit_test(not_one_byte_behind_the_header_is_read),
        cmocka_unit_test(headers_that_do_not_end_are_given_up),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
