#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/cidr.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct ip
ip(const char *text)
{
    struct ip out;

    assert_true(ip_parse(str_of(text), &out));
    return out;
}

static void
good_patterns_hold_their_network_and_no_more(void **state)
{
    static const struct {
        const char *pattern, *net;
        int bits;
        const char *in, *also_in, *out, *also_out;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", 128, "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "::1"},
        {"192.0.2.0/24", "192.0.2.0", 120, "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
        {"192.0.2.77/24", "192.0.2.0", 120, "192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"},
        {"192.0.2.129/25", "192.0.2.128", 121, "192.0.2.128", "192.0.2.255", "192.0.2.127", "::"},
        {"10.255.1.1/9", "10.128.0.0", 105, "10.128.0.0", "10.255.255.255", "10.127.255.255",
            "11.0.0.0"},
        {"192.0.2.1/32", "192.0.2.1", 128, "192.0.2.1", "192.0.2.1", "192.0.2.0", "192.0.2.3"},
        {"192.0.2.1/31", "192.0.2.0", 127, "192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.1.255"},
        {"0.0.0.0/0", "0.0.0.0", 96, "0.0.0.0", "255.255.255.255", "::", "2001:db8::1"},
        {"1.2.3.4/0", "0.0.0.0", 96, "0.0.0.0", "255.255.255.255", "::", "2001:db8::1"},
        {"192.", "192.0.0.0", 104, "192.0.0.0", "192.255.255.255", "191.255.255.255", "193.0.0.0"},
        {"192.168.", "192.168.0.0", 112, "192.168.0.0", "192.168.255.255", "192.169.0.0", "::"},
        {"192.0.2.", "192.0.2.0", 120, "192.0.2.0", "192.0.2.255", "192.0.20.1", "192.0.3.2"},
        {"0.", "0.0.0.0", 104, "0.0.0.0", "0.255.255.255", "1.0.0.0", "::"},
        {"2001:db8::/32", "2001:db8::", 32, "2001:db8::", "2001:db8:ffff::1",
            "2001:db9::", "1.2.3.4"},
        {"2001:db8::1/127", "2001:db8::", 127, "2001:db8::", "2001:db8::1", "2001:db8::2", "::1"},
        {"2001:db8::1/128", "2001:db8::1", 128, "2001:db8::1", "2001:DB8:0::1",
            "2001:db8::", "::1"},
        {"2001:db8:", "2001:db8::", 32, "2001:db8::", "2001:db8:ffff::1", "2001:db80::", "::"},
        {"2001:DB8:0:f:", "2001:db8:0:f::", 64, "2001:db8:0:f::1", "2001:db8:0:f:1:2:3:4",
            "2001:db8:0:ff::", "2001:db8::f"},
        {"1:2:3:4:5:6:7:", "1:2:3:4:5:6:7:0", 112, "1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:ffff",
            "1:2:3:4:5:6:8:0", "::"},
        {"2001:db8::", "2001:db8::", 128, "2001:db8::", "2001:db8::0", "2001:db8::1", "::"},
        {"::", "::", 128, "::", "0::0", "::1", "0.0.0.0"},
        {"::/0", "::", 0, "::", "ffff::1", "192.0.2.1", "0.0.0.0"},
        {"0:", "::", 16, "::1", "0:1::", "1::", "192.0.2.1"},
        {"::ffff:0:0/96", "0.0.0.0", 96, "1.2.3.4", "255.0.0.1", "::1", "::fffe:0:0"},
        {"::ffff:192.0.2.9/120", "192.0.2.0", 120, "192.0.2.0", "192.0.2.255", "192.0.3.0", "::"},
        {"::ffff:192.0.2.9/24", "::", 24, "::", "0:00ff::", "192.0.2.9", "0:100::"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ip net = ip(cases[i].net), in = ip(cases[i].in), also_in = ip(cases[i].also_in);
        struct ip out = ip(cases[i].out), also_out = ip(cases[i].also_out);
        struct cidr c;

        assert_true(cidr_parse(str_of(cases[i].pattern), &c));
        assert_true(ip_eq(&c.net, &net));
        assert_int_equal(c.bits, cases[i].bits);
        assert_true(cidr_has(&c, &in));
        assert_true(cidr_has(&c, &also_in));
        assert_false(cidr_has(&c, &out));
        assert_false(cidr_has(&c, &also_out));
    }
}

static void
bad_patterns_match_nothing(void **state)
{
    static const char *const cases[] = {"", ".", "..", ":", ":::", "/", "/0", "/24", "0", "*",
        "any", "192.0.2", "192", "192.0.2.0/33", "192.0.2.0/128", "192.0.2.0/", "192.0.2.0/-1",
        "192.0.2.0/+8", "192.0.2.0/ 8", "192.0.2.0/8 ", "192.0.2.0/24/24",
        "192.0.2.0/255.255.255.0", "192.0.2.0/0x8", "192.0.2.0/18446744073709551616",
        "192.0.2.0/4294967320", "192.0.2./24", "192.0.2/24", "1.2.3.4.", "1.2.3.4.5.", "999.",
        "256.", "192..", ".192.", "192.0..", "01.", "010.", "00.", "1 .", "-1.", "a.", " 192.",
        "192. ", "0x7f.", "2001:db8::/129", "2001:db8:/32", "2001:db8:::", "12345:", "g:", ":1:",
        "1::2:", "2001::db8:", "1:2:3:4:5:6:7:8:", "::ffff:", "192.0.2.1:", "1.2:", "1:2.", "[::1]",
        "[192.0.2.1]", "fe80::1%lo", "fe80::1%lo/64", "192.0.2.1-9", "192.0.2.*"};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cidr c = {.bits = 77};

        if (cidr_parse(str_of(cases[i]), &c))
            fail_msg("\"%s\" was taken for a network of %d bits", cases[i], c.bits);
        assert_int_equal(c.bits, 77);
    }
    for (size_t n = 0; n < 9;
         n++) { /* a NUL at any place, and a view that ends before its text does */
        char text[] = "10.0.0.0/8";
        struct cidr c;

        text[n] = '\0';
        assert_false(cidr_parse((struct str){text, 10}, &c));
        assert_int_equal(cidr_parse((struct str){"10.0.0.0/8", n}, &c), n == 3 || n == 5 || n >= 7);
    }
    assert_false(cidr_parse((struct str){NULL, 0}, &(struct cidr){.bits = 0}));
}

static void
masks_clear_exactly_the_host_bits(void **state)
{
    (void)state;
    for (int bits = 0; bits <= 128; bits++) {
        struct ip ones;

        memset(ones.b, 0xff, sizeof ones.b);
        cidr_mask(&ones, (uint8_t)bits);
        for (int i = 0; i < 128; i++)
            assert_int_equal(ones.b[i / 8] >> (7 - i % 8) & 1, i < bits);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_patterns_hold_their_network_and_no_more),
        cmocka_unit_test(bad_patterns_match_nothing),
        cmocka_unit_test(masks_clear_exactly_the_host_bits),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("net/cidr", tests, NULL, NULL);
}
