#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/log.h"
#include "conf/config.h"
#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct world {
    struct scratch scratch;
    struct config *config; /* directories "first" and "second" */
    char logged[4096];     /* what was logged as critical, a line each */
};

static bool
remember(void *data, const struct log_event *event)
{
    struct world *w = data;
    size_t n = strlen(w->logged);

    assert_int_equal(event->level, LOG_LEVEL_CRIT);
    snprintf(w->logged + n, sizeof w->logged - n, "%s\n", event->text);
    return true;
}

static int
set_up(void **state)
{
    static struct world w;
    char first[PATH_MAX], second[PATH_MAX], missing[PATH_MAX];

    memset(&w, 0, sizeof w);
    scratch_open(&w.scratch);
    snprintf(missing, sizeof missing, "%s", scratch_path(&w.scratch, "missing"));
    snprintf(first, sizeof first, "%s", scratch_mkdir(&w.scratch, "first"));
    snprintf(second, sizeof second, "%s", scratch_mkdir(&w.scratch, "second"));
    w.config = config_open((const char *const[]){missing, first, second, NULL});
    log_sink_set(remember, &w, LOG_LEVEL_DEBUG);
    *state = &w;
    return 0;
}

static int
tear_down(void **state)
{
    struct world *w = *state;

    log_sink_set(NULL, NULL, LOG_LEVEL_EMERG);
    config_close(&w->config);
    assert_null(w->config);
    config_close(&w->config);
    scratch_close(&w->scratch);
    return 0;
}

static void
write_file(struct world *w, const char *name, const char *text)
{
    scratch_write(&w->scratch, name, str_of(text));
}

