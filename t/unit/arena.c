#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"

static void
pieces_are_zeroed_aligned_and_apart(void **state)
{
    struct arena *a = arena_open("test");
    unsigned char *last = NULL;

    (void)state;
    for (size_t n = 0; n < 3000; n += 7) {
        unsigned char *p = arena_alloc(a, n);

        assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        if (n > 0)
            memset(p, 0xee, n);
        if (last && n > 7)
            assert_int_equal(last[n - 8], 0xee);
        last = p;
    }
    arena_close(&a);
    assert_null(a);
    arena_close(&a);
}

static void
reset_wipes_and_keeps_the_first_block(void **state)
{
    struct arena *a = arena_open("test");
    char *first = arena_dup(a, STR("password"));

    (void)state;
    assert_string_equal(first, "password");
    for (int i = 0; i < 1000; i++)
        arena_alloc(a, 1000);
    memset(arena_alloc(a, 1 << 20), 'x', 1 << 20);
    arena_reset(a);
    assert_int_equal(arena_used(a), 0);
    char *again = arena_alloc(a, 9);
    assert_ptr_equal(again, first);
    assert_memory_equal(again, "\0\0\0\0\0\0\0\0", 9);
    assert_int_equal(arena_used(a), 9);
    arena_close(&a);
}

static void
note(void *data)
{
    char *text = *(char **)data;

    text[strlen(text)] = 'x';
}

static char order[8];

static void
note_first(void *data)
{
    (void)data;
    strncat(order, "1", sizeof order - strlen(order) - 1);
}

static void
note_second(void *data)
{
    arena_at_reset(data, note_first, NULL);
    strncat(order, "2", sizeof order - strlen(order) - 1);
}

static void
clean_ups_run_once_newest_first(void **state)
{
    struct arena *a = arena_open("test");
    char text[4] = "";
    char **data = arena_alloc(a, sizeof *data); /* may lie in the arena itself */

    (void)state;
    *data = text;
    arena_at_reset(a, note, data);
    arena_reset(a);
    arena_reset(a);
    assert_string_equal(text, "x");
    memset(order, 0, sizeof order);
    arena_at_reset(a, note_first, NULL);
    arena_at_reset(a, note_second, a); /* ties one more while the reset is running */
    arena_close(&a);
    assert_string_equal(order, "211");
}

static void
grown_pieces_keep_what_they_hold(void **state)
{
    struct arena *a = arena_open("test");
    size_t n = 0;
    char *p = NULL;

    (void)state;
    for (size_t want = 1; want < 100000; want = want * 3 / 2 + 1) {
        p = arena_grow(a, p, n, want);
        for (size_t i = 0; i < want; i++)
            assert_int_equal(p[i], i < n ? 'g' : 0);
        memset(p, 'g', want);
        n = want;
        if (want % 2)
            arena_alloc(a, 3); /* not the newest any more */
    }
    arena_close(&a);
}

static void
printf_takes_any_length(void **state)
{
    struct arena *a = arena_open("test");
    char *text = arena_printf(a, "%0*d|%s", 70000, 7, "end");

    (void)state;
    assert_int_equal(strlen(text), 70004);
    assert_string_equal(text + 69999, "7|end");
    assert_string_equal(arena_printf(a, "%s", ""), "");
    assert_string_equal(arena_dup(a, (struct str){NULL, 0}), "");
    assert_memory_equal(arena_dup(a, STR("a\0b")), "a\0b", 4);
    arena_close(&a);
}

static void
concat_joins_what_there_is(void **state)
{
    struct arena *a = arena_open("test");

    (void)state;
    assert_string_equal(arena_concat(a, (const char *[]){NULL}), "");
    assert_string_equal(arena_concat(a, (const char *[]){"", "a", "", "/bc", NULL}), "a/bc");
    arena_close(&a);
}

static void
leave_with_seven(void)
{
    _exit(7);
}

/* How a process ends that asks for more than there is; what it wrote on stderr. */
static int
ask_for_too_much(void (*fn)(void), char *text, size_t room)
{
    int fd[2], status;
    ssize_t n;
    pid_t pid;

    assert_int_equal(pipe(fd), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct arena *a = arena_open("greedy");

        dup2(fd[1], STDERR_FILENO);
        arena_when_exhausted(fn);
        arena_alloc(a, SIZE_MAX - 4);
        _exit(0);
    }
    close(fd[1]);
    n = read(fd[0], text, room - 1);
    for (ssize_t more = n; more > 0 && (size_t)n < room - 1; n += more)
        more = read(fd[0], text + n, room - 1 - (size_t)n);
    text[n > 0 ? n : 0] = '\0';
    close(fd[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
exhaustion_ends_the_process_and_never_returns(void **state)
{
    char text[200];

    (void)state;
    assert_int_equal(ask_for_too_much(NULL, text, sizeof text), 111);
    assert_string_equal(text, "out of memory: greedy\n");
    assert_int_equal(ask_for_too_much(leave_with_seven, text, sizeof text), 7);
    assert_string_equal(text, "");
}

static void
errors_carry_errno_and_are_cut(void **state)
{
    struct err e;

    (void)state;
    errno = ENOENT;
    assert_false(err_sys(&e, "open %s", "x"));
    assert_string_equal(e.text, "open x: No such file or directory");
    assert_int_equal(errno, ENOENT);
    assert_false(err_sys(&e, "%0600d", 1));
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_false(err_set(&e, "%d", 5));
    assert_string_equal(e.text, "5");
}

static void
deadlines_are_what_poll_takes(void **state)
{
    int64_t now = clock_ms();

    (void)state;
    assert_true(clock_ms() >= now);
    assert_int_equal(clock_left(CLOCK_NEVER), -1);
    assert_int_equal(clock_left(now - 1), 0);
    assert_int_equal(clock_left(INT64_MIN), 0);
    assert_int_equal(clock_left(CLOCK_NEVER - 1), INT32_MAX);
    assert_in_range(clock_left(clock_ms() + 60000), 1, 60000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
        cmocka_unit_test(reset_wipes_and_keeps_the_first_block),
        cmocka_unit_test(clean_ups_run_once_newest_first),
        cmocka_unit_test(grown_pieces_keep_what_they_hold),
        cmocka_unit_test(printf_takes_any_length),
        cmocka_unit_test(concat_joins_what_there_is),
        cmocka_unit_test(exhaustion_ends_the_process_and_never_returns),
        cmocka_unit_test(errors_carry_errno_and_are_cut),
        cmocka_unit_test(deadlines_are_what_poll_takes),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("base/arena", tests, NULL, NULL);
}
