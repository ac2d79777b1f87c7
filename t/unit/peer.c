#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four before it */
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/peer.h>

#include "base/clock.h"
#include "plugin/instance.h"

#include "scratch.h"

#define LIMIT_MS 20000
#define SHORT_MS 150

/* A plugin's view, and a daemon that has not accepted yet. */
struct fixture {
    struct scratch scratch;
    struct host host;
    struct context context;
    struct qp q;
    int listener;
    char path[sizeof((struct sockaddr_un){0}).sun_path];
};

static void
setup(struct fixture *f)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    *f = (struct fixture){.q = {.context = &f->context}};
    f->context.host = &f->host;
    f->context.command = arena_open("command");
    scratch_open(&f->scratch);
    scratch_path(&f->scratch, "socket");
    assert_in_range(strlen(f->scratch.path), 1, sizeof f->path - 1);
    memcpy(f->path, f->scratch.path, sizeof f->path);
    memcpy(sun.sun_path, f->path, sizeof f->path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_return_code(bind(f->listener, (struct sockaddr *)&sun, sizeof sun), errno);
    assert_return_code(listen(f->listener, 5), errno);
}

static void
teardown(struct fixture *f)
{
    close(f->listener);
    scratch_close(&f->scratch);
    arena_close(&f->context.command);
}

/* Connect, and let the daemon say that; its end stays open only with `stays`. */
static struct qp_peer *
hear(struct fixture *f, struct str says, int64_t ms, int *stays)
{
    struct qp_peer *p = qp_peer_open(&f->q, f->path, 0, ms);
    int fd = accept(f->listener, NULL, NULL);

    assert_null(qp_peer_error(p));
    assert_return_code(fd, errno);
    assert_int_equal(write(fd, says.p, says.n), (int)says.n);
    if (stays)
        *stays = fd;
    else
        close(fd);
    return p;
}

static void
lines_come_whole_or_not_at_all(void **state)
{
    static const struct {
        struct str says;
        size_t max;
        const char *line[3];
        const char *error; /* part of it */
    } cases[] = {
        {{"one\r\ntwo\n\n", 10}, 80, {"one", "two", ""}, "closed"},
        {{"a\rb\r\r\n", 6}, 80, {"a\rb\r"}, "closed"},
        {{"half", 4}, 80, {0}, "closed"},
        {{"", 0}, 80, {0}, "closed"},
        {{"12345\n1234\n", 11}, 5, {"12345", "1234"}, "closed"},
        {{"12345\r\n", 7}, 5, {"12345"}, "closed"},
        {{"123456\n", 7}, 5, {0}, "too long"},
        {{"12345678901234567890", 20}, 5, {0}, "too long"},
        {{"ok\nno\0no\n", 9}, 80, {"ok"}, "NUL"},
    };
    struct fixture f;

    (void)state;
    setup(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qp_peer *p = hear(&f, cases[i].says, LIMIT_MS, NULL);

        for (size_t k = 0; k < 3 && cases[i].line[k]; k++) {
            const char *line = qp_peer_line(p, cases[i].max);

            if (!line || strcmp(line, cases[i].line[k]) != 0)
                fail_msg("case %zu: line %zu is \"%s\"", i, k, line ? line : "(null)");
        }
        assert_null(qp_peer_line(p, cases[i].max));
        if (!strstr(qp_peer_error(p), cases[i].error))
            fail_msg("case %zu: %s", i, qp_peer_error(p));
        qp_peer_close(&p);
        assert_null(p);
    }
    teardown(&f);
}

/* The longest line, over several reads, fits; one byte more does not. */
static void
the_longest_line_fits(void **state)
{
    static char text[QP_PEER_LINE_MAX + 3];
    struct fixture f;

    (void)state;
    setup(&f);
    for (size_t more = 0; more < 2; more++) {
        size_t n = QP_PEER_LINE_MAX + more;
        struct qp_peer *p;
        const char *line;

        memset(text, 'x', n);
        memcpy(text + n, "\r\n", 2);
        p = hear(&f, (struct str){text, n + 2}, LIMIT_MS, NULL);
        line = qp_peer_line(p, SIZE_MAX);
        assert_int_equal(line ? strlen(line) : 0, more ? 0 : n);
        qp_peer_close(&p);
    }
    teardown(&f);
}

