#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four before it */
#include <cmocka.h>

#include "base/base64.h"

static const struct {
    struct str text, encoded;
} pairs[] = {
    /* RFC 4648, 10 */
    {{"", 0}, {"", 0}},
    {{"f", 1}, {"Zg==", 4}},
    {{"fo", 2}, {"Zm8=", 4}},
    {{"foo", 3}, {"Zm9v", 4}},
    {{"foob", 4}, {"Zm9vYg==", 8}},
    {{"fooba", 5}, {"Zm9vYmE=", 8}},
    {{"foobar", 6}, {"Zm9vYmFy", 8}},
    {{"\0\0\0", 3}, {"AAAA", 4}},
    {{"\xff\xfe\xfd", 3}, {"//79", 4}},
    {{"\xfb\xf0", 2}, {"+/A=", 4}},
};

static void
what_is_encoded_is_decoded(void **state)
{
    char out[16];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        n = base64_encode(pairs[i].text, out);
        assert_int_equal(n, pairs[i].encoded.n);
        assert_int_equal(n, BASE64_ENCODED(pairs[i].text.n));
        assert_memory_equal(out, pairs[i].encoded.p, n);
        assert_true(base64_decode(pairs[i].encoded, out, &n));
        assert_int_equal(n, pairs[i].text.n);
        assert_true(n <= BASE64_DECODED(pairs[i].encoded.n));
        assert_memory_equal(out, pairs[i].text.p, n);
    }
}

static void
every_byte_survives(void **state)
{
    char text[256], encoded[BASE64_ENCODED(sizeof text)], decoded[sizeof text];
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)i;
    for (size_t length = 0; length <= sizeof text; length++) {
        n = base64_encode((struct str){text, length}, encoded);
        assert_true(base64_decode((struct str){encoded, n}, decoded, &n));
        assert_int_equal(n, length);
        assert_memory_equal(decoded, text, n);
    }
}

static void
what_has_another_form_is_refused(void **state)
{
    static const struct str bad[] = {
        {"A", 1},
        {"AA", 2},
        {"AAA", 3},
        {"=", 1},
        {"====", 4},
        {"A===", 4},
        {"AB==", 4}, /* bits behind the last byte */
        {"AAB=", 4},
        {"AA=A", 4},
        {"AA==AAAA", 8},
        {"AAA\n", 4},
        {" AAA", 4},
        {"AA-_", 4},
        {"AA\0A", 4},
        {"AAA\xff", 4},
        {"*", 1},
    };
    char out[8];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t n = 99;

        assert_false(base64_decode(bad[i], out, &n));
        assert_int_equal(n, 99);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(every_byte_survives),
        cmocka_unit_test(what_has_another_form_is_refused),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
