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
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/process.h>

#include "base/clock.h"

#define SHELL(script) ((const char *const[]){"/bin/sh", "-c", script, NULL})
#define LIMIT_MS      20000

/* Run a script whose fd 1 is a pipe; its output in out, its status is the result. */
static int
run(const char *script, const char *dir, char *out, size_t room)
{
    size_t n = 0;
    ssize_t got;
    pid_t pid;
    int p[2];

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid = qp_process_start(NULL, SHELL(script), (struct qp_fd_map[]){{p[1], 1}}, 1, dir);
    assert_true(pid > 0);
    close(p[1]);
    while (n < room - 1 && (got = read(p[0], out + n, room - 1 - n)) > 0)
        n += (size_t)got;
    out[n] = '\0';
    close(p[0]);
    return qp_process_wait(NULL, pid, LIMIT_MS);
}

static void
status_is_what_waitpid_gives(void **state)
{
    static const struct {
        const char *script;
        int exit, signal;
    } cases[] = {
        {"exit 0", 0, 0},
        {"exit 31", 31, 0},
        {"exit 255", 255, 0},
        {"kill -SEGV $$", -1, SIGSEGV},
        {"kill -PIPE $$", -1, SIGPIPE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pid_t pid = qp_process_start(NULL, SHELL(cases[i].script), NULL, 0, NULL);
        int status = qp_process_wait(NULL, pid, LIMIT_MS);

        assert_true(pid > 0);
        assert_int_equal(WIFEXITED(status) ? WEXITSTATUS(status) : -1, cases[i].exit);
        assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : 0, cases[i].signal);
    }
}

static void
what_cannot_be_started_is_an_errno(void **state)
{
    static const struct {
        const char *path, *dir;
        int error;
    } cases[] = {
        {"/nonexistent/program", NULL, ENOENT},
        {"/etc/passwd", NULL, EACCES},
        {"/", NULL, EACCES},
        {"sh", NULL, EINVAL},
        {"./sh", "/bin", EINVAL},
        {"/bin/sh", "/nonexistent", ENOENT},
        {"/bin/sh", "/etc/passwd", ENOTDIR},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        errno = 0;
        assert_int_equal(qp_process_start(NULL, (const char *const[]){cases[i].path, NULL}, NULL, 0,
                             cases[i].dir),
            -1);
        assert_int_equal(errno, cases[i].error);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie stays */
    assert_int_equal(errno, ECHILD);
}

static void
bad_maps_start_nothing(void **state)
{
    struct qp_fd_map many[QP_FD_MAP_MAX + 1];

    (void)state;
    for (int i = 0; i <= QP_FD_MAP_MAX; i++)
        many[i] = (struct qp_fd_map){2, 10 + i};
    assert_int_equal(qp_process_start(NULL, SHELL("exit 0"), many, QP_FD_MAP_MAX + 1, NULL), -1);
    assert_int_equal(errno, EINVAL);
    many[0].fd = 999;
    assert_int_equal(qp_process_start(NULL, SHELL("exit 0"), many, 1, NULL), -1);
    assert_int_equal(errno, EBADF);
}

/* Two pipes whose ends are exchanged: each number is the other one's target. */
static void
numbers_may_overlap(void **state)
{
    int a[2], b[2];
    char text[2][8] = {"", ""}, script[64];
    pid_t pid;

    (void)state;
    assert_int_equal(pipe2(a, O_CLOEXEC), 0);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    snprintf(script, sizeof script, "echo to-a >&%d; echo to-b >&%d", a[1], b[1]);
    pid = qp_process_start(
        NULL, SHELL(script), (struct qp_fd_map[]){{a[1], b[1]}, {b[1], a[1]}, {b[1], 0}}, 3, NULL);
    assert_true(pid > 0);
    close(a[1]);
    close(b[1]);
    assert_true(read(a[0], text[0], sizeof text[0] - 1) > 0);
    assert_true(read(b[0], text[1], sizeof text[1] - 1) > 0);
    assert_string_equal(text[0], "to-b\n");
    assert_string_equal(text[1], "to-a\n");
    close(a[0]);
    close(b[0]);
    assert_int_equal(qp_process_wait(NULL, pid, LIMIT_MS), 0);
}

static void
low_numbers_are_mapped_even_when_we_have_closed_them(void **state)
{
    int saved[2] = {fcntl(0, F_DUPFD_CLOEXEC, 50), fcntl(1, F_DUPFD_CLOEXEC, 50)};
    int in[2], out[2];
    char text[16] = "";
    pid_t pid;

    (void)state;
    fflush(stdout);
    close(0);
    close(1);
    /* now the pipes themselves are 0, 1, 3 and 4 */
    if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 &&
        write(in[1], "hello\n", 6) == 6) {
        pid = qp_process_start(NULL, SHELL("read x; echo $x $x"),
            (struct qp_fd_map[]){{out[1], 1}, {in[0], 0}}, 2, NULL);
        close(in[0]);
        close(in[1]);
        close(out[1]);
        if (read(out[0], text, sizeof text - 1) < 0)
            text[0] = '\0';
        close(out[0]);
        qp_process_wait(NULL, pid, LIMIT_MS);
    }
    if (saved[0] >= 0)
        dup2(saved[0], 0);
    dup2(saved[1], 1);
    close(saved[0]);
    close(saved[1]);
    assert_string_equal(text, "hello hello\n");
}

