#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/clock.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/process.h>

/* On the stack, whose pages cost a fault each the first time: most messages are small, and most programs
 * say nothing. */
#define BLOCK          16384
#define SAID_BLOCK     2048
#define SAID_AT_ONCE   512
#define LINE_MAX_SHOWN 200
#define LOOK_MS        100 /* between looks whether it has ended, where there is no pidfd_open(2) */

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- listening ---- */

/* What is there now, but not for ever: who talks without end does not stop the clock. Closes p->out at
 * its end. */
static void
listen_now(struct program *p)
{
    char block[SAID_BLOCK];

    for (int i = 0; i < SAID_AT_ONCE && p->out >= 0; i++) {
        ssize_t n = read(p->out, block, sizeof block);
        size_t room = PROGRAM_OUTPUT - p->n, keep = (size_t)n < room ? (size_t)n : room;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close_fd(&p->out);
            return;
        }
        memcpy(p->output + p->n, block, keep);
        p->n += keep;
    }
}

/* The time until then, as poll(2) wants it. */
static int
left(int64_t then)
{
    int64_t ms = then - qp_clock_ms();

    return ms <= 0 ? 0 : ms > 3600000 ? 3600000 : (int)ms;
}

/* ---- starting ---- */

void
program_adopt(
    struct program *p, pid_t pid, int out, const int reads[2], int64_t step_ms, int64_t total_ms)
{
    *p = (struct program){.pid = pid,
        .end = pidfd_open(pid, 0),
        .held = {reads[0], reads[1]},
        .in = -1,
        .out = out,
        .step_ms = step_ms};
    p->deadline = qp_clock_ms() + total_ms;
    if (out >= 0)
        fcntl(out, F_SETFL, O_NONBLOCK); /* ours alone: the program's end still blocks */
}

bool
program_start(
    struct qp *q, struct program *p, const char *const argv[], int input, int64_t timeout_ms)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, saved;
    pid_t pid = -1;

    if ((input >= 0 || pipe2(in, O_CLOEXEC) == 0) && pipe2(out, O_CLOEXEC) == 0) {
        const struct qp_fd_map map[] = {{input >= 0 ? input : in[0], 0}, {out[1], 1}, {out[1], 2}};

        pid = qp_process_start(q, argv, map, 3, NULL);
    }
    saved = errno;
    close_fd(&out[1]);
    if (pid < 0) {
        close_fd(&in[0]);
        close_fd(&in[1]);
        close_fd(&out[0]);
        errno = saved;
        return false;
    }
    program_adopt(p, pid, out[0], (int[]){in[0], -1}, timeout_ms, timeout_ms);
    p->in = in[1];
    if (p->in >= 0)
        fcntl(p->in, F_SETFL, O_NONBLOCK);
    return true;
}

/* ---- feeding ---- */

/* Without a pidfd; it stays to be collected. */
static bool
has_ended(const struct program *p)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != 0;
}

/* Until fd takes more; p->out is heard meanwhile. As we hold the other end of fd ourselves, the kernel
 * does not tell that nobody else does. false with errno */
static bool
wait_writable(struct program *p, int fd)
{
    int64_t step = qp_clock_ms() + p->step_ms, until = step < p->deadline ? step : p->deadline;

    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLOUT}, {.fd = p->out, .events = POLLIN},
            {.fd = p->end, .events = POLLIN}};
        int ms = left(until);
        int ready = poll(fds, 3, p->end < 0 && ms > LOOK_MS ? LOOK_MS : ms);

        if (ready < 0 && errno != EINTR)
            return false;
        if (ready > 0 && fds[1].revents)
            listen_now(p);
        if (ready > 0 && fds[0].revents)
            return true;
        if (p->end < 0 ? has_ended(p) : ready > 0 && fds[2].revents) {
            errno = EPIPE;
            return false;
        }
        if (left(until) == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

bool
program_write(struct program *p, int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);

        if (done > 0) {
            bytes += done;
            n -= (size_t)done;
        } else if ((errno != EAGAIN && errno != EINTR) || !wait_writable(p, fd))
            return false;
    }
    return true;
}

/* A whole block, as far as the message goes: its header and its body come in pieces of their own.
 * -1: it cannot be read */
static ptrdiff_t
read_block(struct qp *q, uint64_t at, char block[BLOCK])
{
    size_t have = 0;
    ptrdiff_t n = 1;

    while (n > 0 && have < BLOCK) {
        n = qp_message_read(q, at + have, block + have, BLOCK - have);
        if (n < 0)
            return -1;
        have += (size_t)n;
    }
    return (ptrdiff_t)have;
}

bool
program_write_message(struct qp *q, struct program *p, int fd)
{
    char block[BLOCK];
    uint64_t at = 0;
    ptrdiff_t n;

    while ((n = read_block(q, at, block)) > 0) {
        if (!program_write(p, fd, block, (size_t)n))
            return false;
        at += (uint64_t)n;
    }
    return n == 0;
}

/* ---- the end ---- */

/* What it leaves running may keep the pipe open: its own end counts, not that of its output. */
static void
listen_until_end(struct program *p)
{
    struct pollfd fds[] = {{.fd = p->end, .events = POLLIN}, {.events = POLLIN}};

    for (bool ended = false; !ended && left(p->deadline) > 0;) {
        fds[1].fd = p->out;
        if (fds[0].fd < 0 && p->out < 0)
            break; /* a kernel before 5.3: qp_process_wait() does the rest */
        if (poll(fds, 2, left(p->deadline)) < 0 && errno != EINTR)
            break;
        ended = fds[0].fd >= 0 && fds[0].revents;
        listen_now(p);
    }
}

/* What it has left in the pipes, now that it has ended; in doubt something. */
static size_t
count_unread(struct program *p)
{
    size_t sum = 0;

    for (size_t i = 0; i < sizeof p->held / sizeof *p->held; i++) {
        int n = 0;

        if (p->held[i] >= 0 && ioctl(p->held[i], FIONREAD, &n) < 0)
            n = 1;
        sum += (size_t)n;
        close_fd(&p->held[i]);
    }
    return sum;
}

int
program_end(struct qp *q, struct program *p)
{
    int status, saved;

    close_fd(&p->in);
    listen_until_end(p);
    status = qp_process_wait(q, p->pid, left(p->deadline));
    saved = errno;
    p->unread = count_unread(p);
    listen_now(p);
    close_fd(&p->out);
    close_fd(&p->end);
    errno = saved;
    return status;
}

int
program_kill(struct qp *q, struct program *p)
{
    kill(-p->pid, SIGKILL);
    return program_end(q, p);
}

const char *
program_line(struct qp *q, const struct program *p)
{
    const char *start = p->output, *end = p->output + p->n;
    char *line;
    size_t n;

    while (start < end && (unsigned char)*start <= ' ')
        start++;
    for (n = 0; start + n < end && n < LINE_MAX_SHOWN && start[n] != '\n' && start[n] != '\r'; n++)
        ;
    line = qp_alloc(q, QP_TRANSACTION, n + 1);
    for (size_t i = 0; i < n; i++)
        line[i] = (char)(start[i] < 0x20 || start[i] > 0x7e ? '?' : start[i]);
    return line;
}
