#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "net/dns_packet.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A message in pieces; each is a literal that may hold NULs. */
#define HEAD(flags, qd, an) "\x12\x34" flags "\0" qd "\0" an "\0\0\0\0"
#define OK_FLAGS            "\x81\x80"
#define QUESTION(type)      "\1A\4tesT\0\0" type "\0\1"
#define ANSWER(type, an)    HEAD(OK_FLAGS, "\1", an) QUESTION(type)
#define TO_QUESTION         "\xc0\x0c"
#define TTL                 "\0\0\1\x2c" /* 300 */
#define RR(type, ttl, n)    "\0" type "\0\1" ttl "\0" n
#define TYPE_A              "\1"
#define TYPE_NS             "\2"
#define TYPE_CNAME          "\5"
#define TYPE_SOA            "\6"
#define TYPE_PTR            "\x0c"
#define TYPE_MX             "\x0f"
#define TYPE_TXT            "\x10"
#define TYPE_AAAA           "\x1c"
#define A_RECORD            TO_QUESTION RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"
#define BYTES(literal)      literal, sizeof(literal) - 1

static void
summary(const struct qp_dns_answer *a, char *out, size_t room)
{
    int n = snprintf(out, room, "%d %s", (int)a->status, a->name);

    for (size_t i = 0; i < a->n; i++)
        n += snprintf(out + n, room - (size_t)n, " [%u %d %s]", a->record[i].ttl,
            a->record[i].preference, a->record[i].text);
}