/* The lines of a value, each with a '|' behind it. */
static const char *
joined(struct config_value value)
{
    static char text[8192];
    size_t n = 0;

    text[0] = '\0';
    for (size_t i = 0; i < value.n && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s|", value.line[i].text);
    return text;
}

/* What NAME says; "ABSENT", or "BROKEN" with the reason. */
static const char *
get(struct world *w, const char *name)
{
    static char text[sizeof((struct err *)0)->text + 10];
    struct config_value value;
    struct err e = {""};

    switch (config_get(w->config, name, &value, &e)) {
    case CONFIG_OK:
        assert_int_equal(value.line == NULL, value.n == 0);
        return joined(value);
    case CONFIG_ABSENT:
        return "ABSENT";
    case CONFIG_BROKEN:
        break;
    }
    assert_true(strlen(e.text) > 0);
    snprintf(text, sizeof text, "BROKEN %s", e.text);
    return text;
}

static void
lines_are_trimmed_and_comments_dropped(void **state)
{
    static const struct {
        struct str text;
        const char *want;
        unsigned int first; /* number of the first line */
    } cases[] = {
        {{"", 0}, "", 0},
        {{NULL, 0}, "", 0},
        {{"\n\n \t\r\n", 6}, "", 0},
        {{"a", 1}, "a|", 1},
        {{"a\n", 2}, "a|", 1},
        {{"\n# no\n \t# no\na # yes\n#", 23}, "a # yes|", 4},
        {{" a b \t\r\n\tc\r", 11}, "a b|c|", 1},
        {{"a\\\nb", 4}, "a\\|b|", 1}, /* no continuation */
        {{"a\0b\nc", 5}, "a|c|", 1},
        {{"\0a\n \0\n#\0\nb", 10}, "b|", 4},
        {{"a \0", 3}, "a|", 1},
        {{"a\rb", 3}, "a\rb|", 1},
        {{"\xef\xbb\xbf# no\na", 9}, "a|", 2},
        {{"\xef\xbb\xbf", 3}, "", 0},
        {{"\xef\xbb", 2}, "\xef\xbb|", 1},
        {{"a\n\xef\xbb\xbf"
          "b",
             6},
            "a|\xef\xbb\xbf"
            "b|",
            1},
        {{"\xff\x80\x01", 3}, "\xff\x80\x01|", 1},
        {{"$Include x\n", 11}, "$Include x|", 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct arena *a = arena_open("test");
        char file[] = "path/name";
        struct config_value v = config_parse(a, file, cases[i].text);

        file[0] = 'X'; /* the value has a copy */
        assert_string_equal(joined(v), cases[i].want);
        assert_int_equal(v.line == NULL, v.n == 0);
        if (v.n > 0) {
            assert_int_equal(v.line[0].number, cases[i].first);
            assert_string_equal(v.line[0].file, "path/name");
        }
        arena_close(&a);
    }
}

static void
the_first_directory_that_has_a_file_hides_the_others(void **state)
{
    struct world *w = *state;

    write_file(w, "first/both", "one\n");
    write_file(w, "second/both", "two\n");
    write_file(w, "first/empty", "");
    write_file(w, "second/empty", "two\n");
    write_file(w, "second/only", "two\n");
    scratch_mkdir(&w->scratch, "second/sub");
    write_file(w, "second/sub/example.org", "key\n");
    assert_string_equal(get(w, "both"), "one|");
    assert_string_equal(get(w, "empty"), "");
    assert_string_equal(get(w, "only"), "two|");
    assert_string_equal(get(w, "sub/example.org"), "key|");
    assert_string_equal(get(w, "none"), "ABSENT");
    assert_string_equal(get(w, "only/none"), "ABSENT");
    assert_string_equal(config_path(w->config, "only"), scratch_path(&w->scratch, "second/only"));
    assert_ptr_equal(config_path(w->config, "only"), config_path(w->config, "only"));
    assert_null(config_path(w->config, "none"));
    assert_string_equal(w->logged, "");
}

static void
names_cannot_leave_the_directories(void **state)
{
    static char longname[PATH_MAX * 2];
    static const char *const cases[] = {"", "/", "/etc/passwd", "..", "../first/x", "x/..",
        "sub/../x", "sub/../../secret", ".", "./x", "sub//x", "sub/", "/x", longname};
    struct world *w = *state;

    memset(longname, 'n', sizeof longname - 1);
    scratch_mkdir(&w->scratch, "first/sub");
    write_file(w, "first/x", "x");
    write_file(w, "first/sub/x", "x");
    write_file(w, "first/a..b", "dots");
    write_file(w, "secret", "x");
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_string_equal(get(w, cases[i]), "ABSENT");
        assert_null(config_path(w->config, cases[i]));
    }
    assert_string_equal(get(w, "sub/x"), "x|");
    assert_string_equal(get(w, "a..b"), "dots|");
}

static void
what_was_read_once_stays(void **state)
{
    struct world *w = *state;
    struct config_value before, after;
    struct err e;

    write_file(w, "first/list", "old\n");
    assert_int_equal(config_get(w->config, "list", &before, &e), CONFIG_OK);
    assert_string_equal(get(w, "late"), "ABSENT");
    write_file(w, "first/list", "new\n");
    write_file(w, "first/late", "new\n");
    assert_int_equal(config_get(w->config, "list", &after, &e), CONFIG_OK);
    assert_ptr_equal(before.line, after.line);
    assert_string_equal(before.line[0].text, "old");
    assert_string_equal(get(w, "late"), "ABSENT");
}

static void
what_is_no_readable_file_is_broken_and_never_waits(void **state)
{
    struct world *w = *state;

    alarm(20); /* a FIFO that is opened without O_NONBLOCK would wait for ever */
    mkfifo(scratch_path(&w->scratch, "first/fifo"), 0600);
    write_file(w, "second/fifo", "hidden\n");
    scratch_mkdir(&w->scratch, "first/dir");
    assert_int_equal(symlink("loop", scratch_path(&w->scratch, "first/loop")), 0);
    assert_int_equal(
        truncate(scratch_write(&w->scratch, "first/huge", STR("x")), (off_t)CONFIG_FILE_MAX + 1),
        0);
    write_file(w, "first/half", "a\n$Include fifo\n");
    assert_non_null(strstr(get(w, "fifo"), "first/fifo: not a regular file"));
    assert_non_null(strstr(get(w, "dir"), "first/dir: not a regular file"));
    assert_non_null(strstr(get(w, "loop"), "first/loop: Too many levels of symbolic links"));
    assert_non_null(strstr(get(w, "huge"), "first/huge: too large"));
    assert_non_null(strstr(get(w, "half"), "first/fifo: not a regular file"));
    unlink(scratch_path(&w->scratch, "first/fifo"));
    write_file(w, "first/fifo", "mended\n");
    assert_string_equal(get(w, "half"), "a|mended|"); /* broken is not remembered */
    alarm(0);
}

static void
includes_stand_for_the_lines_of_their_target(void **state)
{
    struct world *w = *state;
    struct config_value v;
    char text[PATH_MAX + 20];
    struct err e;

    write_file(w, "absolute", "abs\n");
    snprintf(text, sizeof text, "1\n  $INCLUDE\t%s/absolute  \r\n2\n", w->scratch.dir);
    write_file(w, "first/a", text);
    write_file(
        w, "first/b", "$include c\n$Include ./c\nb\n$Include sub\n$Include sub/\n$Included\n");
    write_file(w, "second/c", "# nothing\nc\n");
    scratch_mkdir(&w->scratch, "second/sub");
    scratch_mkdir(&w->scratch, "second/sub/deeper");
    mkfifo(scratch_path(&w->scratch, "second/sub/fifo"), 0600);
    assert_int_equal(symlink("nowhere", scratch_path(&w->scratch, "second/sub/dangling")), 0);
    write_file(w, "second/sub/.hidden", "no\n");
    write_file(w, "second/sub/b", "sub-b\n");
    write_file(w, "second/sub/a", "sub-a\n$Include c\n");
    write_file(w, "second/sub/B", "sub-B\n");
    write_file(w, "second/sub/deeper/x", "no\n");
    assert_string_equal(get(w, "a"), "1|abs|2|");
    assert_string_equal(get(w, "b"), "c|c|b|sub-B|sub-a|c|sub-b|sub-B|sub-a|c|sub-b|$Included|");
    assert_string_equal(w->logged, "");
    assert_int_equal(config_get(w->config, "b", &v, &e), CONFIG_OK);
    assert_string_equal(v.line[0].file, scratch_path(&w->scratch, "second/c"));
    assert_int_equal(v.line[0].number, 2);
    assert_string_equal(v.line[2].file, scratch_path(&w->scratch, "first/b"));
    assert_int_equal(v.line[2].number, 3);
}

static void
a_missing_include_is_logged_and_skipped(void **state)
{
    static const char *const names[] = {"nothing", "../first/list", "/nonexistent/x", ""};
    struct world *w = *state;

    for (size_t i = 0; i < COUNT(names); i++) {
        char name[20], text[100], want[PATH_MAX];

        snprintf(name, sizeof name, "first/list%zu", i);
        snprintf(text, sizeof text, "a\n\n$Include %s\nb\n", names[i]);
        w->logged[0] = '\0';
        write_file(w, name, text);
        assert_string_equal(get(w, name + 6), "a|b|");
        snprintf(want, sizeof want,
            "CRITICAL PLUGIN CONFIG ERROR: Include %s not found at %s/%s:3\n", names[i],
            w->scratch.dir, name);
        assert_string_equal(w->logged, want);
    }
}

static void
only_the_include_that_closes_a_loop_is_skipped(void **state)
{
    struct world *w = *state;
    char want[PATH_MAX * 3];

    write_file(w, "first/self", "1\n$Include self\n2\n");
    assert_string_equal(get(w, "self"), "1|2|");
    snprintf(want, sizeof want,
        "CRITICAL PLUGIN CONFIG ERROR: Include %s/first/self is a loop at %s/first/self:2\n",
        w->scratch.dir, w->scratch.dir);
    assert_string_equal(w->logged, want);

    write_file(w, "first/a", "a\n$Include b\n$Include c\n");
    write_file(w, "first/b", "b\n$Include c\n$Include link-to-a\n");
    write_file(w, "first/c", "c\n"); /* twice is no loop */
    assert_int_equal(symlink("a", scratch_path(&w->scratch, "first/link-to-a")), 0);
    assert_string_equal(get(w, "a"), "a|b|c|c|");

    scratch_mkdir(&w->scratch, "first/d");
    write_file(w, "first/d/1", "1\n$Include d\n$Include d/2\n");
    write_file(w, "first/d/2", "2\n$Include d/1\n");
    write_file(w, "first/e", "$Include d\n");
    assert_string_equal(get(w, "e"), "1|2|2|1|");
    assert_string_equal(get(w, "d/1"), "1|2|2|");
}

static void
includes_nest_to_a_bound(void **state)
{
    struct world *w = *state;
    char name[30], text[30];

    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "first/n%d", i);
        snprintf(text, sizeof text, "%d\n$Include n%d\n", i, i + 1);
        write_file(w, name, text);
    }
    assert_non_null(strstr(get(w, "n0"), "|31|32|"));
    assert_null(strstr(get(w, "n0"), "|40|"));
    assert_non_null(strstr(w->logged, "first/n33 is nested too deeply at "));
}

