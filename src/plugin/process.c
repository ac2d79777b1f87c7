#include <qpsmtpd/process.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "plugin/instance.h"

#define KILLED_WAIT_MS 5000 /* after SIGKILL: longer only when the kernel itself is stuck */
#define POLL_WAIT_MS   10   /* between looks where there is no pidfd_open(2) */

/* ---- in the child: nothing but system calls ---- */

static void
signals_default(void)
{
    const struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
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
descriptors_map(const struct qp_fd_map map[], size_t n, int *report)
{
    int moved[QP_FD_MAP_MAX], above = 3;
    bool used[2] = {false, false};

    for (size_t i = 0; i < n; i++) {
        if (map[i].as >= above)
            above = map[i].as + 1;
        if (map[i].as == 0 || map[i].as == 1)
            used[map[i].as] = true;
    }
    if ((*report = fcntl(*report, F_DUPFD_CLOEXEC, above)) < 0)
        return false;
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

static _Noreturn void
become(const char *const argv[], char *const *environment, const struct qp_fd_map map[], size_t n,
    const char *dir, int report)
{
    char *const *words; /* execve(2) changes nothing, but its prototype is older than const */

    memcpy(&words, &argv, sizeof words);
    setpgid(0, 0);
    if (descriptors_map(map, n, &report) && (!dir || chdir(dir) == 0)) {
        signals_default();
        execve(argv[0], words, environment);
    }
    if (write(report, &(int){errno}, sizeof(int)) < 0)
        _exit(126); /* nobody listens; the status says the same */
    _exit(127);
}

/* ---- in this process ---- */

/* An environment in the making; the list ends with NULL. */
struct environment {
    struct arena *arena;
    char **list;
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

/* Unless it is there, or a plugin took it back (qp_env_unset). */
static void
add(struct environment *e, const struct connection *conn, const char *variable)
{
    struct str name = name_of(variable);

    if (is_set(e, name) || map_get(conn->env_unset, (struct str){name.p, name.n - 1}))
        return;
    if (e->n + 1 >= e->room) {
        size_t room = e->room ? 2 * e->room : 64;
        char **more = arena_alloc(e->arena, room * sizeof *more);

        if (e->n)
            memcpy(more, e->list, e->n * sizeof *more);
        e->list = more;
        e->room = room;
    }
    e->list[e->n++] = arena_dup(e->arena, str_of(variable));
}

/*
 * What programs know of the client is what tcpserver tells them (tcp-environ(5)), whoever has accepted
 * the connection. First come the connection's own variables, then its facts, then those of the process.
 */
static char *const *
environment_of(const struct context *c)
{
    const struct connection *conn = c->conn;
    struct environment e = {.arena = c->command};

    if (!conn)
        return environ;
    for (const char *const *own = conn->env; own && *own; own++)
        add(&e, conn, *own);
    if (conn->has_ip) { /* a terminal or a pipe has no facts */
        add(&e, conn, "PROTO=TCP");
        add(&e, conn, arena_printf(c->command, "TCPREMOTEIP=%s", conn->remote_ip));
        add(&e, conn, arena_printf(c->command, "TCPREMOTEPORT=%d", conn->remote_port));
        add(&e, conn, arena_printf(c->command, "TCPLOCALIP=%s", conn->local_ip));
        add(&e, conn, arena_printf(c->command, "TCPLOCALPORT=%d", conn->local_port));
    }
    if (conn->has_ip && conn->remote_host[0] != '[')
        add(&e, conn, arena_printf(c->command, "TCPREMOTEHOST=%s", conn->remote_host));
    for (char *const *process = environ; !conn->env_whole && *process; process++)
        add(&e, conn, *process);
    return e.list;
}

/* fork with all signals held: none of our handlers may run in the child. */
static pid_t
fork_quietly(void)
{
    sigset_t all, before;
    pid_t pid;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid != 0) {
        int saved = errno;

        sigprocmask(SIG_SETMASK, &before, NULL);
        errno = saved;
    }
    return pid;
}

/* 0: exec closed the pipe; otherwise the errno that the child has sent */
static int
read_report(int fd)
{
    int code = 0;
    ssize_t n;

    do
        n = read(fd, &code, sizeof code);
    while (n < 0 && errno == EINTR);
    return n == sizeof code ? code : 0;
}

pid_t
qp_process_start(
    struct qp *q, const char *const argv[], const struct qp_fd_map map[], size_t n, const char *dir)
{
    char *const *environment = q ? environment_of(q->context) : environ;
    int report[2], code;
    pid_t pid;

    if (!argv[0] || argv[0][0] != '/' || n > QP_FD_MAP_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (pipe2(report, O_CLOEXEC) < 0)
        return -1;
    pid = fork_quietly();
    if (pid == 0)
        become(argv, environment, map, n, dir, report[1]);
    code = pid < 0 ? errno : 0;
    close(report[1]);
    if (pid > 0 && (code = read_report(report[0])) != 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    close(report[0]);
    errno = code;
    return code == 0 ? pid : -1;
}

/* true: *status is set, or -1 with errno when there is nothing to collect; false: the time is over
 */
static bool
collect(pid_t pid, int64_t deadline, int *status)
{
    struct pollfd end = {.fd = pidfd_open(pid, 0), .events = POLLIN};
    int left = 0;
    pid_t got;

    for (;;) {
        got = waitpid(pid, status, WNOHANG);
        if (got != 0 && !(got < 0 && errno == EINTR))
            break;
        left = clock_left(deadline);
        if (left == 0)
            break;
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