static void
messages_say_what_is_in_them(void **state)
{
    static const struct {
        const char *what;
        enum qp_dns_type type;
        const char *message;
        size_t n;
        const char *says;
    } cases[] = {
        {"an address", QP_DNS_A, BYTES(ANSWER(TYPE_A, "\1") A_RECORD),
            "0 a.test [300 0 192.0.2.1]"},
        {"bytes behind the answer", QP_DNS_A, BYTES(ANSWER(TYPE_A, "\1") A_RECORD "trailing"),
            "0 a.test [300 0 192.0.2.1]"},
        {"an IPv6 address", QP_DNS_AAAA,
            BYTES(ANSWER(TYPE_AAAA, "\1") TO_QUESTION RR(
                TYPE_AAAA, TTL, "\x10") "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"),
            "0 a.test [300 0 2001:db8::1]"},
        {"a large TTL is none", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION RR(TYPE_A, "\x80\0\0\0", "\4") "\xc0\0\2\1"),
            "0 a.test [0 0 192.0.2.1]"},
        {"MX in order of preference", QP_DNS_MX,
            BYTES(ANSWER(TYPE_MX, "\3")
                    TO_QUESTION RR(TYPE_MX, TTL, "\5") "\0\x14\1B\0" TO_QUESTION RR(TYPE_MX, TTL,
                        "\4") "\0\x0a\xc0\x0c" TO_QUESTION RR(TYPE_MX, TTL, "\3") "\0\x0a\0"),
            "0 a.test [300 10 a.test] [300 10 ] [300 20 b]"},
        {"strings are joined, bytes are cleaned", QP_DNS_TXT,
            BYTES(ANSWER(TYPE_TXT, "\1") TO_QUESTION RR(TYPE_TXT, TTL, "\x09") "\3ab\xff\0\3\r.C"),
            "0 a.test [300 0 ab??.C]"},
        {"names are cleaned", QP_DNS_PTR,
            BYTES(ANSWER(TYPE_PTR, "\1") TO_QUESTION RR(TYPE_PTR, TTL, "\x0a") "\3a.B\4 \0\xffx\0"),
            "0 a.test [300 0 a?b.???x]"},
        {"SOA", QP_DNS_SOA,
            BYTES(ANSWER(TYPE_SOA, "\1")
                    TO_QUESTION RR(TYPE_SOA, TTL, "\x18") "\1n\0\0"
                                                          "....................."),
            "0 a.test [300 0 n]"},
        {"another class does not count", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION "\0\1\0\3" TTL "\0\4\xc0\0\2\1"), "1 a.test"},
        {"another owner does not count", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") "\1b\xc0\x0c" RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"),
            "1 a.test"},
        {"an alias, in any order, with the smallest TTL", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\2") "\1b\0" RR(TYPE_A, TTL, "\4") "\xc0\0\2\1" TO_QUESTION RR(
                TYPE_CNAME, "\0\0\0\5", "\3") "\1B\0"),
            "0 b [5 0 192.0.2.1]"},
        {"an alias that leads nowhere", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION RR(TYPE_CNAME, TTL, "\3") "\1b\0"), "1 b"},
        {"an alias to a name that does not exist", QP_DNS_A,
            BYTES(HEAD("\x81\x83", "\1", "\1") QUESTION(TYPE_A)
                    TO_QUESTION RR(TYPE_CNAME, TTL, "\3") "\1b\0"),
            "2 b"},
        {"nothing", QP_DNS_A, BYTES(ANSWER(TYPE_A, "\0")), "1 a.test"},
        {"no such name", QP_DNS_A, BYTES(HEAD("\x81\x83", "\1", "\0") QUESTION(TYPE_A)),
            "2 a.test"},
        {"server failure", QP_DNS_A, BYTES(HEAD("\x81\x82", "\1", "\0") QUESTION(TYPE_A)),
            "3 a.test"},
        {"refused", QP_DNS_A, BYTES(HEAD("\x81\x85", "\1", "\0") QUESTION(TYPE_A)), "4 a.test"},
        {"not implemented", QP_DNS_A, BYTES(HEAD("\x81\x84", "\1", "\0") QUESTION(TYPE_A)),
            "3 a.test"},
        {"a referral", QP_DNS_A, BYTES(HEAD("\x81\0", "\1", "\0") QUESTION(TYPE_A)), "3 a.test"},
        {"with authority nothing is nothing", QP_DNS_A,
            BYTES(HEAD("\x85\0", "\1", "\0") QUESTION(TYPE_A)), "1 a.test"},

        {"no bytes", QP_DNS_A, BYTES(""), "6 a.test"},
        {"half a header", QP_DNS_A, BYTES("\x12\x34\x81\x80\0\1"), "6 a.test"},
        {"a query", QP_DNS_A, BYTES(HEAD("\1\0", "\1", "\0") QUESTION(TYPE_A)), "6 a.test"},
        {"truncated", QP_DNS_A, BYTES(HEAD("\x83\x80", "\1", "\0") QUESTION(TYPE_A)), "6 a.test"},
        {"another operation", QP_DNS_A, BYTES(HEAD("\xa9\x80", "\1", "\0") QUESTION(TYPE_A)),
            "6 a.test"},
        {"no question", QP_DNS_A, BYTES(HEAD(OK_FLAGS, "\0", "\0")), "6 a.test"},
        {"another question", QP_DNS_A, BYTES(HEAD(OK_FLAGS, "\1", "\0") "\1b\4test\0\0\1\0\1"),
            "6 a.test"},
        {"another type", QP_DNS_A, BYTES(ANSWER(TYPE_MX, "\0")), "6 a.test"},
        {"another class", QP_DNS_A, BYTES(HEAD(OK_FLAGS, "\1", "\0") "\1a\4test\0\0\1\0\3"),
            "6 a.test"},
        {"a record less than told", QP_DNS_A, BYTES(ANSWER(TYPE_A, "\2") A_RECORD), "6 a.test"},
        {"a cut record", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION RR(TYPE_A, TTL, "\4") "\xc0\0"), "6 a.test"},
        {"an address of three bytes", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION RR(TYPE_A, TTL, "\3") "\xc0\0\2"), "6 a.test"},
        {"a name that points to itself", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") "\xc0\x18" RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"), "6 a.test"},
        {"a name that points forward", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") "\xc0\x1a" RR(TYPE_A, TTL, "\4") "\1x\0\1"), "6 a.test"},
        {"a name that points into the header", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") "\xc0\x04" RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"), "6 a.test"},
        {"a name that points to its own label", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") "\1a\xc0\x18" RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"),
            "6 a.test"},
        {"a label of another kind", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") "\x41\0" RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"), "6 a.test"},
        {"an alias for itself", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION RR(TYPE_CNAME, TTL, "\2") "\xc0\x0c"),
            "6 a.test"},
        {"an alias with something behind it", QP_DNS_A,
            BYTES(ANSWER(TYPE_A, "\1") TO_QUESTION RR(TYPE_CNAME, TTL, "\4") "\1b\0x"), "6 a.test"},
        {"a text string longer than its record", QP_DNS_TXT,
            BYTES(ANSWER(TYPE_TXT, "\1") TO_QUESTION RR(TYPE_TXT, TTL, "\3") "\3abcdef"),
            "6 a.test"},
        {"a text without a string", QP_DNS_TXT,
            BYTES(ANSWER(TYPE_TXT, "\1") TO_QUESTION RR(TYPE_TXT, TTL, "\0")), "6 a.test"},
        {"a name longer than its record", QP_DNS_PTR,
            BYTES(ANSWER(TYPE_PTR, "\1") TO_QUESTION RR(TYPE_PTR, TTL, "\3") "\3abc\0"),
            "6 a.test"},
        {"an MX without a name", QP_DNS_MX,
            BYTES(ANSWER(TYPE_MX, "\1") TO_QUESTION RR(TYPE_MX, TTL, "\2") "\0\1"), "6 a.test"},
        {"an SOA without numbers", QP_DNS_SOA,
            BYTES(ANSWER(TYPE_SOA, "\1") TO_QUESTION RR(TYPE_SOA, TTL, "\2") "\0\0"), "6 a.test"},
    };
    struct arena *a = arena_open("test");

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct qp_dns_answer answer;
        char says[512];

        dns_packet_parse(
            a, (const uint8_t *)cases[i].message, cases[i].n, cases[i].type, "a.test", &answer);
        summary(&answer, says, sizeof says);
        if (strcmp(says, cases[i].says) != 0)
            fail_msg("%s: %s, not %s", cases[i].what, says, cases[i].says);
    }
    arena_close(&a);
}

