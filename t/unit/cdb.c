#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "conf/cdb.h"
#include "scratch.h"

/* as cdb(1) reads them */
#define RECORDS                                                                                    \
    STR("+3,5:one->first\n+3,6:one->second\n+0,5:->empty\n+5,0:blank->\n"                          \
        "+4,6:a\0b\n->x\0y\nz\xff\n\n")

/* A cdb in memory that may be damaged. */
struct copy {
    uint8_t *p;
    size_t n;
};

static struct copy
copy_of(struct scratch *s, struct str source)
{
    struct copy c;
    struct cdb map;
    struct err e;

    assert_true(cdb_open(&map, scratch_cdb(s, "x.cdb", source), &e));
    c.n = map.n;
    c.p = malloc(c.n);
    assert_non_null(c.p);
    memcpy(c.p, map.p, c.n);
    cdb_close(&map);
    return c;
}

static enum cdb_status
find(const struct copy *c, const char *key)
{
    struct cdb map = {c->p, c->n};
    struct str value;

    return cdb_find(&map, str_of(key), &value);
}

static void
put_number(uint8_t *p, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(n >> 8 * i);
}

static uint32_t
get_number(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int
set_up(void **state)
{
    static struct scratch s;

    scratch_open(&s);
    *state = &s;
    return 0;
}

static int
tear_down(void **state)
{
    scratch_close(*state);
    return 0;
}

static void
records_of_the_original_tool_are_found(void **state)
{
    static const struct {
        struct str key, value;
        enum cdb_status status;
    } cases[] = {
        {{"one", 3}, {"first", 5}, CDB_FOUND}, /* of two records the first */
        {{"", 0}, {"empty", 5}, CDB_FOUND},
        {{NULL, 0}, {"empty", 5}, CDB_FOUND},
        {{"blank", 5}, {"", 0}, CDB_FOUND},
        {{"a\0b\n", 4}, {"x\0y\nz\xff", 6}, CDB_FOUND},
        {{"a", 1}, {NULL, 0}, CDB_ABSENT},
        {{"onf", 3}, {NULL, 0}, CDB_ABSENT},
        {{"ONE", 3}, {NULL, 0}, CDB_ABSENT},
        {{"one\0", 4}, {NULL, 0}, CDB_ABSENT},
    };
    struct cdb c;
    struct err e;

    assert_true(cdb_open(&c, scratch_cdb(*state, "x.cdb", RECORDS), &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str value = {NULL, 4711};

        assert_int_equal(cdb_find(&c, cases[i].key, &value), cases[i].status);
        if (cases[i].status == CDB_FOUND)
            assert_true(str_eq(value, cases[i].value));
        else
            assert_int_equal(value.n, 4711);
    }
    cdb_close(&c);
    assert_null(c.p);
    cdb_close(&c);
    assert_true(cdb_open(&c, scratch_cdb(*state, "none.cdb", STR("\n")), &e));
    assert_int_equal(cdb_find(&c, STR("one"), &(struct str){NULL, 0}), CDB_ABSENT);
    cdb_close(&c);
}

static void
many_records_are_all_found(void **state)
{
    size_t room = 1 << 20, n = 0;
    char *source = malloc(room), key[20];
    struct str value;
    struct cdb c;
    struct err e;

    for (int i = 0; i < 20000; i++) {
        int length = snprintf(key, sizeof key, "k%d", i);

        n += (size_t)snprintf(
            source + n, room - n, "+%d,%d:%s->%s\n", length, length - 1, key, key + 1);
    }
    source[n++] = '\n';
    assert_true(cdb_open(&c, scratch_cdb(*state, "x.cdb", (struct str){source, n}), &e));
    for (int i = 0; i < 20000; i++) {
        int length = snprintf(key, sizeof key, "k%d", i);

        assert_int_equal(cdb_find(&c, (struct str){key, (size_t)length}, &value), CDB_FOUND);
        assert_true(str_eq(value, str_of(key + 1)));
        key[0] = 'K';
        assert_int_equal(cdb_find(&c, (struct str){key, (size_t)length}, &value), CDB_ABSENT);
    }
    cdb_close(&c);
    free(source);
}

static void
what_is_no_cdb_is_not_opened(void **state)
{
    static char zeros[2047];
    struct scratch *s = *state;
    struct cdb c;
    struct err e;

    alarm(20);
    assert_false(cdb_open(&c, scratch_path(s, "missing"), &e));
    assert_int_equal(errno, ENOENT);
    assert_null(c.p);
    assert_false(cdb_open(&c, scratch_write(s, "empty", STR("")), &e));
    assert_int_not_equal(errno, ENOENT);
    assert_non_null(strstr(e.text, "empty: too short"));
    assert_false(cdb_open(&c, scratch_write(s, "short", (struct str){zeros, sizeof zeros}), &e));
    assert_false(cdb_open(&c, scratch_mkdir(s, "dir"), &e));
    mkfifo(scratch_path(s, "fifo"), 0600);
    assert_false(cdb_open(&c, scratch_path(s, "fifo"), &e));
    assert_int_equal(cdb_find(&c, STR("one"), &(struct str){NULL, 0}), CDB_BROKEN);
    alarm(0);
}

/* The pair of the table that holds "one", its slot, and its record. */
static void
locate(const struct copy *c, size_t *pair, size_t *slot, size_t *record)
{
    uint32_t h = 5381;

    for (const char *k = "one"; *k; k++)
        h = h * 33 ^ (uint8_t)*k;
    *pair = (h & 255) * 8;
    *slot = get_number(c->p + *pair) + (h >> 8) % get_number(c->p + *pair + 4) * 8;
    *record = get_number(c->p + *slot + 4);
    assert_int_equal(get_number(c->p + *slot), h);
    assert_int_equal(get_number(c->p + *record), 3);
}

static void
damaged_numbers_are_broken_and_never_followed(void **state)
{
    static const uint32_t values[] = {1, 2047, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff};
    struct copy c = copy_of(*state, RECORDS);
    size_t pair, slot, record;

    locate(&c, &pair, &slot, &record);
    const size_t places[] = {pair, pair + 4, slot + 4, record, record + 4};

    assert_int_equal(find(&c, "one"), CDB_FOUND);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            uint8_t *p = c.p + places[i];
            uint32_t good = get_number(p);
            enum cdb_status status;

            put_number(p, values[j]);
            status = find(&c, "one");
            put_number(p, good);
            /* a length or a number of slots of 1 lies inside the file, and finds nothing or another
             */
            if (values[j] != 1 || places[i] == pair || places[i] == slot + 4)
                assert_int_equal(status, CDB_BROKEN);
        }
    }
    free(c.p);
}

