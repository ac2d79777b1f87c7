#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* fd 2 for a while: packets, so that one read gives what one write wrote */
static int saved_stderr, packets[2];

static int
redirect(void **state)
{
    (void)state;
    saved_stderr = dup(STDERR_FILENO);
    if (saved_stderr < 0 || pipe2(packets, O_DIRECT | O_NONBLOCK | O_CLOEXEC) < 0)
        return -1;
    dup2(packets[1], STDERR_FILENO);
    log_level_set(LOG_LEVEL_WARN);
    log_format_set(LOG_FORMAT_R356);
    log_sink_set(NULL, NULL, LOG_LEVEL_EMERG);
    log_session_set(NULL);
    log_plugin_set(NULL, NULL);
    log_shift_set(-1, 0);
    return 0;
}

static int
restore(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(packets[0]);
    close(packets[1]);
    return 0;
}

/* The next write, without the process id in front, which is checked; NULL when there was none. */
static const char *
written(void)
{
    static char line[8192];
    ssize_t n = read(packets[0], line, sizeof line - 1);
    char *end;

    if (n <= 0)
        return NULL;
    line[n] = '\0';
    assert_int_equal(strtol(line, &end, 10), getpid());
    assert_int_equal(*end, ' ');
    return end + 1;
}

static void
lines_have_the_format_of_each_ancestor(void **state)
{
    static const struct {
        const char *session, *plugin, *hook, *r356, *v100;
    } cases[] = {
        {NULL, NULL, NULL, "- hello\n", "- hello\n"},
        {"s1", NULL, NULL, "s1 hello\n", "s1 hello\n"},
        {"s1", NULL, "rcpt", "s1 hello\n", "s1 hello\n"},
        {"s1", "relay", NULL, "s1 relay plugin: hello\n", "s1 relay: hello\n"},
        {"s1", "relay:1", "rcpt", "s1 relay:1 plugin: hello\n", "s1 (rcpt) relay:1: hello\n"},
        {NULL, "relay", "init", "- relay plugin: hello\n", "- (init) relay: hello\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        log_session_set(cases[i].session);
        log_plugin_set(cases[i].plugin, cases[i].hook);
        log_format_set(LOG_FORMAT_R356);
        log_write(LOG_LEVEL_WARN, "%s", "hello");
        assert_string_equal(written(), cases[i].r356);
        log_format_set(LOG_FORMAT_100);
        log_write(LOG_LEVEL_WARN, "%s", "hello");
        assert_string_equal(written(), cases[i].v100);
    }
}

static void
text_from_outside_cannot_forge_a_line(void **state)
{
    static const struct {
        struct str in;
        const char *out;
    } cases[] = {
        {{"a\n1 - b\r\n", 9}, "a\\x0a1 - b\\x0d\\x0a"},
        {{"a\0b", 3}, "a\\x00b"},
        {{"\x1b[2J\x7f\t", 6}, "\\x1b[2J\\x7f\\x09"},
        {{"\xc3\xa4\x9b", 3}, "\\xc3\\xa4\\x9b"},
        {{"<a@b> \\ \"%s%n\"", 14}, "<a@b> \\ \"%s%n\""},
        {{NULL, 0}, ""},
    };
    char out[100];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(log_escape(out, sizeof out, cases[i].in), strlen(cases[i].out));
        assert_string_equal(out, cases[i].out);
    }
    log_write(LOG_LEVEL_ERROR, "%s", "250 ok\n999 - forged");
    assert_string_equal(written(), "- 250 ok\\x0a999 - forged\n");
    assert_null(written());
}

static void
escapes_are_never_cut_in_half(void **state)
{
    char out[16];

    (void)state;
    for (size_t room = 0; room <= sizeof out; room++) {
        size_t n = log_escape(out, room, STR("a\n\nb\n"));

        assert_true(room == 0 ? n == 0 : n < room);
        if (room > 0) {
            assert_int_equal(strlen(out), n);
            assert_true(n == 0 || strncmp(out, "a\\x0a\\x0ab\\x0a", n) == 0);
            assert_true(n <= 1 || n == 5 || n == 9 || n == 10 || n == 14);
        }
    }
}