/* Wherever it is cut, and whichever byte is another, it is judged without reading past its end. */
static void
damaged_messages_are_survived(void **state)
{
    static const char message[] = ANSWER(TYPE_MX, "\2")
        TO_QUESTION RR(TYPE_CNAME, TTL, "\3") "\1b\0\1b\0" RR(TYPE_MX, TTL, "\4") "\0\x0a\xc0\x0c";
    uint8_t copy[sizeof message];
    struct arena *a = arena_open("test");
    struct qp_dns_answer answer;

    (void)state;
    for (size_t n = 0; n < sizeof message - 1; n++) {
        uint8_t *exact = test_malloc(n + 1);

        memcpy(exact, message, n);
        dns_packet_parse(a, exact, n, QP_DNS_MX, "a.test", &answer);
        assert_int_equal(answer.status, QP_DNS_MALFORMED);
        test_free(exact);
    }
    for (size_t i = 0; i < sizeof message - 1; i++)
        for (unsigned byte = 0; byte < 256; byte++) {
            memcpy(copy, message, sizeof message);
            copy[i] = (uint8_t)byte;
            dns_packet_parse(a, copy, sizeof message - 1, QP_DNS_MX, "a.test", &answer);
            assert_true(answer.status <= QP_DNS_MALFORMED && answer.n <= 1);
        }
    arena_close(&a);
}

/* head, then count times record, then tail */
static void
build(uint8_t *out, size_t *n, const char *record, size_t length, unsigned count)
{
    memcpy(out, BYTES(ANSWER(TYPE_A, "\0")));
    *n = sizeof(ANSWER(TYPE_A, "\0")) - 1;
    out[6] = (uint8_t)(count >> 8);
    out[7] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++, *n += length)
        memcpy(out + *n, record, length);
}

static void
a_hundred_records_are_used(void **state)
{
    static uint8_t message[65536];
    struct arena *a = arena_open("test");
    struct qp_dns_answer answer;
    size_t n;

    (void)state;
    build(message, &n, BYTES(A_RECORD), 1000);
    dns_packet_parse(a, message, n, QP_DNS_A, "a.test", &answer);
    assert_int_equal(answer.status, QP_DNS_OK);
    assert_int_equal(answer.n, DNS_RECORDS_MAX);
    arena_close(&a);
}

