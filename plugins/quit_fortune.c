/*
 * quit_fortune - say good-bye with a fortune cookie
 *
 *   plugins file: quit_fortune [path PROGRAM]    default /usr/games/fortune, run with -s
 *   hook quit:    221 with the cookie, for clients that said HELO; else QP_DECLINED
 *
 * r356. Programs say EHLO and read no replies to QUIT; who says HELO may be somebody at a keyboard.
 * Without the default program nothing happens; a PROGRAM that cannot be run refuses the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/clock.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/process.h>

#define LIMIT_MS   1000
#define LINES_MAX  24
#define COOKIE_MAX 4000

struct conf {
    const char *path; /* NULL: no cookies here */
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv, (const struct qp_arg[]){{"path", .text = &c->path}, {0}}))
        return false;
    if (c->path)
        return (c->path[0] == '/' || qp_fail(q, "path: %s is no absolute path", c->path)) &&
               (access(c->path, X_OK) == 0 ||
                   qp_fail(q, "path: cannot run %s: %s", c->path, strerror(errno)));
    if (access("/usr/games/fortune", X_OK) == 0)
        c->path = "/usr/games/fortune";
    else
        qp_log(q, QP_LOG_INFO, "no cookies without /usr/games/fortune");
    return true;
}

/* All that comes from fd before it ends or the time is over. */
static size_t
read_until(int fd, char *out, size_t room, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t n = 0;
    ssize_t got;

    while (n < room) {
        int64_t left = deadline - qp_clock_ms();

        if (left <= 0 || poll(&p, 1, (int)left) < 1)
            break;
        got = read(fd, out + n, room - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

/* Run the program; what it wrote, or "". */
static const char *
cookie(struct qp *q, const char *path)
{
    char *text = qp_alloc(q, QP_CONNECTION, COOKIE_MAX + 1);
    int64_t deadline = qp_clock_ms() + LIMIT_MS, left;
    int fds[2], status;
    size_t n = 0;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return "";
    pid = qp_process_start(q, (const char *const[]){path, "-s", NULL},
        (const struct qp_fd_map[]){{fds[1], 1}}, 1, NULL);
    close(fds[1]);
    if (pid > 0)
        n = read_until(fds[0], text, COOKIE_MAX, deadline);
    close(fds[0]);
    if (pid < 0)
        return "";
    left = deadline - qp_clock_ms();
    status = qp_process_wait(q, pid, left > 0 ? left : 0);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\0')
            text[i] = '\177'; /* not printable either, but not the end */
    return status == 0 ? text : "";
}

/* `  / line` for each line, printable ASCII only. false: there was nothing to say. */
static bool
respond(struct qp *q, const char *text)
{
    const char *reply = qp_printf(q, QP_CONNECTION, "%s closing connection.", qp_me(q));
    char line[COOKIE_MAX];
    int lines = 0;

    while (*text && lines < LINES_MAX) {
        size_t n = 0;

        for (; *text && *text != '\n'; text++) {
            if (*text == '\t')
                line[n++] = ' ';
            else if (*text >= ' ' && *text <= '~')
                line[n++] = *text;
        }
        text += *text == '\n';
        line[n < 490 ? n : 490] = '\0'; /* of the 512 of a reply's line, RFC 5321, 4.5.3.1.5 */
        reply = qp_printf(q, QP_CONNECTION, "%s\n  / %s", reply, line);
        lines++;
    }
    if (lines > 0)
        qp_respond(q, 221, "%s", reply);
    return lines > 0;
}

static enum qp_rc
on_quit(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!c->path || strcmp(qp_hello(q), "helo") != 0)
        return QP_DECLINED;
    return respond(q, cookie(q, c->path)) ? QP_DONE : QP_DECLINED;
}

QP_PLUGIN(.name = "quit_fortune", .init = on_init, .quit = on_quit);
