#include <qpsmtpd/process.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

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
become(
    const char *const argv[], const struct qp_fd_map map[], size_t n, const char *dir, int report)
{
    const union {
        const char *const *ours;
        char *const *exec; /* execve(2) changes nothing; its prototype is older than const */
    } words = {argv};

    setpgid(0, 0);
    if (descriptors_map(map, n, &report) && (!dir || chdir(dir) == 0)) {
        signals_default();
        execve(argv[0], words.exec, environ);
    }
    if (write(report, &(int){errno}, sizeof(int)) < 0)
        _exit(126); /* nobody listens; the status says the same */
    _exit(127);
}

/* ---- in this process ---- */

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
    int report[2], code;
    pid_t pid;

    (void)q;
    if (!argv[0] || argv[0][0] != '/' || n > QP_FD_MAP_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (pipe2(report, O_CLOEXEC) < 0)
        return -1;
    pid = fork_quietly();
    if (pid == 0)
        become(argv, map, n, dir, report[1]);
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
