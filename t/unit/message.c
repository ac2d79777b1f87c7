/* mail/message: header and body are what was put, in memory or in a file, and trouble is
 * remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "mail/message.h"

struct fixture {
    struct arena *arena;
    char dir[64];   /* removed in the end; must be empty then */
    char spool[80]; /* inside of it; not there yet */
    struct message_limits limits;
};

/* In place of libc's: a file system that cannot make a file without a name. */
static struct {
    bool on;
    int named; /* files that got a name */
} old_file_system;

int
openat(int dir, const char *name, int flags, ...)
{
    if (old_file_system.on && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    old_file_system.named += old_file_system.on && (flags & O_EXCL);
    return (int)syscall(SYS_openat, dir, name, flags, 0600);
}

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->dir, sizeof f->dir, "/tmp/message.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->spool, sizeof f->spool, "%s/spool", f->dir);
    f->arena = arena_open("test");
    f->limits = (struct message_limits){.spool_dir = f->spool, .spool_perms = 0700};
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    int left;

    arena_close(&f->arena);
    rmdir(f->spool);
    left = rmdir(f->dir);
    free(f);
    return left;
}

static char *
noise(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n);
    uint32_t x = 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = x >> 24 < 8 ? '\n' : (char)(x >> 24);
    }
    return p;
}

static void
expect_body(const struct message *m, struct str want)
{
    char piece[7001];

    assert_int_equal(message_body_size(m), want.n);
    for (size_t at = 0; at < want.n;) {
        ptrdiff_t n = message_read(m, at, piece, sizeof piece);

        assert_true(n > 0);
        assert_true((size_t)n <= want.n - at);
        assert_memory_equal(piece, want.p + at, (size_t)n);
        at += (size_t)n;
    }
    assert_int_equal(message_read(m, want.n, piece, sizeof piece), 0);
    assert_int_equal(message_read(m, UINT64_MAX, piece, sizeof piece), 0);
}

static void
expect_file(int fd, struct str head, struct str body)
{
    char *got = malloc(head.n + body.n + 1);

    assert_int_equal(pread(fd, got, head.n + body.n + 1, 0), head.n + body.n);
    assert_memory_equal(got, head.p, head.n);
    assert_memory_equal(got + head.n, body.p, body.n);
    free(got);
}