static void
no_other_descriptor_is_open(void **state)
{
    int leak = open("/dev/zero", O_RDONLY), high = fcntl(leak, F_DUPFD, 200);
    char out[512];

    (void)state;
    assert_int_equal(run("for f in /proc/self/fd/*; do echo ${f##*/}; done | tr '\\n' ' '", NULL,
                         out, sizeof out),
        0);
    close(leak);
    close(high);
    /* the shell expands the pattern with one descriptor open on the directory itself */
    assert_true(strcmp(out, "0 1 2 3 ") == 0 || strcmp(out, "0 1 2 ") == 0);
}

static void
input_and_output_are_null_unless_listed(void **state)
{
    char out[512];

    (void)state;
    assert_int_equal(run("readlink /proc/$$/fd/0", NULL, out, sizeof out), 0);
    assert_string_equal(out, "/dev/null\n");
}

static void
signals_are_as_at_the_start_of_a_program(void **state)
{
    unsigned long long blocked, ignored;
    char out[512];
    sigset_t usr1;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    assert_int_equal(
        run("exec grep -E 'Sig(Blk|Ign)' /proc/self/status", NULL, out, sizeof out), 0);
    sigprocmask(SIG_UNBLOCK, &usr1, NULL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    /* 32 and 33 belong to the C library, which lets no program reset them: make leaves them ignored. */
    assert_int_equal(sscanf(out, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & ~0x180000000ULL, 0);
}

static void
directory_and_environment_arrive(void **state)
{
    char out[512];

    (void)state;
    setenv("QPSMTPD_TEST", "here", 1);
    assert_int_equal(run("pwd; echo $QPSMTPD_TEST", "/usr", out, sizeof out), 0);
    assert_string_equal(out, "/usr\nhere\n");
}

/* The one that hangs, and what it has started, are gone when the time is over. */
static void
time_limit_kills_the_whole_group(void **state)
{
    int64_t began = clock_ms();
    char byte;
    pid_t pid;
    int p[2];

    (void)state;
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid = qp_process_start(NULL, SHELL("trap '' TERM; sleep 60 & sleep 60; exit 0"),
        (struct qp_fd_map[]){{p[1], 1}}, 1, NULL);
    close(p[1]);
    assert_true(pid > 0);
    assert_int_equal(qp_process_wait(NULL, pid, 200), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_true(clock_ms() - began >= 200);
    assert_true(clock_ms() - began < 5000);
    assert_int_equal(read(p[0], &byte, 1), 0); /* nobody holds the other end any more */
    close(p[0]);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
}

static void
waiting_for_nobody_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(qp_process_wait(NULL, getpid(), 1000), -1);
    assert_int_equal(errno, ECHILD);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_is_what_waitpid_gives),
        cmocka_unit_test(what_cannot_be_started_is_an_errno),
        cmocka_unit_test(bad_maps_start_nothing),
        cmocka_unit_test(numbers_may_overlap),
        cmocka_unit_test(low_numbers_are_mapped_even_when_we_have_closed_them),
        cmocka_unit_test(no_other_descriptor_is_open),
        cmocka_unit_test(input_and_output_are_null_unless_listed),
        cmocka_unit_test(signals_are_as_at_the_start_of_a_program),
        cmocka_unit_test(directory_and_environment_arrive),
        cmocka_unit_test(time_limit_kills_the_whole_group),
        cmocka_unit_test(waiting_for_nobody_is_an_error),
    };

    alarm(120);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
