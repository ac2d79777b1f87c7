#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

#include "scratch.h"
#include "server/pool.h"
#include "server/pool_take.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define FDS      16

static volatile sig_atomic_t terms;

static void
on_term(int number)
{
    (void)number;
    terms = terms + 1;
}

static int
descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- the socket ---- */

static void
the_socket_is_private_and_goes_in_the_end(void **state)
{
    struct scratch s;
    struct pool pool;
    struct stat st;
    struct err e;
    uid_t user = 4711;
    int fd, there;

    (void)state;
    scratch_open(&s);
    assert_true(pool_listen(&pool, scratch_path(&s, "pool"), &fd, &e));
    assert_int_equal(stat(s.path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    there = pool_connect(s.path);
    assert_true(there >= 0 && pool_user(there, &user));
    assert_int_equal(user, geteuid());
    close(there);
    pool_remove(&pool);
    assert_int_equal(access(s.path, F_OK), -1);
    close(fd);
    scratch_close(&s);
}

static void
a_living_daemon_keeps_its_socket_and_a_dead_one_does_not(void **state)
{
    struct pool first, second;
    struct scratch s;
    struct err e;
    int fd, other = -1, before = descriptors();

    (void)state;
    scratch_open(&s);
    assert_true(pool_listen(&first, scratch_path(&s, "pool"), &fd, &e));
    assert_false(pool_listen(&second, s.path, &other, &e));
    assert_non_null(strstr(e.text, "another daemon serves there"));
    shutdown(fd, SHUT_RDWR); /* as when it were killed: the name stays */
    assert_int_equal(pool_connect(s.path), -1);
    assert_int_equal(errno, ECONNREFUSED);
    assert_true(pool_listen(&second, s.path, &other, &e));
    pool_remove(&first); /* not its own any more */
    assert_int_equal(access(s.path, F_OK), 0);
    close(fd);
    pool_remove(&second);
    close(other);
    scratch_close(&s);
    assert_int_equal(descriptors(), before);
}

static void
what_is_no_socket_stays_where_it_is(void **state)
{
    struct scratch s;
    struct pool pool;
    struct err e;
    char path[PATH_MAX], longer[POOL_PATH_MAX + 2];
    int fd, before = descriptors();

    (void)state;
    scratch_open(&s);
    snprintf(path, sizeof path, "%s", scratch_write(&s, "pool", STR("precious")));
    assert_false(pool_listen(&pool, path, &fd, &e));
    assert_non_null(strstr(e.text, "something that is no socket"));
    assert_int_equal(access(path, F_OK), 0);
    assert_false(pool_listen(&pool, scratch_path(&s, "missing/pool"), &fd, &e));
    assert_non_null(strstr(e.text, "/missing: No such file"));
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(pool_listen(&pool, longer, &fd, &e));
    assert_int_equal(pool_connect(longer), -1);
    assert_int_equal(pool_connect(""), -1);
    scratch_close(&s);
    assert_int_equal(descriptors(), before);
}

/* ---- taking ---- */

/* One message with these descriptors. */
static void
send_message(int fd, const char *text, size_t text_n, const int fds[], size_t n)
{
    union {
        char bytes[CMSG_SPACE(FDS * sizeof(int))];
        struct cmsghdr aligned;
    } beside = {.bytes = {0}};
    struct iovec v = {.iov_len = text_n};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    struct cmsghdr *header = &beside.aligned;

    memcpy(&v.iov_base, &text, sizeof text);
    if (n > 0) {
        m.msg_control = beside.bytes;
        m.msg_controllen = CMSG_SPACE(n * sizeof *fds);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(n * sizeof *fds);
        memcpy(CMSG_DATA(header), fds, n * sizeof *fds);
    }
    assert_int_equal(sendmsg(fd, &m, 0), text_n);
}

static void
connect_pair(int pair[2], int type)
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

static void
what_is_no_session_is_closed_and_forgotten(void **state)
{
    static char large[POOL_MESSAGE_MAX + 1] = POOL_GREETING;
    static const struct {
        const char *text;
        size_t n, fds;
    } cases[] = {
        {POOL_GREETING, sizeof POOL_GREETING, 0},
        {POOL_GREETING, sizeof POOL_GREETING, 1},
        {POOL_GREETING, sizeof POOL_GREETING, 3},
        {POOL_GREETING, sizeof POOL_GREETING, 16},
        {POOL_GREETING, sizeof POOL_GREETING - 1, 2},
        {"qpsmtpd 2", sizeof POOL_GREETING, 2},
        {"", 1, 2},
        {POOL_GREETING "\0A=b", sizeof POOL_GREETING + 3, 2}, /* its NUL is missing */
        {large, sizeof large, 2},
    };
    struct pool_session p;
    int before = descriptors(), fds[FDS];

    (void)state;
    for (size_t i = 0; i < FDS; i++)
        fds[i] = 2;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int pair[2];

        connect_pair(pair, SOCK_SEQPACKET);
        send_message(pair[0], cases[i].text, cases[i].n, fds, cases[i].fds);
        assert_false(pool_take(pair[1], &p));
        close(pair[0]);
        assert_int_equal(descriptors(), before);
    }
}

static void
who_says_nothing_is_waited_for_for_a_second(void **state)
{
    struct pool_session p;
    int pair[2], before = descriptors();

    (void)state;
    connect_pair(pair, SOCK_SEQPACKET);
    assert_false(pool_take(pair[1], &p));
    close(pair[0]);
    connect_pair(pair, SOCK_SEQPACKET);
    close(pair[0]);
    assert_false(pool_take(pair[1], &p));
    assert_int_equal(descriptors(), before);
}

/* A session over a socket pair: theirs is what the client has. */
static void
take_one(struct pool_session *p, int *giver, int *client)
{
    static const char text[] = POOL_GREETING "\0A=1\0RELAYCLIENT=\0odd";
    int line[2], control[2];

    connect_pair(line, SOCK_STREAM);
    connect_pair(control, SOCK_SEQPACKET);
    send_message(control[0], text, sizeof text, (const int[]){line[1], line[1]}, 2);
    close(line[1]);
    assert_true(pool_take(control[1], p));
    *giver = control[0];
    *client = line[0];
}

static void
a_session_has_its_descriptors_and_variables(void **state)
{
    struct pool_session p;
    int giver, client, before = descriptors();
    char bytes[8] = "";

    (void)state;
    take_one(&p, &giver, &client);
    assert_string_equal(p.env[0], "A=1");
    assert_string_equal(p.env[1], "RELAYCLIENT=");
    assert_string_equal(p.env[2], "odd");
    assert_null(p.env[3]);
    assert_int_equal(fcntl(p.in, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(p.out, F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(p.out, "hi", 2), 2);
    assert_int_equal(read(client, bytes, sizeof bytes), 2);
    pool_end(&p, 1);
    assert_int_equal(read(client, bytes, sizeof bytes), 0);
    assert_int_equal(read(giver, bytes, sizeof bytes), 1);
    assert_int_equal(bytes[0], POOL_READY);
    assert_int_equal(read(giver, bytes, sizeof bytes), 1);
    assert_int_equal(bytes[0], 1);
    assert_int_equal(read(giver, bytes, sizeof bytes), 0);
    close(giver);
    close(client);
    assert_int_equal(descriptors(), before);
}

static void
the_giver_ends_the_session_by_a_word_or_by_its_death(void **state)
{
    struct sigaction sa = {.sa_handler = on_term};
    struct pool_session p;
    int giver, client, before = descriptors();
    char byte;

    (void)state;
    sigaction(SIGTERM, &sa, NULL);
    take_one(&p, &giver, &client);
    assert_int_equal(terms, 0);
    assert_int_equal(write(giver, "?", 1), 1); /* from another version: nothing */
    assert_int_equal(terms, 0);
    assert_int_equal(write(giver, &(char){POOL_TERM}, 1), 1);
    assert_int_equal(terms, 1);
    assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    close(giver);
    assert_int_equal(read(p.in, &byte, 1), 0);
    assert_int_equal(read(client, &byte, 1), 0);
    pool_end(&p, 0);
    close(client);
    assert_int_equal(terms, 1);
    assert_int_equal(descriptors(), before);
}

static void
a_pipe_is_cut_as_well(void **state)
{
    int control[2], in[2], out[2], before = descriptors();
    struct pool_session p;
    char byte;

    (void)state;
    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    connect_pair(control, SOCK_SEQPACKET);
    send_message(control[0], POOL_GREETING, sizeof POOL_GREETING, (const int[]){in[0], out[1]}, 2);
    close(in[0]);
    close(out[1]);
    assert_true(pool_take(control[1], &p));
    assert_null(p.env[0]);
    close(control[0]);
    assert_int_equal(read(p.in, &byte, 1), 0);
    assert_int_equal(write(p.out, "x", 1), 1);
    assert_int_equal(read(out[0], &byte, 1), 0); /* nobody has the other end any more */
    pool_end(&p, 0);
    close(in[1]);
    close(out[0]);
    assert_int_equal(descriptors(), before);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_is_private_and_goes_in_the_end),
        cmocka_unit_test(a_living_daemon_keeps_its_socket_and_a_dead_one_does_not),
        cmocka_unit_test(what_is_no_socket_stays_where_it_is),
        cmocka_unit_test(what_is_no_session_is_closed_and_forgotten),
        cmocka_unit_test(who_says_nothing_is_waited_for_for_a_second),
        cmocka_unit_test(a_session_has_its_descriptors_and_variables),
        cmocka_unit_test(the_giver_ends_the_session_by_a_word_or_by_its_death),
        cmocka_unit_test(a_pipe_is_cut_as_well),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