static void
silence_ends_at_the_deadline_for_all_together(void **state)
{
    struct fixture f;
    int64_t began = clock_ms();
    struct qp_peer *p;
    int fd;

    (void)state;
    setup(&f);
    p = hear(&f, STR("one\nha"), SHORT_MS, &fd);
    assert_string_equal(qp_peer_line(p, 80), "one");
    assert_null(qp_peer_line(p, 80));
    assert_non_null(strstr(qp_peer_error(p), "timed out"));
    assert_in_range(clock_ms() - began, SHORT_MS, LIMIT_MS);
    assert_int_equal(write(fd, "lf\n", 3), 3);
    assert_null(qp_peer_line(p, 80));
    assert_false(qp_peer_write(p, "x", 1));
    close(fd);
    /* who does not read */
    p = hear(&f, STR(""), SHORT_MS, &fd);
    while (qp_peer_write(p, f.path, sizeof f.path))
        ;
    assert_non_null(strstr(qp_peer_error(p), "write: "));
    close(fd);
    teardown(&f);
}

/* A daemon that never stops to talk must not be faster than our clock. */
static void
a_flood_ends_at_the_deadline(void **state)
{
    static const char flood[] =
        "x\nyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n";
    static char block[1 << 16];
    struct fixture f;

    (void)state;
    setup(&f);
    alarm(LIMIT_MS / 1000);
    for (int lines = 0; lines < 2; lines++) {
        int fd;
        struct qp_peer *p = hear(&f, STR(""), SHORT_MS, &fd);
        pid_t pid = fork();

        assert_true(pid >= 0);
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = lines ? flood[i % (sizeof flood - 1)] : 'x';
        while (pid == 0)
            if (write(fd, block, sizeof block) < 0)
                _exit(0);
        while (qp_peer_cut(p, 80))
            ;
        assert_non_null(strstr(qp_peer_error(p), "timed out"));
        qp_peer_close(&p);
        close(fd);
        kill(pid, SIGKILL); /* it has our end of the connection as well */
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    alarm(0);
    teardown(&f);
}

static void
what_is_written_arrives(void **state)
{
    struct fixture f;
    struct qp_peer *p;
    char got[16];
    int fd;

    (void)state;
    setup(&f);
    p = hear(&f, STR(""), LIMIT_MS, &fd);
    assert_true(qp_peer_write(p, "a\0b", 3));
    assert_int_equal(read(fd, got, sizeof got), 3);
    assert_memory_equal(got, "a\0b", 3);
    qp_peer_fail(p, "first");
    qp_peer_fail(p, "second");
    assert_string_equal(qp_peer_error(p), "first");
    assert_false(qp_peer_write(p, "c", 1));
    arena_reset(f.context.command); /* the command ends: so does what was not closed */
    assert_int_equal(read(fd, got, sizeof got), 0);
    close(fd);
    teardown(&f);
}

static void
an_early_answer_ends_a_long_text(void **state)
{
    static char text[1 << 20];
    struct fixture f;
    struct qp_peer *p;
    int fd;

    (void)state;
    setup(&f);
    /* it has answered already */
    p = hear(&f, STR("enough\n"), LIMIT_MS, &fd);
    assert_false(qp_peer_offer(p, text, 1));
    assert_null(qp_peer_error(p));
    assert_string_equal(qp_peer_line(p, 80), "enough");
    close(fd);
    /* it answers and closes, without having read a byte */
    p = hear(&f, STR("enough\n"), LIMIT_MS, NULL);
    assert_false(qp_peer_offer(p, text, sizeof text));
    assert_string_equal(qp_peer_line(p, 80), "enough");
    assert_null(qp_peer_line(p, 80));
    /* it closes */
    p = hear(&f, STR(""), LIMIT_MS, NULL);
    assert_false(qp_peer_offer(p, text, sizeof text));
    assert_null(qp_peer_line(p, 80));
    assert_non_null(strstr(qp_peer_error(p), "closed"));
    /* it neither reads nor answers */
    p = hear(&f, STR(""), SHORT_MS, &fd);
    assert_false(qp_peer_offer(p, text, sizeof text));
    assert_non_null(strstr(qp_peer_error(p), "timed out"));
    close(fd);
    /* it has had all, and hears that there is no more */
    p = hear(&f, STR(""), LIMIT_MS, &fd);
    assert_true(qp_peer_offer(p, "ab", 2) && qp_peer_finish(p));
    assert_int_equal(read(fd, text, 3), 2);
    assert_int_equal(read(fd, text, 1), 0);
    close(fd);
    teardown(&f);
}

static void
a_new_limit_counts_from_now(void **state)
{
    struct fixture f;
    struct qp_peer *p;
    int64_t began;
    int fd;

    (void)state;
    setup(&f);
    p = hear(&f, STR(""), LIMIT_MS, &fd);
    began = clock_ms();
    qp_peer_limit(p, SHORT_MS);
    assert_null(qp_peer_line(p, 80));
    assert_in_range(clock_ms() - began, SHORT_MS, LIMIT_MS / 2);
    close(fd);
    teardown(&f);
}

static void
texts_end_as_the_protocol_says(void **state)
{
    static char large[3 * QP_PEER_LINE_MAX];
    struct fixture f;
    struct qp_peer *p;
    const char *line;
    pid_t pid;
    int fd;

    (void)state;
    setup(&f);
    p = hear(&f, (struct str){"a\r\nb\0c\nd\r\n", 10}, LIMIT_MS, NULL);
    assert_string_equal(qp_peer_until(p, '\0', 80), "a\r\nb");
    assert_string_equal(qp_peer_cut(p, 80), "c");
    assert_string_equal(qp_peer_cut(p, 80), "d");
    assert_null(qp_peer_cut(p, 80));
    p = hear(&f, (struct str){"12345678\r\n\0x\n12", 15}, LIMIT_MS, NULL);
    assert_string_equal(qp_peer_cut(p, 5), "12345");
    assert_string_equal(qp_peer_cut(p, 5), "?x");
    assert_null(qp_peer_cut(p, 5)); /* a half line is none */
    p = hear(&f, (struct str){"all\n\0of it", 10}, LIMIT_MS, NULL);
    assert_string_equal(qp_peer_rest(p, 80), "all\n?of it");
    p = hear(&f, STR("12345"), LIMIT_MS, NULL);
    assert_string_equal(qp_peer_rest(p, 5), "12345");
    p = hear(&f, STR("123456"), LIMIT_MS, NULL);
    assert_null(qp_peer_rest(p, 5));
    assert_non_null(strstr(qp_peer_error(p), "too long"));
    p = hear(&f, STR(""), LIMIT_MS, NULL);
    assert_string_equal(qp_peer_rest(p, 5), "");
    /* a line that is longer than any buffer, and more than the socket holds */
    memset(large, 'x', sizeof large);
    memcpy(large + sizeof large - 6, "\nnext\n", 6);
    p = hear(&f, STR(""), LIMIT_MS, &fd);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(write(fd, large, sizeof large) == (ssize_t)sizeof large ? 0 : 1);
    line = qp_peer_cut(p, 100);
    assert_int_equal(line ? strlen(line) : 0, 100);
    assert_string_equal(qp_peer_cut(p, 100), "next");
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(fd);
    teardown(&f);
}

static void
an_address_or_a_name_leads_to_it(void **state)
{
    static const struct {
        const char *where;
        const char *error; /* part of it; NULL: none */
    } cases[] = {
        {"127.0.0.1", NULL},
        {"[127.0.0.1]", NULL},
        {"localhost", NULL},
        {"::ffff:127.0.0.1", NULL},
        {"nowhere.test", "no address"}, /* there is no resolver here */
        {"[nonsense", "no address"},
        {"", "no address"},
        {"/nonexistent/socket", "connect: "},
    };
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char long_path[200] = "/";
    struct fixture f;
    struct qp_peer *p;

    (void)state;
    setup(&f);
    assert_return_code(bind(listener, (struct sockaddr *)&in, sizeof in), errno);
    assert_return_code(listen(listener, 5), errno);
    assert_return_code(getsockname(listener, (struct sockaddr *)&in, &size), errno);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *error;

        p = qp_peer_open(&f.q, cases[i].where, ntohs(in.sin_port), LIMIT_MS);
        error = qp_peer_error(p);
        if (!error != !cases[i].error || (error && !strstr(error, cases[i].error)))
            fail_msg("%s: %s", cases[i].where, error ? error : "no error");
    }
    close(listener);
    p = qp_peer_open(&f.q, "127.0.0.1", ntohs(in.sin_port), LIMIT_MS);
    assert_non_null(strstr(qp_peer_error(p), "refused"));
    memset(long_path + 1, 'x', sizeof long_path - 2);
    p = qp_peer_open(&f.q, long_path, 0, LIMIT_MS);
    assert_non_null(strstr(qp_peer_error(p), "too long"));
    teardown(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_whole_or_not_at_all),
        cmocka_unit_test(the_longest_line_fits),
        cmocka_unit_test(silence_ends_at_the_deadline_for_all_together),
        cmocka_unit_test(a_flood_ends_at_the_deadline),
        cmocka_unit_test(what_is_written_arrives),
        cmocka_unit_test(an_early_answer_ends_a_long_text),
        cmocka_unit_test(a_new_limit_counts_from_now),
        cmocka_unit_test(texts_end_as_the_protocol_says),
        cmocka_unit_test(an_address_or_a_name_leads_to_it),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
