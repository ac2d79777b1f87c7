#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four before it */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <qpsmtpd/logging.h>

#include "base/clock.h"
#include "plugin/instance.h"

static void
levels_have_numbers_and_names(void **state)
{
    static const struct {
        const char *word;
        int level; /* -1: none */
    } cases[] = {
        {"0", QP_LOG_EMERG},
        {"4", QP_LOG_WARN},
        {"7", QP_LOG_DEBUG},
        {"warn", QP_LOG_WARN},
        {"LOGWARN", QP_LOG_WARN},
        {"LogInfo", QP_LOG_INFO},
        {"", -1},
        {"log", -1},
        {"-1", -1},
        {"warning ", -1},
        {"loud", -1},
    };
    struct host host = {.arena = arena_open("plugins")};
    struct context context = {.host = &host, .command = host.arena};
    struct instance instance = {.name = "logging/x"};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum qp_log_level level = QP_LOG_CRIT;
        struct failure failure = {{""}, false};
        struct qp q = {.context = &context, .instance = &instance, .failure = &failure};
        bool ok = qp_arg_level(&q, cases[i].word, &level);

        if (ok != (cases[i].level >= 0) || (int)level != (ok ? cases[i].level : QP_LOG_CRIT) ||
            ok != !*failure.err.text)
            fail_msg("case %zu: \"%s\"", i, cases[i].word);
    }
    arena_close(&host.arena);
}

static void
what_is_missing_in_a_line_is_left_out(void **state)
{
    static const struct {
        const char *front, *hook, *plugin, *line;
    } cases[] = {
        {"1 s", "rcpt", "p", "1 s (rcpt) p: text\n"},
        {"1 s", NULL, "p", "1 s p: text\n"},
        {"1 s", "rcpt", NULL, "1 s (rcpt) text\n"},
        {"1 s", NULL, NULL, "1 s text\n"},
        {"", NULL, NULL, "text\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct qp_log_event e = {
            .hook = cases[i].hook, .plugin = cases[i].plugin, .text = "text"};
        char line[QP_LOG_LINE_MAX];

        assert_int_equal(qp_log_line(line, sizeof line, cases[i].front, &e), strlen(cases[i].line));
        assert_string_equal(line, cases[i].line);
    }
}

static void
a_line_that_does_not_fit_is_cut_and_ends_all_the_same(void **state)
{
    const struct qp_log_event e = {.text = "0123456789"};
    char line[QP_LOG_LINE_MAX];

    (void)state;
    for (size_t room = 2; room < 15; room++) {
        memset(line, '#', sizeof line);
        size_t n = qp_log_line(line, room, "", &e);

        assert_int_equal(n, room > 12 ? 11 : room - 1);
        assert_int_equal(line[n - 1], '\n');
        assert_int_equal(line[n], '\0');
        assert_int_equal(line[room], '#');
    }
}

static void
the_front_has_process_and_session(void **state)
{
    const struct qp_log_event inside = {.session = "lg6qm100001", .text = ""},
                              outside = {.text = ""};
    char front[32], expected[32];

    (void)state;
    snprintf(expected, sizeof expected, "%ld lg6qm100001", (long)getpid());
    assert_string_equal(qp_log_front(front, &inside), expected);
    snprintf(expected, sizeof expected, "%ld -", (long)getpid());
    assert_string_equal(qp_log_front(front, &outside), expected);
}

static void
a_pipe_that_nobody_reads_costs_a_second_and_no_more(void **state)
{
    const struct qp_log_event e = {.text = "text"};
    char fill[4096] = {0}, line[32] = "";
    int64_t begin;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    assert_true(qp_log_write(fds[1], "x", &e));
    assert_int_equal(read(fds[0], line, sizeof line - 1), 7);
    assert_string_equal(line, "x text\n");
    while (write(fds[1], fill, sizeof fill) > 0)
        ;
    begin = clock_ms();
    assert_false(qp_log_write(fds[1], "x", &e));
    assert_int_equal(errno, EAGAIN);
    assert_in_range(clock_ms() - begin, 900, 10000);
    close(fds[0]);
    close(fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_numbers_and_names),
        cmocka_unit_test(what_is_missing_in_a_line_is_left_out),
        cmocka_unit_test(a_line_that_does_not_fit_is_cut_and_ends_all_the_same),
        cmocka_unit_test(the_front_has_process_and_session),
        cmocka_unit_test(a_pipe_that_nobody_reads_costs_a_second_and_no_more),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
