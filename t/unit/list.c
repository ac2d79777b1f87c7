/*
 * Which form of a list is asked: the compiled one only when it was made of the text that is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "conf/list.h"
#include "conf/mph_format.h"
#include "scratch.h"
#include "server/table_compile.h"

struct world {
    struct arena *arena;
    struct scratch dir;
    struct config *config;
    struct err e;
};

static int
set_up(void **state)
{
    static struct world w;

    w.arena = arena_open("test");
    scratch_open(&w.dir);
    w.e = (struct err){""};
    scratch_mkdir(&w.dir, "first");
    scratch_mkdir(&w.dir, "second");
    *state = &w;
    return 0;
}

static int
tear_down(void **state)
{
    struct world *w = *state;

    config_close(&w->config);
    arena_close(&w->arena);
    scratch_close(&w->dir);
    return 0;
}

/* A fresh look at the directories. */
static struct config *
config_of(struct world *w)
{
    const char *dirs[3] = {arena_printf(w->arena, "%s/first", w->dir.dir),
        arena_printf(w->arena, "%s/second", w->dir.dir), NULL};

    config_close(&w->config);
    w->config = config_open(dirs);
    return w->config;
}

static const char *
path_of(struct world *w, const char *name)
{
    return arena_printf(w->arena, "%s/%s", w->dir.dir, name);
}

static void
compile(struct world *w, const char *text, const char *mph)
{
    struct table_report r;

    if (!table_compile(path_of(w, text), path_of(w, mph), TABLE_DOMAIN, &r, &w->e))
        fail_msg("%s", w->e.text);
}

static void
set_time(struct world *w, const char *name, time_t seconds, long nanoseconds)
{
    struct timespec t[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};

    assert_int_equal(utimensat(AT_FDCWD, path_of(w, name), t, 0), 0);
}

/* "mph", "cdb", "empty", "text" or "broken" */
static const char *
form(struct world *w, const char *name, enum list_use use)
{
    struct table *t = NULL;

    switch (list_open(config_of(w), w->arena, TABLE_DOMAIN, name, use, &t, &w->e)) {
    case LIST_TABLE:
        if (table_header(t))
            return "mph";
        return table_find(t, "in.cdb", w->arena, NULL) == TABLE_FOUND ? "cdb" : "empty";
    case LIST_TEXT:
        return "text";
    case LIST_BROKEN:
        break;
    }
    return "broken";
}

#define FORM(w, name) form(w, name, LIST_ANY)

static void
a_compiled_list_is_asked_while_its_text_stays(void **state)
{
    struct world *w = *state;

    assert_string_equal(FORM(w, "x"), "text"); /* absent: an empty list */
    scratch_write(&w->dir, "first/x", STR("a.b\n"));
    assert_string_equal(FORM(w, "x"), "text");
    compile(w, "first/x", "first/x.mph");
    assert_string_equal(FORM(w, "x"), "mph");
    assert_string_equal(form(w, "x", LIST_NO_MPH), "text");
    unlink(path_of(w, "first/x"));
    assert_string_equal(FORM(w, "x"), "mph");
    assert_string_equal(form(w, "x", LIST_NO_MPH), "broken");
}

static void
a_text_that_has_changed_is_asked_itself(void **state)
{
    struct world *w = *state;

    scratch_write(&w->dir, "first/x", STR("a.b\n"));
    set_time(w, "first/x", 1000000000, 500);
    compile(w, "first/x", "first/x.mph");
    assert_string_equal(FORM(w, "x"), "mph");

    scratch_write(&w->dir, "first/x", STR("a.b\nc.d\n"));
    set_time(w, "first/x", time(NULL) + 10, 0);
    assert_string_equal(FORM(w, "x"), "text");
    assert_non_null(strstr(w->e.text, "x.mph is older than its text"));
    set_time(w, "first/x", 1000000000, 500); /* of then, but of another size */
    assert_string_equal(FORM(w, "x"), "text");
    assert_non_null(strstr(w->e.text, "was made of another text"));
    scratch_write(&w->dir, "first/x", STR("c.d\n"));
    set_time(w, "first/x", 900000000, 500); /* an old one, put back */
    assert_string_equal(FORM(w, "x"), "text");
    set_time(w, "first/x", 1000000000, 501);
    assert_string_equal(FORM(w, "x"), "text");
    set_time(w, "first/x", 1000000000, 0); /* out of an archive that keeps seconds */
    assert_string_equal(FORM(w, "x"), "mph");
    set_time(w, "first/x.mph", 999999999, 0);
    assert_string_equal(FORM(w, "x"), "text");
}