static void
the_longest_line_is_one_write(void **state)
{
    static char text[20000], name[5000];
    char out[LOG_LINE_MAX + 256];
    struct log_event event = {LOG_LEVEL_WARN, name, name, name, text};
    const char *line;

    (void)state;
    memset(text, '\n', sizeof text - 1);
    memset(name, 'n', sizeof name - 1);
    log_session_set(name);
    log_plugin_set(name, name);
    log_format_set(LOG_FORMAT_100);
    log_write(LOG_LEVEL_WARN, "%s", text);
    line = written();
    assert_non_null(line);
    assert_null(written());
    assert_in_range(strlen(line), LOG_LINE_MAX, LOG_LINE_MAX + 255);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);

    for (size_t room = 0; room <= sizeof out; room++) {
        size_t n = log_line(out, room, &event, LOG_FORMAT_100);

        assert_true(room < 2 ? n == 0 : n < room && out[n - 1] == '\n' && out[n] == '\0');
    }
}

static void
only_levels_that_are_asked_for_are_written(void **state)
{
    (void)state;
    for (int set = LOG_LEVEL_EMERG; set <= LOG_LEVEL_DEBUG; set++) {
        log_level_set((enum log_level)set);
        assert_int_equal(log_level_get(), set);
        for (int at = LOG_LEVEL_EMERG; at <= LOG_LEVEL_DEBUG; at++) {
            assert_int_equal(log_wants((enum log_level)at), at <= set);
            log_write((enum log_level)at, "x");
            assert_int_equal(written() != NULL, at <= set);
        }
    }
}

static void
shifts_count_only_while_a_plugin_runs(void **state)
{
    static const struct {
        int absolute, shift;
        enum log_level at, becomes;
    } cases[] = {
        {-1, 0, LOG_LEVEL_INFO, LOG_LEVEL_INFO},
        {-1, -2, LOG_LEVEL_INFO, LOG_LEVEL_WARN},
        {-1, 1, LOG_LEVEL_WARN, LOG_LEVEL_NOTICE},
        {-1, 9, LOG_LEVEL_WARN, LOG_LEVEL_DEBUG},
        {-1, -9, LOG_LEVEL_DEBUG, LOG_LEVEL_EMERG},
        {0, 5, LOG_LEVEL_DEBUG, LOG_LEVEL_EMERG},
        {7, 0, LOG_LEVEL_EMERG, LOG_LEVEL_DEBUG},
        {9, 0, LOG_LEVEL_EMERG, LOG_LEVEL_DEBUG},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        log_shift_set(cases[i].absolute, cases[i].shift);
        log_plugin_set("p", NULL);
        log_level_set(cases[i].becomes);
        assert_true(log_wants(cases[i].at));
        if (cases[i].becomes > LOG_LEVEL_EMERG) {
            log_level_set(cases[i].becomes - 1);
            assert_false(log_wants(cases[i].at));
        }
        log_plugin_set(NULL, NULL);
        log_level_set(cases[i].at);
        assert_true(log_wants(cases[i].at));
    }
}

struct taken {
    int calls;
    bool answer;
    enum log_level level;
    char text[100];
};

static bool
take(void *data, const struct log_event *event)
{
    struct taken *t = data;

    t->calls++;
    t->level = event->level;
    snprintf(t->text, sizeof t->text, "%s %s %s %s", event->session, event->hook, event->plugin,
        event->text);
    assert_false(log_wants(LOG_LEVEL_EMERG));
    log_write(LOG_LEVEL_EMERG, "from inside the sink");
    return t->answer;
}

static void
sink_replaces_the_built_in_target(void **state)
{
    struct taken t = {.answer = true};

    (void)state;
    log_sink_set(take, &t, LOG_LEVEL_INFO);
    log_session_set("s1");
    log_plugin_set("p", "data");
    log_write(LOG_LEVEL_INFO, "a\tb"); /* above the built-in level, wanted by the sink */
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.level, LOG_LEVEL_INFO);
    assert_string_equal(t.text, "s1 data p a\\x09b");
    log_level_set(LOG_LEVEL_DEBUG);
    log_write(LOG_LEVEL_DEBUG, "above what the sink wants");
    assert_int_equal(t.calls, 1);
    assert_null(written());
}

static void
only_its_owner_or_nobody_removes_a_sink(void **state)
{
    struct taken t = {.answer = true};
    int other;

    (void)state;
    log_sink_set(take, &t, LOG_LEVEL_WARN);
    log_sink_set(NULL, &other, LOG_LEVEL_EMERG);
    log_write(LOG_LEVEL_WARN, "still there");
    assert_int_equal(t.calls, 1);
    log_sink_set(NULL, &t, LOG_LEVEL_EMERG);
    log_write(LOG_LEVEL_WARN, "gone");
    assert_int_equal(t.calls, 1);
    assert_string_equal(written(), "- gone\n");
}

