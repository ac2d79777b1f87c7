/* plugins/queue/postfix-queue: records as Postfix reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../../plugins/queue/postfix-queue.parts/records.h"

struct sink {
    char bytes[65536];
    size_t n, calls, fail_at; /* the call that fails, from 1 */
};

static bool
put(void *data, const char *bytes, size_t n)
{
    struct sink *s = data;

    assert_true(s->n + n <= sizeof s->bytes);
    memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
    return ++s->calls != s->fail_at;
}

/* As text "N3 abc|", what came out for these pieces of a message. */
static void
check(const char *const pieces[], const char *expected)
{
    static struct sink s;
    static struct records r;

    memset(&s, 0, sizeof s);
    records_begin(&r, put, &s);
    for (; *pieces; pieces++)
        records_lines(&r, *pieces, strlen(*pieces));
    records_lines_end(&r);
    assert_true(records_end(&r));
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.bytes, expected, s.n);
}

static void
lines_become_records(void **state)
{
    (void)state;
    check((const char *const[]){"", NULL}, "");
    check((const char *const[]){"ab\n", NULL}, "N\2ab");
    check((const char *const[]){"a", "b\n", "c", NULL}, "N\2abN\1c");
}

static void
empty_lines_are_records(void **state)
{
    static struct sink s;
    static struct records r;

    (void)state;
    records_begin(&r, put, &s);
    records_lines(&r, "a\n\n\nb\n", 6);
    records_lines_end(&r);
    assert_true(records_end(&r));
    assert_int_equal(s.n, 10);
    assert_memory_equal(s.bytes, "N\1aN\0N\0N\1b", 10);
}

static void
nul_bytes_go(void **state)
{
    static struct sink s;
    static struct records r;

    (void)state;
    records_begin(&r, put, &s);
    records_lines(&r, "a\0b\n\0", 5);
    records_lines_end(&r);
    assert_true(records_end(&r));
    assert_int_equal(s.n, 6); /* the NUL that follows the line is a line of its own, empty */
    assert_memory_equal(s.bytes, "N\2abN\0", 6);
}

static void
long_lines_come_in_parts(void **state)
{
    static const size_t lengths[][4] = {{1023, 0, 0, 1023}, {1024, 0, 0, 1024}, {1025, 1, 1024, 1},
        {2048, 1, 1024, 1024}, {2049, 2, 1024, 1}};
    static char line[5000];

    (void)state;
    memset(line, 'x', sizeof line);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        static struct sink s;
        static struct records r;
        const char *p = s.bytes;

        memset(&s, 0, sizeof s);
        records_begin(&r, put, &s);
        records_lines(&r, line, lengths[i][0]);
        records_lines(&r, "\n", 1);
        records_lines_end(&r);
        assert_true(records_end(&r));
        for (size_t part = 0; part < lengths[i][1]; part++, p += 3 + 1024) {
            assert_int_equal(p[0], 'L');
            assert_int_equal((p[1] & 0x7f) | p[2] << 7, 1024);
        }
        assert_int_equal(p[0], 'N');
        p += 1 + (lengths[i][3] > 127 ? 2 : 1);
        assert_int_equal((size_t)(p - s.bytes) + lengths[i][3], s.n);
    }
}

static void
a_failed_put_is_the_last(void **state)
{
    static struct sink s;
    static struct records r;
    static char line[1000];

    (void)state;
    memset(line, 'x', sizeof line);
    s.fail_at = 2;
    records_begin(&r, put, &s);
    for (int i = 0; i < 100; i++)
        records_raw(&r, line, sizeof line);
    assert_false(records_end(&r));
    assert_int_equal(s.calls, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_records),
        cmocka_unit_test(empty_lines_are_records),
        cmocka_unit_test(nul_bytes_go),
        cmocka_unit_test(long_lines_come_in_parts),
        cmocka_unit_test(a_failed_put_is_the_last),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