static int
scratch_file(const struct fixture *f, int flags)
{
    char name[80];
    int fd;

    snprintf(name, sizeof name, "%s/out", f->dir);
    fd = open(name, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

static void
header_and_body_part_at_the_first_empty_line(void **state)
{
    static const struct {
        const char *head, *body;
    } cases[] = {
        {"A: b\n", "\nbody\n"},
        {"A: b\n c\nD: e\n", "\n\n\nbody\n\n"},
        {"A: b\n", "\n"},
        {"", "\nbody\n"},
        {"", "\n"},
        {"A: b\n \nC: d\n", "\nx"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str text = str_of(arena_printf(f->arena, "%s%s", cases[i].head, cases[i].body));

        for (size_t cut = 0; cut <= text.n; cut++) {
            struct message *m = message_new(f->arena, &f->limits);
            int completed = 0, fd = scratch_file(f, 0);

            completed += message_put(m, (struct str){text.p, cut});
            completed += message_put(m, str_from(text, cut));
            assert_int_equal(completed, 1);
            assert_false(message_end(m));
            assert_int_equal(header_size(message_header(m)), strlen(cases[i].head));
            expect_body(m, str_of(cases[i].body));
            assert_true(message_write(m, fd));
            expect_file(fd, str_of(cases[i].head), str_of(cases[i].body));
            close(fd);
        }
    }
}

static void
without_an_empty_line_all_is_header(void **state)
{
    static const struct {
        const char *put, *head;
    } cases[] = {{"", ""}, {"A: b\n", "A: b\n"}, {"A: b", "A: b\n"}, {"A: b\nC", "A: b\nC\n"}};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct message *m = message_new(f->arena, &f->limits);
        int fd = scratch_file(f, 0);

        assert_false(message_put(m, str_of(cases[i].put)));
        assert_int_equal(header_count(message_header(m)), 0);
        assert_true(message_end(m));
        assert_int_equal(message_received(m), strlen(cases[i].put));
        expect_body(m, STR(""));
        assert_true(message_write(m, fd));
        expect_file(fd, str_of(cases[i].head), STR(""));
        close(fd);
    }
}

/* Sizes on both sides of every border. */
static void
any_threshold_gives_the_same_message(void **state)
{
    static const size_t thresholds[] = {0, 1, 10000, MESSAGE_BLOCK, 200000, 1 << 20, SIZE_MAX};
    static const size_t pieces[] = {77, 4096, MESSAGE_BLOCK - 1, MESSAGE_BLOCK, 150001, 400000};
    struct fixture *f = *state;
    struct str body = {noise(f->arena, 400000), 400000};

    for (size_t t = 0; t < sizeof thresholds / sizeof *thresholds; t++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            int fd = scratch_file(f, p % 2 ? O_APPEND : 0); /* to which sendfile does not write */
            struct message *m;

            f->limits.size_threshold = thresholds[t];
            m = message_new(f->arena, &f->limits);
            assert_true(message_put(m, STR("A: b\n\n")));
            for (size_t at = 0; at < body.n; at += pieces[p]) {
                size_t n = body.n - at < pieces[p] ? body.n - at : pieces[p];

                assert_false(message_put(m, (struct str){body.p + at, n}));
            }
            assert_false(message_end(m));
            assert_int_equal(message_trouble(m), MESSAGE_FINE);
            assert_int_equal(message_body_size(m), body.n + 1);
            assert_true(header_insert(message_header(m), 0, STR("Top"), STR("t")));
            assert_true(message_write(m, fd));
            expect_file(fd, STR("Top: t\nA: b\n\n"), body);
            close(fd);
            arena_reset(f->arena);
            body.p = noise(f->arena, body.n);
        }
}

static void
many_fields_are_written_in_order(void **state)
{
    enum { FIELDS = 3000 };
    struct fixture *f = *state;
    struct message *m = message_new(f->arena, &f->limits);
    int fd = scratch_file(f, 0);
    char want[FIELDS * 7 + 1] = "";

    message_put(m, STR("\nb"));
    for (size_t i = 0; i < FIELDS; i++) {
        header_insert(message_header(m), SIZE_MAX, STR("X"),
            (struct str){arena_printf(f->arena, "%03zu", i % 1000), 3});
        snprintf(want + i * 7, 8, "X: %03zu\n", i % 1000);
    }
    message_end(m);
    assert_true(message_write(m, fd));
    expect_file(fd, str_of(want), STR("\nb"));
    close(fd);
}

static void
a_pipe_gets_all_of_it(void **state)
{
    struct fixture *f = *state;
    struct str body = {noise(f->arena, 1000000), 1000000};
    struct message *m = message_new(f->arena, &f->limits);
    int ends[2], fd = scratch_file(f, 0), status;
    pid_t child;

    message_put(m, STR("A: b\n\n"));
    message_put(m, body);
    message_end(m);
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        char piece[3000];
        ssize_t n;

        close(ends[1]);
        while ((n = read(ends[0], piece, sizeof piece)) > 0)
            if (write(fd, piece, (size_t)n) != n)
                _exit(1);
        _exit(0);
    }
    close(ends[0]);
    assert_true(message_write(m, ends[1]));
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect_file(fd, STR("A: b\n\n"), body);
    close(fd);
}

static size_t
entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static void
a_missing_spool_directory_is_made_and_stays_empty(void **state)
{
    struct fixture *f = *state;
    struct message *m;
    mode_t mask = umask(077);
    struct stat st;

    f->limits.spool_perms = 0750;
    m = message_new(f->arena, &f->limits);
    message_put(m, STR("A: b\n\nbody"));
    umask(mask);
    message_end(m);
    assert_int_equal(message_trouble(m), MESSAGE_FINE);
    assert_int_equal(stat(f->spool, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(entries(f->spool), 0);
}

static void
a_file_that_needs_a_name_loses_it_at_once(void **state)
{
    struct fixture *f = *state;
    struct message *m = message_new(f->arena, &f->limits);

    old_file_system.on = true;
    message_put(m, STR("A: b\n\nbody"));
    old_file_system.on = false;
    assert_int_equal(old_file_system.named, 1);
    assert_int_equal(message_trouble(m), MESSAGE_FINE);
    assert_int_equal(entries(f->spool), 0);
    expect_body(m, STR("\nbody"));
}

static bool
count_warnings(void *data, const struct log_event *event)
{
    int *warnings = data;

    *warnings += event->level == LOG_LEVEL_WARN && strstr(event->text, "mode=0755") != NULL;
    return true;
}

static void
an_open_spool_directory_is_warned_of_once(void **state)
{
    struct fixture *f = *state;
    int warnings = 0;

    assert_int_equal(mkdir(f->spool, 0700), 0);
    assert_int_equal(chmod(f->spool, 0755), 0);
    log_sink_set(count_warnings, &warnings, LOG_LEVEL_WARN);
    for (int i = 0; i < 2; i++) {
        struct message *m = message_new(f->arena, &f->limits);

        message_put(m, STR("\nbody"));
        assert_int_equal(message_trouble(m), MESSAGE_FINE);
        expect_body(m, STR("\nbody"));
    }
    log_sink_set(NULL, NULL, LOG_LEVEL_EMERG);
    assert_int_equal(warnings, 1);
}

static void
expect_lost(const struct message *m, enum message_trouble trouble)
{
    assert_int_equal(message_trouble(m), trouble);
    expect_body(m, STR(""));
    errno = 0;
    assert_false(message_write(m, STDERR_FILENO));
    assert_int_equal(errno, EIO);
}

static void
an_unusable_spool_directory_is_trouble(void **state)
{
    struct fixture *f = *state;
    const char *const dirs[] = {"/dev/null", "/nonexistent/spool", ""};

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        struct message *m;

        f->limits.spool_dir = dirs[i];
        m = message_new(f->arena, &f->limits);
        assert_true(message_put(m, STR("A: b\n\nbody")));
        assert_false(message_put(m, STR("more")));
        assert_false(message_end(m));
        assert_int_equal(message_received(m), 14);
        expect_lost(m, MESSAGE_DISK);
        assert_non_null(strstr(message_error(m), "spool_dir"));
        assert_int_equal(header_count(message_header(m)), 1);
    }
}

static void
a_full_disk_is_trouble(void **state)
{
    struct fixture *f = *state;
    struct message *m = message_new(f->arena, &f->limits);
    struct str piece = {noise(f->arena, 50000), 50000};
    struct rlimit old, small;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 150000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    message_put(m, STR("\n"));
    for (int i = 0; i < 10; i++)
        message_put(m, piece);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(message_end(m));
    assert_int_equal(message_received(m), 500001);
    expect_lost(m, MESSAGE_DISK);
    assert_non_null(strstr(message_error(m), "write"));
}

static void
one_byte_more_than_the_limit_is_too_big(void **state)
{
    struct fixture *f = *state;
    struct message *m;

    f->limits.max_bytes = 9;
    m = message_new(f->arena, &f->limits);
    message_put(m, STR("A: b\n\n"));
    message_put(m, STR("cd\n"));
    message_end(m);
    assert_int_equal(message_trouble(m), MESSAGE_FINE);
    expect_body(m, STR("\ncd\n"));
    m = message_new(f->arena, &f->limits);
    assert_true(message_put(m, STR("A: b\n\n")));
    message_put(m, STR("cde\n"));
    message_put(m, STR("f"));
    assert_false(message_end(m));
    assert_int_equal(message_received(m), 11);
    expect_lost(m, MESSAGE_TOO_BIG);
    m = message_new(f->arena, &f->limits);
    assert_false(message_put(m, STR("A: b\n\ntoo much at once")));
    assert_false(message_end(m));
    expect_lost(m, MESSAGE_TOO_BIG);
}

static void
a_header_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct str line =
        STR("X-Long: 3456789012345678901234567890123456789012345678901234567890123\n");
    struct message *m = message_new(f->arena, &f->limits);
    size_t n = 0;

    for (; n + line.n <= MESSAGE_HEADER_MAX; n += line.n)
        message_put(m, line);
    message_put(m, (struct str){line.p, MESSAGE_HEADER_MAX - n});
    assert_int_equal(message_trouble(m), MESSAGE_FINE);
    message_put(m, STR("x"));
    assert_int_equal(message_trouble(m), MESSAGE_HEADER_TOO_BIG);
    assert_false(message_put(m, STR("\n\nbody")));
    assert_false(message_end(m));
    assert_int_equal(header_count(message_header(m)), 0);
    assert_int_equal(message_received(m), MESSAGE_HEADER_MAX + 7);
    expect_lost(m, MESSAGE_HEADER_TOO_BIG);
}

static void
a_message_without_header_may_be_large(void **state)
{
    static const char *const heads[] = {"", "Subject: x\n folded\n"};
    struct fixture *f = *state;
    struct str line = STR("not a field, and not in the bounds of a header either\n");

    for (size_t i = 0; i < 2; i++) {
        struct message *m = message_new(f->arena, &f->limits);
        struct str head = str_of(heads[i]);
        uint64_t n = 0;
        int completed = 0;
        char byte[3];

        completed += message_put(m, head);
        for (; n < 2 * MESSAGE_HEADER_MAX; n += line.n)
            completed += message_put(m, line);
        assert_int_equal(completed, 1);
        assert_false(message_end(m));
        assert_int_equal(message_trouble(m), MESSAGE_FINE);
        assert_int_equal(header_size(message_header(m)), head.n);
        assert_int_equal(message_body_size(m), n);
        assert_int_equal(message_read(m, 0, byte, 3), 3);
        assert_memory_equal(byte, "not", 3);
    }
}

static void
descriptors_go_with_the_arena(void **state)
{
    struct fixture *f = *state;
    size_t before = entries("/proc/self/fd");
    struct message *m = message_new(f->arena, &f->limits);

    message_put(m, STR("\nbody"));
    assert_int_equal(entries("/proc/self/fd"), before + 1);
    arena_reset(f->arena);
    assert_int_equal(entries("/proc/self/fd"), before);
}

static void
another_body_takes_the_place_at_once(void **state)
{
    static const size_t thresholds[] = {0, 1000, 1 << 20};
    struct fixture *f = *state;
    struct str big = {noise(f->arena, 300000), 300000};

    for (size_t i = 0; i < 9; i++) {
        size_t before = entries("/proc/self/fd");
        struct message *m, *draft;
        int fd = scratch_file(f, 0);

        f->limits.size_threshold = thresholds[i % 3];
        m = message_new(f->arena, &f->limits);
        message_put(m, STR("A: b\n\nold"));
        message_put(m, i < 3 ? STR("") : big);
        draft = message_draft(m, f->arena);
        assert_false(message_put(draft, STR("\n")));
        assert_false(message_put(draft, i < 6 ? big : STR("no: field\n\nnew")));
        assert_int_equal(message_body_size(m), 4 + (i < 3 ? 0 : big.n));
        message_take_body(m, draft);
        assert_int_equal(message_body_size(draft), 0);
        assert_true(message_write(m, fd));
        expect_file(fd, STR("A: b\n\n"), i < 6 ? big : STR("no: field\n\nnew"));
        close(fd);
        arena_reset(f->arena);
        assert_int_equal(entries("/proc/self/fd"), before);
        big.p = noise(f->arena, big.n);
    }
}

static void
a_draft_has_the_limits_of_its_message(void **state)
{
    struct fixture *f = *state;
    struct message *m, *draft;

    f->limits.max_bytes = 20;
    m = message_new(f->arena, &f->limits);
    message_put(m, STR("A: b\n\nold"));
    draft = message_draft(m, f->arena);
    message_put(draft, STR("\n0123456789012345678"));
    assert_int_equal(message_trouble(draft), MESSAGE_FINE);
    message_put(draft, STR("x"));
    assert_int_equal(message_trouble(draft), MESSAGE_TOO_BIG);
    assert_int_equal(message_trouble(m), MESSAGE_FINE);
    expect_body(m, STR("\nold"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(header_and_body_part_at_the_first_empty_line),
        TEST(without_an_empty_line_all_is_header),
        TEST(any_threshold_gives_the_same_message),
        TEST(many_fields_are_written_in_order),
        TEST(a_pipe_gets_all_of_it),
        TEST(a_missing_spool_directory_is_made_and_stays_empty),
        TEST(a_file_that_needs_a_name_loses_it_at_once),
        TEST(an_open_spool_directory_is_warned_of_once),
        TEST(an_unusable_spool_directory_is_trouble),
        TEST(a_full_disk_is_trouble),
        TEST(one_byte_more_than_the_limit_is_too_big),
        TEST(a_header_is_bounded),
        TEST(a_message_without_header_may_be_large),
        TEST(descriptors_go_with_the_arena),
        TEST(another_body_takes_the_place_at_once),
        TEST(a_draft_has_the_limits_of_its_message),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