static void
preloading_takes_the_snapshot_at_once(void **state)
{
    struct world *w = *state;

    write_file(w, "first/small", "old\n");
    write_file(w, "second/small", "hidden\n");
    write_file(w, "second/other", "old\n");
    write_file(w, "second/large", "old and large\n");
    write_file(w, "second/x.cdb", "$Include nothing\n");
    write_file(w, "second/.hidden", "$Include nothing\n");
    mkfifo(scratch_path(&w->scratch, "second/fifo"), 0600);
    scratch_mkdir(&w->scratch, "first/dir");
    config_preload(w->config, 8);
    write_file(w, "first/small", "new\n");
    write_file(w, "second/other", "new\n");
    write_file(w, "second/large", "new\n");
    assert_string_equal(get(w, "small"), "old|");
    assert_string_equal(get(w, "other"), "old|");
    assert_string_equal(get(w, "large"), "new|");
    assert_string_equal(w->logged, "");
}

static void
relative_directories_survive_a_chdir(void **state)
{
    struct world *w = *state;
    struct config_value v;
    struct config *c;
    struct err e;
    int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    write_file(w, "second/x", "found\n");
    assert_int_equal(chdir(w->scratch.dir), 0);
    c = config_open((const char *const[]){"first", "./second", NULL});
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(config_get(c, "x", &v, &e), CONFIG_OK);
    config_close(&c);
    assert_int_equal(fchdir(here), 0);
    close(here);
}

