#include <qpsmtpd/process.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "plugin/instance.h"

#define KILLED_WAIT_MS 5000        /* after SIGKILL: longer only when the kernel itself is stuck */
#define CHILD_STACK    (16 * 1024) /* become() calls nothing but the kernel */
#define POLL_WAIT_MS   10          /* between looks where there is no pidfd_open(2) */

/* ---- in the child, which has our memory until it executes the program: nothing but system calls ---- */

/* What is to be started, and what went wrong there. */
struct start {
    char *const *argv, *const *environment;
    const struct qp_fd_map *map;
    size_t n;
    const char *dir;
    volatile int error;
};

static void
signals_default(void)
{
    const struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < 32;
         sig++)                     /* nobody here uses real-time signals, which are behind these */
        sigaction(sig, &dfl, NULL); /* SIGKILL and SIGSTOP fail, and need it least */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Kernels before 5.11 know no CLOSE_RANGE_CLOEXEC, and some sandboxes no close_range(2) at all. */
static void
mark_all_cloexec(void)
{
    struct rlimit limit;

    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        limit.rlim_cur = 1024;
    for (int fd = 3; fd < (int)(limit.rlim_cur < 65536 ? limit.rlim_cur : 65536); fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/*
 * Two rounds, so that no dup2 overwrites a descriptor that is still to be copied: first everything
 * goes above all numbers that are asked for, then down to where it belongs.
 */
static bool
descriptors_map(const struct qp_fd_map map[], size_t n)
{
    int moved[QP_FD_MAP_MAX], above = 3;
    bool used[2] = {false, false};

    for (size_t i = 0; i < n; i++) {
        if (map[i].as >= above)
            above = map[i].as + 1;
        if (map[i].as == 0 || map[i].as == 1)
            used[map[i].as] = true;
    }
    for (size_t i = 0; i < n; i++)
        if ((moved[i] = fcntl(map[i].fd, F_DUPFD_CLOEXEC, above)) < 0)
            return false;
    mark_all_cloexec();
    for (size_t i = 0; i < n; i++)
        if (dup2(moved[i], map[i].as) < 0)
            return false;
    for (int fd = 0; fd < 2; fd++) {
        int null = used[fd] ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);

        /* open() itself may give fd, when it was closed: dup2 to itself would leave close-on-exec
         * on */
        if (!used[fd] && (null < 0 || (null == fd ? fcntl(fd, F_SETFD, 0) : dup2(null, fd)) < 0))
            return false;
    }
    return true;
}

static int
become(void *data)
{
    struct start *s = data;

    setpgid(0, 0);
    if (descriptors_map(s->map, s->n) && (!s->dir || chdir(s->dir) == 0)) {
        signals_default();
        execve(s->argv[0], s->argv, s->environment);
    }
    s->error = errno;
    return 127;
}

/* ---- in this process ---- */

/* An environment in the making; the list ends with NULL, and borrows its texts. */
struct environment {
    struct arena *arena;
    const char **list;
    size_t n, room;
};

/* The name in NAME=value, the equals sign included. */
static struct str
name_of(const char *variable)
{
    return (struct str){variable, strcspn(variable, "=") + 1};
}

static bool
is_set(const struct environment *e, struct str name)
{
    for (size_t i = 0; i < e->n; i++)
        if (strncmp(e->list[i], name.p, name.n) == 0)
            return true;
    return false;
}

/* Unless a plugin took it back (qp_env_unset). */
static void
add(struct environment *e, const struct connection *conn, const char *variable)
{
    struct str name = name_of(variable);

    if (map_get(conn->env_unset, (struct str){name.p, name.n - 1}))
        return;
    if (e->n + 1 >= e->room) {
        size_t room = e->room ? 2 * e->room : 64;

        e->list = arena_grow(e->arena, e->list, e->room * sizeof *e->list, room * sizeof *e->list);
        e->room = room;
    }
    e->list[e->n++] = variable;
}

static void
add_new(struct environment *e, const struct connection *conn, const char *variable)
{
    if (!is_set(e, name_of(variable)))
        add(e, conn, variable);
}

/* Unless nobody knows it: then there is no such variable. */
static void
add_fact(struct environment *e, const struct connection *conn, const char *name, const char *value)
{
    if (*value)
        add_new(e, conn, arena_printf(e->arena, "%s=%s", name, value));
}

static const char *
port_text(struct arena *a, int port)
{
    return port ? arena_printf(a, "%d", port) : "";
}

/*
 * What programs know of the client is what tcpserver tells them (tcp-environ(5)), whoever has accepted
 * the connection. First come the connection's own variables, then its facts, then those of the process,
 * in which qp_env() looks as well.
 */
static const char *const *
environment_of(const struct context *c)
{
    const struct connection *conn = c->conn;
    struct environment e = {.arena = c->command};

    if (!conn)
        return (const char *const *)environ;
    for (const char *const *own = conn->env; own && *own; own++)
        add(&e, conn, *own);
    if (conn->has_ip) { /* a terminal or a pipe has no facts */
        add_fact(&e, conn, "PROTO", "TCP");
        add_fact(&e, conn, "TCPREMOTEIP", conn->remote_ip);
        add_fact(&e, conn, "TCPREMOTEPORT", port_text(e.arena, conn->remote_port));
        add_fact(&e, conn, "TCPREMOTEHOST", conn->remote_host[0] == '[' ? "" : conn->remote_host);
        add_fact(&e, conn, "TCPLOCALIP", conn->local_ip);
        add_fact(&e, conn, "TCPLOCALPORT", port_text(e.arena, conn->local_port));
    }
    for (char *const *process = environ; !conn->env_whole && *process; process++)
        add_new(&e, conn, *process);
    return e.list;
}

/*
 * As vfork(2), with a stack of its own: a copy of our page tables would be thrown away at once. All
 * signals are held, as none of our handlers may run in the child; we go on when the program is there, or
 * cannot be.
 */
static pid_t
launch(struct start *s)
{
    _Alignas(16) char stack[CHILD_STACK];
    sigset_t all, before;
    pid_t pid;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = clone(become, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
    if (pid < 0)
        s->error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    return pid;
}

pid_t
qp_process_start(
    struct qp *q, const char *const argv[], const struct qp_fd_map map[], size_t n, const char *dir)
{
    struct start s = {.map = map, .n = n, .dir = dir};
    const char *const *env = q ? environment_of(q->context) : (const char *const *)environ;
    pid_t pid;

    if (!argv[0] || argv[0][0] != '/' || n > QP_FD_MAP_MAX) {
        errno = EINVAL;
        return -1;
    }
    memcpy(&s.argv, &argv, sizeof s.argv); /* execve(2) changes nothing, but is older than const */
    memcpy(&s.environment, &env, sizeof s.environment);
    pid = launch(&s);
    if (pid > 0 && s.error != 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    errno = s.error;
    return s.error == 0 ? pid : -1;
}

/* true: *status is set, or -1 with errno when there is nothing to collect; false: the time is over
 */
static bool
collect(pid_t pid, int64_t deadline, int *status)
{
    struct pollfd end = {.fd = -1, .events = POLLIN};
    int left = 0;
    pid_t got;

    for (;;) {
        got = waitpid(pid, status, WNOHANG);
        if (got != 0 && !(got < 0 && errno == EINTR))
            break;
        left = clock_left(deadline);
        if (left == 0)
            break;
        if (end.fd < 0)
            end.fd = pidfd_open(pid, 0);
        if (end.fd < 0 && (left < 0 || left > POLL_WAIT_MS))
            left = POLL_WAIT_MS;
        poll(&end, 1, left); /* whatever it says: look again; fd -1 makes it a sleep */
    }
    if (got < 0)
        *status = -1;
    if (end.fd >= 0) {
        int saved = errno;

        close(end.fd);
        errno = saved;
    }
    return got != 0;
}

int
qp_process_wait(struct qp *q, pid_t pid, int64_t timeout_ms)
{
    int status = -1;

    (void)q;
    if (collect(pid, clock_ms() + (timeout_ms > 0 ? timeout_ms : 0), &status))
        return status;
    kill(-pid, SIGKILL); /* with what it has started itself */
    collect(pid, clock_ms() + KILLED_WAIT_MS, &status);
    errno = ETIMEDOUT;
    return -1;
}