static void
a_cut_file_is_broken_or_right(void **state)
{
    struct copy whole = copy_of(*state, RECORDS);
    size_t pair, slot, record;

    locate(&whole, &pair, &slot, &record);
    for (size_t n = 0; n < whole.n; n++) {
        /* a copy of just that size, so that a sanitizer sees each byte read behind it */
        struct copy cut = {malloc(n + !n), n};
        enum cdb_status status;

        memcpy(cut.p, whole.p, n);
        status = find(&cut, "one");
        if (n <= slot)
            assert_int_equal(status, CDB_BROKEN);
        assert_true(status != CDB_ABSENT);
        free(cut.p);
    }
    free(whole.p);
}

static void
a_table_without_a_free_slot_ends_the_search(void **state)
{
    struct copy c = copy_of(*state, RECORDS);
    size_t pair, slot, record;
    uint32_t table;

    locate(&c, &pair, &slot, &record);
    table = get_number(c.p + pair);
    for (uint32_t i = 0; i < get_number(c.p + pair + 4);
         i++) { /* every hash right, every key wrong */
        memcpy(c.p + table + i * 8, c.p + slot, 8);
        put_number(c.p + record + 8, 0x20202020);
    }
    assert_int_equal(find(&c, "one"), CDB_ABSENT);
    free(c.p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_of_the_original_tool_are_found),
        TEST(many_records_are_all_found),
        TEST(what_is_no_cdb_is_not_opened),
        TEST(damaged_numbers_are_broken_and_never_followed),
        TEST(a_cut_file_is_broken_or_right),
        TEST(a_table_without_a_free_slot_ends_the_search),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("conf/cdb", tests, NULL, NULL);
}
