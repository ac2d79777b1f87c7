#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp/reply.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char *
wire(struct arena *a, int code, const char *enhanced, const char *text)
{
    struct buf b;

    buf_init(&b, a, 65536);
    reply_format(&b, code, enhanced, text);
    return buf_text(&b);
}

static void
each_text_becomes_the_lines_of_one_reply(void **state)
{
    static const struct {
        int code;
        const char *enhanced, *text, *wire;
    } cases[] = {
        {250, NULL, "OK", "250 OK\r\n"},
        {250, NULL, "", "250 \r\n"},
        {250, NULL, "\n", "250 \r\n"},
        {250, "2.0.0", "OK", "250 2.0.0 OK\r\n"},
        {250, NULL, "a\nb\nc", "250-a\r\n250-b\r\n250 c\r\n"},
        {250, NULL, "a\n\nc", "250-a\r\n250-\r\n250 c\r\n"},
        {250, NULL, "a\r\nb\r\n", "250-a\r\n250 b\r\n"},
        {550, "5.7.1", "a\nb", "550-5.7.1 a\r\n550 5.7.1 b\r\n"},
        {550, NULL, "bell \a, del \x7f, tab \t, cr \r.", "550 bell ?, del ?, tab ?, cr ?.\r\n"},
        {550, NULL, "no (#5.7.1)", "550 no (#5.7.1)\r\n"},
        {550, "5.0.0", "no (#5.7.1)", "550 5.7.1 no\r\n"},
        {450, "4.0.0", "class differs (#5.7.1)", "450 4.0.0 class differs (#5.7.1)\r\n"},
        {550, "5.0.0", "no status (#57.1)", "550 5.0.0 no status (#57.1)\r\n"},
        {550, "5.0.0", "no status (#5.1234.1)", "550 5.0.0 no status (#5.1234.1)\r\n"},
        {550, "5.0.0", "(#5.1.1)", "550 5.1.1 \r\n"},
        {550, "5.0.0", ")", "550 5.0.0 )\r\n"},
        {550, "5.0.0", "()", "550 5.0.0 ()\r\n"},
    };
    struct arena *a = arena_open("test");

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(
            wire(a, cases[i].code, cases[i].enhanced, cases[i].text), cases[i].wire);
    arena_close(&a);
}

static void
no_line_is_longer_than_512_bytes(void **state)
{
    struct arena *a = arena_open("test");
    char text[3001];
    const char *out;

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[1000] = '\n';
    text[sizeof text - 1] = '\0';
    out = wire(a, 550, "5.7.1", text);
    assert_int_equal(strlen(out), 1024);
    assert_memory_equal(out + 510, "\r\n550 5.7.1 x", 12);
    arena_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_text_becomes_the_lines_of_one_reply),
        cmocka_unit_test(no_line_is_longer_than_512_bytes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
