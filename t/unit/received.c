/* mail/received: the layout, and that nobody can break out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <stdlib.h>

#include "mail/received.h"

static const struct received_facts plain = {
    .remote_info = "mx.example.net",
    .hello_host = "example.net",
    .remote_ip = "192.0.2.1",
    .me = "mail.example.org",
    .version = "1.0.0",
    .protocol = "ESMTP",
    .tls_version = "",
    .cipher = "",
    .now = 1795358489, /* Sun, 22 Nov 2026 14:41:29 UTC */
};

static int
setup(void **state)
{
    *state = arena_open("test");
    setenv("TZ", "UTC0", 1);
    tzset();
    return 0;
}

static int
teardown(void **state)
{
    arena_close((struct arena **)state);
    return 0;
}

static void
the_layout_is_that_of_2005(void **state)
{
    struct received_facts facts = plain;

    assert_string_equal(received_value(*state, &facts),
        "from mx.example.net (HELO example.net) (192.0.2.1)\n"
        "    by mail.example.org (qpsmtpd/1.0.0) with ESMTP; Sun, 22 Nov 2026 14:41:29 +0000");
    facts.tls_version = "TLSv1.3";
    facts.cipher = "TLS_AES_256_GCM_SHA384";
    facts.protocol = "ESMTPS";
    facts.remote_info = "joe@mx.example.net";
    assert_string_equal(received_value(*state, &facts),
        "from joe@mx.example.net (HELO example.net) (192.0.2.1)\n"
        "    by mail.example.org (qpsmtpd/1.0.0) with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384 "
        "encrypted);"
        " Sun, 22 Nov 2026 14:41:29 +0000");
    facts = plain;
    facts.protocol = "ESMTPA";
    facts.auth_user = "foo";
    facts.auth_mechanism = "cram-md5";
    assert_string_equal(received_value(*state, &facts),
        "from mx.example.net (HELO example.net) (192.0.2.1)\n"
        "  (smtp-auth username foo, mechanism cram-md5)\n"
        "  by mail.example.org (qpsmtpd/1.0.0) with ESMTPA; Sun, 22 Nov 2026 14:41:29 +0000");
}

static void
the_date_is_local_time_in_english(void **state)
{
    static const struct {
        const char *zone, *date;
        time_t now;
    } cases[] = {
        {"UTC0", "Thu, 01 Jan 1970 00:00:00 +0000", 0},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "Sun, 22 Nov 2026 15:41:29 +0100", 1795358489},
        {"NST3:30", "Sun, 22 Nov 2026 11:11:29 -0330", 1795358489},
        {"XXX-14", "Mon, 23 Nov 2026 04:41:29 +1400", 1795358489},
        {"UTC0", "Thu, 29 Feb 2024 23:59:59 +0000", 1709251199},
    };
    struct received_facts facts = plain;

    setlocale(LC_ALL,
        "de_DE.UTF-8"); /* where it is not installed, this tests nothing, and breaks nothing */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("TZ", cases[i].zone, 1);
        tzset();
        facts.now = cases[i].now;
        assert_string_equal(strstr(received_value(*state, &facts), "; ") + 2, cases[i].date);
    }
    setlocale(LC_ALL, "C");
}

static void
hostile_names_stay_in_their_place(void **state)
{
    struct received_facts facts = plain;

    facts.hello_host = "x) by me\nBcc: y; (\303\244\\";
    facts.remote_info = "a\r\nb@[192.0.2.1]_";
    facts.auth_user = "joe, mechanism\tx";
    facts.auth_mechanism = "plain)";
    assert_string_equal(received_value(*state, &facts),
        "from a??b@[192.0.2.1]_ (HELO x??by?me?Bcc:?y?????\?) (192.0.2.1)\n"
        "  (smtp-auth username joe??mechanism?x, mechanism plain?)\n"
        "  by mail.example.org (qpsmtpd/1.0.0) with ESMTP; Sun, 22 Nov 2026 14:41:29 +0000");
}

static void
no_line_is_longer_than_998_bytes(void **state)
{
    char *big = arena_alloc(*state, 5001);
    struct received_facts facts = {big, big, big, big, big, "ESMTPSA", big, big, big, big, 0};
    struct str value;

    memset(big, 'x', 5000);
    value = str_of(received_value(*state, &facts));
    while (value.n > 0)
        assert_true(str_cut(&value, '\n').n + strlen("Received: ") <= 998);
}

static void
the_protocol_follows_rfc_3848(void **state)
{
    static const char *const names[] = {
        "SMTP", "ESMTP", "SMTP", "ESMTPS", "SMTP", "ESMTPA", "SMTP", "ESMTPSA"};

    (void)state;
    for (unsigned with = 0; with < 8; with++)
        assert_string_equal(received_protocol(with), names[with]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_layout_is_that_of_2005),
        TEST(the_date_is_local_time_in_english),
        TEST(hostile_names_stay_in_their_place),
        TEST(no_line_is_longer_than_998_bytes),
        TEST(the_protocol_follows_rfc_3848),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
