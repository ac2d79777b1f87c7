#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "scratch.h"
#include "server/pidfile.h"

static void
read_back(const char *path, char out[32])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, out, 31);
    assert_true(n >= 0);
    out[n] = '\0';
    close(fd);
}

static void
it_holds_the_number_and_goes_in_the_end(void **state)
{
    struct scratch s;
    struct pidfile f;
    char text[32];
    struct stat st;
    struct err e;

    (void)state;
    scratch_open(&s);
    assert_true(pidfile_open(&f, scratch_path(&s, "pid"), &e));
    assert_true(pidfile_write(&f, 4711, &e));
    assert_true(pidfile_write(&f, 12, &e));
    read_back(s.path, text);
    assert_string_equal(text, "12\n");
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    pidfile_remove(&f);
    assert_int_equal(access(s.path, F_OK), -1);
    scratch_close(&s);
}

static void
a_living_daemon_keeps_the_next_one_out(void **state)
{
    struct pidfile first, second;
    struct scratch s;
    struct err e;

    (void)state;
    scratch_open(&s);
    assert_true(pidfile_open(&first, scratch_path(&s, "pid"), &e));
    assert_true(pidfile_write(&first, 4711, &e));
    assert_false(pidfile_open(&second, s.path, &e));
    assert_string_equal(e.text, "Found an already running qpsmtpd with pid 4711.");
    pidfile_remove(&second); /* of a failed open: nothing */
    assert_int_equal(access(s.path, F_OK), 0);
    pidfile_leave(&first); /* as a death would */
    assert_true(pidfile_open(&second, s.path, &e));
    pidfile_remove(&second);
    scratch_close(&s);
}

static void
what_a_dead_daemon_left_is_taken_over(void **state)
{
    struct scratch s;
    struct pidfile f;
    char text[32];
    struct err e;

    (void)state;
    scratch_open(&s);
    assert_true(pidfile_open(&f, scratch_write(&s, "pid", STR("1\n and more of it")), &e));
    assert_true(pidfile_write(&f, 7, &e));
    read_back(s.path, text);
    assert_string_equal(text, "7\n");
    pidfile_remove(&f);
    scratch_close(&s);
}

static void
the_file_of_a_successor_stays(void **state)
{
    struct pidfile first, second;
    struct scratch s;
    struct err e;

    (void)state;
    scratch_open(&s);
    assert_true(pidfile_open(&first, scratch_path(&s, "pid"), &e));
    assert_int_equal(unlink(s.path), 0);
    assert_true(pidfile_open(&second, s.path, &e));
    assert_true(pidfile_write(&second, 8, &e));
    pidfile_remove(&first);
    assert_int_equal(access(s.path, F_OK), 0);
    pidfile_remove(&second);
    assert_int_equal(access(s.path, F_OK), -1);
    scratch_close(&s);
}

static void
links_and_devices_are_refused(void **state)
{
    struct scratch s;
    struct pidfile f;
    struct err e;
    char target[PATH_MAX];

    (void)state;
    scratch_open(&s);
    snprintf(target, sizeof target, "%s", scratch_write(&s, "victim", STR("keep me")));
    assert_int_equal(symlink(target, scratch_path(&s, "pid")), 0);
    assert_false(pidfile_open(&f, s.path, &e));
    assert_false(pidfile_open(&f, scratch_path(&s, "none/pid"), &e));
    assert_false(pidfile_open(&f, "/dev/null", &e));
    assert_int_equal(mkfifo(scratch_path(&s, "fifo"), 0600), 0);
    assert_false(pidfile_open(&f, s.path, &e));
    scratch_close(&s);
}

static void
without_a_path_nothing_happens(void **state)
{
    struct pidfile f;
    struct err e;

    (void)state;
    assert_true(pidfile_open(&f, NULL, &e));
    assert_true(pidfile_write(&f, 1, &e));
    pidfile_remove(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_the_number_and_goes_in_the_end),
        cmocka_unit_test(a_living_daemon_keeps_the_next_one_out),
        cmocka_unit_test(what_a_dead_daemon_left_is_taken_over),
        cmocka_unit_test(the_file_of_a_successor_stays),
        cmocka_unit_test(links_and_devices_are_refused),
        cmocka_unit_test(without_a_path_nothing_happens),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