static void
any_number_of_absent_names_and_of_lines_is_fine(void **state)
{
    struct world *w = *state;
    struct config_value v;
    struct err e;
    char name[40];
    FILE *f;

    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "%d.example.com", i);
        assert_string_equal(get(w, name), "ABSENT");
    }
    f = fopen(scratch_path(&w->scratch, "second/long"), "w");
    assert_non_null(f);
    for (int i = 0; i < 100000; i++)
        fprintf(f, "%d\n", i);
    fclose(f);
    write_file(w, "first/outer", "first\n$Include long\nlast\n");
    assert_int_equal(config_get(w->config, "outer", &v, &e), CONFIG_OK);
    assert_int_equal(v.n, 100002);
    assert_string_equal(v.line[100000].text, "99999");
    assert_int_equal(v.line[100000].number, 100000);
    assert_string_equal(v.line[100001].text, "last");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_trimmed_and_comments_dropped),
        TEST(the_first_directory_that_has_a_file_hides_the_others),
        TEST(names_cannot_leave_the_directories),
        TEST(what_was_read_once_stays),
        TEST(what_is_no_readable_file_is_broken_and_never_waits),
        TEST(includes_stand_for_the_lines_of_their_target),
        TEST(a_missing_include_is_logged_and_skipped),
        TEST(only_the_include_that_closes_a_loop_is_skipped),
        TEST(includes_nest_to_a_bound),
        TEST(preloading_takes_the_snapshot_at_once),
        TEST(relative_directories_survive_a_chdir),
        TEST(any_number_of_absent_names_and_of_lines_is_fine),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("conf/config", tests, NULL, NULL);
}
