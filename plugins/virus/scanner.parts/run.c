#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/clock.h>
#include <qpsmtpd/process.h>

#define TOO_LONG "it took too long"

/* Until the program has closed its end; false: the time is over, or the pipe cannot be read. */
static bool
read_output(int fd, int64_t deadline, char *out)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char dropped[4096] = "";
    size_t n = 0;

    for (;;) {
        int64_t left = deadline - qp_clock_ms();
        bool full = n == OUTPUT_MAX;
        ssize_t got;

        if (left <= 0)
            return false;
        if (poll(&p, 1, (int)left) <= 0)
            continue;
        got = read(fd, full ? dropped : out + n, full ? sizeof dropped : OUTPUT_MAX - n);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return false;
        if (got > 0 && !full)
            n += (size_t)got;
    }
    for (char *nul; (nul = memchr(out, '\0', n));)
        *nul = '?';
    return true;
}

static int
failed(struct qp *q, const char **error, const char *what)
{
    *error = qp_printf(q, QP_TRANSACTION, "%s: %s", what, strerror(errno));
    return -1;
}

static int
ended(struct qp *q, pid_t pid, int64_t left, const char **error)
{
    int status = qp_process_wait(q, pid, left);

    if (status >= 0 && WIFEXITED(status))
        return WEXITSTATUS(status);
    if (status >= 0 && WIFSIGNALED(status))
        *error = qp_printf(q, QP_TRANSACTION, "it was killed by signal %d", WTERMSIG(status));
    else if (errno == ETIMEDOUT)
        *error = TOO_LONG;
    else
        return failed(q, error, "wait");
    return -1;
}

/* It may itself have ended long ago, and what it has started holds the pipe: the group has to go. */
static int
killed(struct qp *q, pid_t pid, const char **error)
{
    kill(-pid, SIGKILL);
    qp_process_wait(q, pid, 0);
    *error = TOO_LONG;
    return -1;
}

int
run(struct qp *q, const char *const argv[], int fd, int64_t timeout_ms, const char **output,
    const char **error)
{
    char *text = qp_alloc(q, QP_TRANSACTION, OUTPUT_MAX + 1);
    int64_t deadline = qp_clock_ms() + timeout_ms;
    struct qp_fd_map map[3];
    int ends[2], code = -1;
    pid_t pid;

    *output = text;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return failed(q, error, "pipe");
    map[0] = (struct qp_fd_map){ends[1], 1};
    map[1] = (struct qp_fd_map){ends[1], 2};
    map[2] = (struct qp_fd_map){fd, RUN_FILE};
    pid = qp_process_start(q, argv, map, fd >= 0 ? 3 : 2, NULL);
    if (pid < 0)
        failed(q, error, argv[0]);
    close(ends[1]);
    if (pid >= 0)
        code = read_output(ends[0], deadline, text) ? ended(q, pid, deadline - qp_clock_ms(), error)
                                                    : killed(q, pid, error);
    close(ends[0]);
    return code;
}