/* c1 → c2 → … each behind the one before, so that the bound and not the luck of order decides */
static void
chains_are_bounded(void **state)
{
    struct arena *a = arena_open("test");

    (void)state;
    for (unsigned aliases = 0; aliases < 40; aliases++) {
        uint8_t message[4096];
        struct qp_dns_answer answer;
        size_t n;

        build(message, &n, "", 0, aliases + 1);
        for (unsigned i = 0; i <= aliases; i++) {
            uint8_t owner[] = {1, (uint8_t)('0' + i), 0}, target[] = {1, (uint8_t)('0' + i + 1), 0};

            if (i == 0) {
                memcpy(message + n, TO_QUESTION, 2);
                n += 2;
            } else {
                memcpy(message + n, owner, 3);
                n += 3;
            }
            if (i == aliases) {
                memcpy(message + n, BYTES(RR(TYPE_A, TTL, "\4") "\xc0\0\2\1"));
                n += sizeof(RR(TYPE_A, TTL, "\4") "\xc0\0\2\1") - 1;
            } else {
                memcpy(message + n, BYTES(RR(TYPE_CNAME, TTL, "\3")));
                n += sizeof(RR(TYPE_CNAME, TTL, "\3")) - 1;
                memcpy(message + n, target, 3);
                n += 3;
            }
        }
        dns_packet_parse(a, message, n, QP_DNS_A, "a.test", &answer);
        assert_int_equal(answer.status, aliases <= DNS_CHAIN_MAX ? QP_DNS_OK : QP_DNS_MALFORMED);
    }
    arena_close(&a);
}

static void
long_texts_are_cut(void **state)
{
    static uint8_t message[65536];
    struct arena *a = arena_open("test");
    struct qp_dns_answer answer;
    size_t n = sizeof(ANSWER(TYPE_TXT, "\1")) - 1, length = 40 * 256;

    (void)state;
    memcpy(message, ANSWER(TYPE_TXT, "\1"), n);
    memcpy(message + n, BYTES(TO_QUESTION RR(TYPE_TXT, TTL, "\0")));
    n += sizeof(TO_QUESTION RR(TYPE_TXT, TTL, "\0")) - 1;
    message[n - 2] = (uint8_t)(length >> 8);
    message[n - 1] = (uint8_t)length;
    memset(message + n, 0xff, length); /* each length byte says 255, too */
    dns_packet_parse(a, message, n + length, QP_DNS_TXT, "a.test", &answer);
    assert_int_equal(answer.status, QP_DNS_OK);
    assert_int_equal(strlen(answer.record[0].text), QP_DNS_TEXT_MAX);
    assert_int_equal(strspn(answer.record[0].text, "?"), QP_DNS_TEXT_MAX);
    arena_close(&a);
}

#define LABEL63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123"

static void
only_names_that_can_be_asked_pass(void **state)
{
    static const struct {
        const char *text, *name; /* NULL: refused */
    } cases[] = {
        {"A.Test", "a.test"},
        {"a.test.", "a.test"},
        {"_dmarc.a-b.test", "_dmarc.a-b.test"},
        {"two words.test", "two words.test"},
        {"x", "x"},
        {LABEL63 ".test", LABEL63 ".test"},
        {LABEL63 "." LABEL63 "." LABEL63
                 ".aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1",
            LABEL63 "." LABEL63 "." LABEL63
                    ".aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1"},
        {LABEL63 "." LABEL63 "." LABEL63
                 ".aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff12",
            NULL},
        {"a" LABEL63 ".test", NULL},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {".test", NULL},
        {"a..test", NULL},
        {"a.test..", NULL},
        {"a\n.test", NULL},
        {"a\x7f.test", NULL},
        {"\xc3\xa4.test", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char name[DNS_NAME_MAX];
        bool good = dns_name_parse(str_of(cases[i].text), name);

        if (good != (cases[i].name != NULL))
            fail_msg("%s", cases[i].text);
        if (good)
            assert_string_equal(name, cases[i].name);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_say_what_is_in_them),
        cmocka_unit_test(damaged_messages_are_survived),
        cmocka_unit_test(a_hundred_records_are_used),
        cmocka_unit_test(chains_are_bounded),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(only_names_that_can_be_asked_pass),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
