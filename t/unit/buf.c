#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"

static void
nothing_is_allocated_before_the_first_append(void **state)
{
    struct arena *a = arena_open("test");
    struct buf b;

    (void)state;
    buf_init(&b, a, 10);
    assert_string_equal(buf_text(&b), "");
    assert_int_equal(buf_str(&b).n, 0);
    buf_puts(&b, "");
    buf_put(&b, (struct str){NULL, 0});
    buf_printf(&b, "%s", "");
    assert_int_equal(arena_used(a), 0);
    assert_false(b.overflow);
    arena_close(&a);
}

static void
what_does_not_fit_is_cut_and_remembered(void **state)
{
    struct arena *a = arena_open("test");
    struct buf b;

    (void)state;
    buf_init(&b, a, 8);
    buf_puts(&b, "abcd");
    buf_printf(&b, "%d", 1234);
    assert_false(b.overflow);
    assert_string_equal(buf_text(&b), "abcd1234");
    buf_putc(&b, '!');
    assert_true(b.overflow);
    assert_string_equal(buf_text(&b), "abcd1234");

    buf_init(&b, a, 6);
    buf_puts(&b, "abcd");
    buf_printf(&b, "%s", "efgh");
    assert_true(b.overflow);
    assert_string_equal(buf_text(&b), "abcdef");

    buf_init(&b, a, 6);
    buf_puts(&b, "abcd");
    buf_puts(&b, "EFGHIJ");
    buf_puts(&b, "");
    assert_string_equal(buf_text(&b), "abcdEF");
    assert_true(b.overflow);

    buf_init(&b, a, 0);
    buf_putc(&b, 'x');
    assert_true(b.overflow);
    assert_string_equal(buf_text(&b), "");
    arena_close(&a);
}

static void
nothing_follows_a_cut(void **state)
{
    struct arena *a = arena_open("test");
    struct buf b;

    (void)state;
    buf_init(&b, a, 4);
    buf_printf(&b, "%s", "to be cut");
    b.cap = 100; /* even if there were room again */
    buf_puts(&b, "more");
    buf_printf(&b, "%d", 1);
    assert_string_equal(buf_text(&b), "to b");
    arena_close(&a);
}

static void
growing_keeps_every_byte(void **state)
{
    struct arena *a = arena_open("test");
    struct buf b, other;

    (void)state;
    buf_init(&b, a, SIZE_MAX);
    buf_init(&other, a, 1000);
    for (int i = 0; i < 20000; i++) {
        buf_putc(&b, (char)('a' + i % 26));
        if (i % 100 == 0)
            buf_putc(&other, 'o'); /* in between, so that neither is always the newest piece */
        assert_int_equal(b.p[b.n], 0);
    }
    buf_printf(&b, "%s", "end");
    assert_int_equal(b.n, 20003);
    for (int i = 0; i < 20000; i++)
        assert_int_equal(b.p[i], 'a' + i % 26);
    assert_string_equal(b.p + 20000, "end");
    assert_int_equal(other.n, 200);
    buf_put(&b, STR("\0x"));
    assert_int_equal(buf_str(&b).n, 20005);
    arena_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_allocated_before_the_first_append),
        cmocka_unit_test(what_does_not_fit_is_cut_and_remembered),
        cmocka_unit_test(nothing_follows_a_cut),
        cmocka_unit_test(growing_keeps_every_byte),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
