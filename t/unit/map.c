#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/map.h"

#define MANY 200000

static void
keys_are_bytes_and_the_last_value_stays(void **state)
{
    struct arena *a = arena_open("test");
    struct map *m = map_new(a);
    char key[] = "key";
    int one, two;

    (void)state;
    assert_null(map_get(m, STR("")));
    assert_int_equal(map_count(m), 0);
    map_set(m, STR(""), &one);
    map_set(m, str_of(key), &one);
    map_set(m, STR("a\0b"), &one);
    memset(key, 'x', 3); /* copied: what happens to the caller's is of no matter */
    assert_ptr_equal(map_get(m, STR("")), &one);
    assert_ptr_equal(map_get(m, STR("key")), &one);
    assert_null(map_get(m, STR("KEY")));
    assert_null(map_get(m, STR("ke")));
    assert_ptr_equal(map_get(m, STR("a\0b")), &one);
    assert_null(map_get(m, STR("a")));
    assert_null(map_get(m, STR("a\0c")));
    map_set(m, STR("key"), &two);
    assert_ptr_equal(map_get(m, STR("key")), &two);
    assert_int_equal(map_count(m), 3);
    map_set(m, STR("key"), NULL);
    assert_null(map_get(m, STR("key")));
    arena_close(&a);
}

static void
fill_and_ask(struct map *m, int *values)
{
    char key[32];

    for (int i = 0; i < MANY; i++) {
        int n = snprintf(key, sizeof key, "%d.example.com", i);

        map_set(m, (struct str){key, (size_t)n}, &values[i]);
    }
    assert_int_equal(map_count(m), MANY);
    for (int i = 0; i < MANY; i++) {
        int n = snprintf(key, sizeof key, "%d.example.com", i);

        assert_ptr_equal(map_get(m, (struct str){key, (size_t)n}), &values[i]);
        assert_null(map_get(m, (struct str){key, (size_t)n - 1}));
    }
}

static void
many_keys_are_all_found(void **state)
{
    struct arena *a = arena_open("test");
    int *values = arena_alloc(a, MANY * sizeof *values);
    struct map *grown = map_new(a), *reserved = map_new(a);
    size_t before;

    (void)state;
    fill_and_ask(grown, values);
    map_reserve(reserved, MANY);
    before = arena_used(a);
    fill_and_ask(reserved, values);
    assert_true(arena_used(a) - before < MANY * 32); /* keys, and no more slots */
    arena_close(&a);
}

static void
every_length_of_key_counts_to_its_last_byte(void **state)
{
    struct arena *a = arena_open("test");
    struct map *m = map_new(a);
    char key[40] = {0};
    int value;

    (void)state;
    for (size_t n = 0; n < sizeof key; n++)
        map_set(m, (struct str){key, n}, &value);
    assert_int_equal(map_count(m), sizeof key);
    for (size_t n = 1; n < sizeof key; n++) {
        key[n - 1] = 1;
        assert_null(map_get(m, (struct str){key, n}));
        key[n - 1] = 0;
        assert_ptr_equal(map_get(m, (struct str){key, n}), &value);
    }
    arena_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_bytes_and_the_last_value_stays),
        cmocka_unit_test(many_keys_are_all_found),
        cmocka_unit_test(every_length_of_key_counts_to_its_last_byte),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