static void
a_damaged_compiled_list_leaves_the_text_or_nothing(void **state)
{
    struct world *w = *state;

    scratch_write(&w->dir, "first/x", STR("a.b\n"));
    scratch_write(&w->dir, "first/x.mph", STR("something else"));
    assert_string_equal(FORM(w, "x"), "text");
    unlink(path_of(w, "first/x"));
    assert_string_equal(FORM(w, "x"), "broken"); /* not an empty list */
    assert_non_null(strstr(w->e.text, "first/x.mph: too short"));
}

static void
each_form_comes_from_the_first_directory_that_has_it(void **state)
{
    struct world *w = *state;

    scratch_write(&w->dir, "second/x", STR("a.b\n"));
    compile(w, "second/x", "first/x.mph");
    assert_string_equal(FORM(w, "x"), "mph");
    scratch_write(&w->dir, "first/x", STR("other.text\n")); /* hides the other one */
    assert_string_equal(FORM(w, "x"), "text");
}

static void
a_cdb_is_asked_where_there_is_no_text(void **state)
{
    struct world *w = *state;

    scratch_cdb(&w->dir, "first/x.cdb", STR("+6,0:in.cdb->\n\n"));
    assert_string_equal(FORM(w, "x"), "cdb");
    scratch_write(&w->dir, "second/x", STR("a.b\n"));
    assert_string_equal(FORM(w, "x"), "text");
    compile(w, "second/x", "second/x.mph");
    assert_string_equal(FORM(w, "x"), "mph");
}

static void
the_lists_that_qmail_keeps_as_cdb_can_be_compiled_too(void **state)
{
    struct world *w = *state;

    assert_string_equal(FORM(w, "x.cdb"), "empty");
    scratch_write(&w->dir, "first/x", STR("a.b\n")); /* only qmail-newmrh(8) reads it */
    assert_string_equal(FORM(w, "x.cdb"), "empty");
    scratch_cdb(&w->dir, "first/x.cdb", STR("+6,0:in.cdb->\n\n"));
    set_time(w, "first/x.cdb", 1000000000, 0);
    assert_string_equal(FORM(w, "x.cdb"), "cdb");
    compile(w, "first/x", "first/x.mph");
    assert_string_equal(FORM(w, "x.cdb"), "mph");
    assert_string_equal(form(w, "x.cdb", LIST_NO_MPH), "cdb");
    set_time(w, "first/x.cdb", time(NULL) + 1000, 0);
    assert_string_equal(FORM(w, "x.cdb"), "cdb");
    assert_non_null(strstr(w->e.text, "older than the cdb"));
    unlink(path_of(w, "first/x.cdb"));
    scratch_write(&w->dir, "first/x", STR("a.b\nc.d\n"));
    assert_string_equal(FORM(w, "x.cdb"), "text"); /* better than refusing mail for it */
    scratch_write(&w->dir, "first/x.cdb", STR("no cdb"));
    assert_string_equal(FORM(w, "x.cdb"), "broken");
}

static void
the_lines_of_a_text_that_has_gone_are_no_empty_list(void **state)
{
    struct world *w = *state;
    struct config_value lines;

    assert_true(list_text(config_of(w), w->arena, "x", LIST_ANY, &lines, &w->e));
    assert_int_equal(lines.n, 0);
    assert_false(list_text(config_of(w), w->arena, "x", LIST_NO_MPH, &lines, &w->e));
    scratch_write(&w->dir, "second/x", STR("a.b\n"));
    assert_true(list_text(config_of(w), w->arena, "x.cdb", LIST_NO_MPH, &lines, &w->e));
    assert_int_equal(lines.n, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_compiled_list_is_asked_while_its_text_stays),
        TEST(a_text_that_has_changed_is_asked_itself),
        TEST(a_damaged_compiled_list_leaves_the_text_or_nothing),
        TEST(each_form_comes_from_the_first_directory_that_has_it),
        TEST(a_cdb_is_asked_where_there_is_no_text),
        TEST(the_lists_that_qmail_keeps_as_cdb_can_be_compiled_too),
        TEST(the_lines_of_a_text_that_has_gone_are_no_empty_list),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("conf/list", tests, NULL, NULL);
}