static void
what_the_sink_declines_is_written_within_the_level(void **state)
{
    struct taken t = {.answer = false};

    (void)state;
    log_sink_set(take, &t, LOG_LEVEL_DEBUG);
    log_write(LOG_LEVEL_WARN, "yes");
    log_write(LOG_LEVEL_NOTICE, "no");
    assert_int_equal(t.calls, 2);
    assert_string_equal(written(), "- yes\n"); /* and nothing that take() logged itself */
    assert_null(written());
    log_sink_set(NULL, NULL, LOG_LEVEL_EMERG);
    log_write(LOG_LEVEL_WARN, "again");
    assert_string_equal(written(), "- again\n");
}

static void
children_write_their_own_process_id(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    log_write(LOG_LEVEL_WARN, "parent");
    assert_non_null(written());
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        log_write(LOG_LEVEL_WARN, "child");
        written(); /* checks the id */
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void
a_log_that_cannot_be_written_harms_nobody(void **state)
{
    int64_t start = clock_ms();
    int broken[2];

    (void)state;
    while (write(packets[1], "full", 4) > 0)
        ;
    errno = ENOTTY;
    log_write(LOG_LEVEL_WARN, "lost");
    assert_int_equal(errno, ENOTTY);
    assert_true(clock_ms() - start < 5000);
    close(STDERR_FILENO);
    log_write(LOG_LEVEL_WARN, "lost");
    assert_int_equal(errno, ENOTTY);
    assert_int_equal(pipe(broken), 0);
    dup2(broken[1], STDERR_FILENO);
    close(broken[0]);
    close(broken[1]);
    signal(SIGPIPE, SIG_IGN); /* as both programs do */
    log_write(LOG_LEVEL_WARN, "lost");
    signal(SIGPIPE, SIG_DFL);
}

static void
levels_are_read_as_numbers_and_names(void **state)
{
    static const struct {
        const char *text;
        int want; /* -1: none */
    } cases[] = {
        {"0", 0},
        {"4", 4},
        {"7", 7},
        {"8", 7},
        {"9", 7},
        {"10", 7},
        {"44", 7},
        {"04", 4},
        {"1000000", 7},
        {"99999999999999999999999", -1},
        {"", -1},
        {"-1", -1},
        {"LOGERROR", 3},
        {"logError", 3},
        {"error", 3},
        {"WARN", 4},
        {"LOGRADAR", 0},
        {"logemerg", 0},
        {"alert", 1},
        {"LOGCRIT", 2},
        {"notice", 5},
        {"info", 6},
        {"DEBUG", 7},
        {"emergency", 0},
        {"Critical", 2},
        {"critical", 2},
        {"err", 3},
        {"LOGERR", 3},
        {"warning", 4},
        {"LOGWARNING", 4},
        {"LOGEMERG", 0},
        {"LOGALERT", 1},
        {"LOGNOTICE", 5},
        {"LOGINFO", 6},
        {"LOGDEBUG", 7},
        {"log", -1},
        {"loglogwarn", -1},
        {"log4", -1},
        {"warn ", -1},
        {"warnings", -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        enum log_level out = LOG_LEVEL_CRIT;
        bool ok = log_level_parse(str_of(cases[i].text), &out);

        assert_int_equal(ok, cases[i].want >= 0);
        assert_int_equal(out, ok ? cases[i].want : LOG_LEVEL_CRIT);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, redirect, restore)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(lines_have_the_format_of_each_ancestor),
        TEST(text_from_outside_cannot_forge_a_line),
        TEST(escapes_are_never_cut_in_half),
        TEST(the_longest_line_is_one_write),
        TEST(only_levels_that_are_asked_for_are_written),
        TEST(shifts_count_only_while_a_plugin_runs),
        TEST(sink_replaces_the_built_in_target),
        TEST(only_its_owner_or_nobody_removes_a_sink),
        TEST(what_the_sink_declines_is_written_within_the_level),
        TEST(children_write_their_own_process_id),
        TEST(a_log_that_cannot_be_written_harms_nobody),
        TEST(levels_are_read_as_numbers_and_names),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
