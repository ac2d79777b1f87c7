#include "server/pool_take.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/pool.h"

#define MESSAGE_MS 1000 /* it comes at once; who is that slow was stopped */
#define FDS_MAX    8    /* room for more than there may be, so that they can be closed */

/* ---- while the session runs ---- */

/* Process-wide, for the signal handler. */
static struct {
    volatile sig_atomic_t control, in, out;
} held = {-1, -1, -1};

static void
cut_one(int fd)
{
    int null;

    if (shutdown(fd, SHUT_RDWR) == 0 || errno != ENOTSOCK)
        return;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup3(null, fd, O_CLOEXEC);
        close(null);
    }
}

/* What has qpsmtpd to say? Async-signal-safe. */
static void
listen_to_giver(void)
{
    char byte = 0;
    ssize_t n = recv(held.control, &byte, 1, MSG_DONTWAIT);

    if (n == 1 && byte == POOL_TERM)
        raise(SIGTERM);
    if (n == 1 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    cut_one(held.in);
    cut_one(held.out);
}

static void
on_io(int number)
{
    int error = errno;

    (void)number;
    if (held.control >= 0)
        listen_to_giver();
    errno = error;
}

/* From now on the kernel tells; what came before is asked for. */
static bool
hold(const struct pool_session *p)
{
    struct sigaction sa = {.sa_handler = on_io, .sa_flags = SA_RESTART};

    held.in = p->in;
    held.out = p->out;
    held.control = p->control;
    sigemptyset(&sa.sa_mask);
    if (sigaction(SIGIO, &sa, NULL) < 0 || fcntl(p->control, F_SETOWN, getpid()) < 0 ||
        fcntl(p->control, F_SETFL, O_ASYNC | O_NONBLOCK) < 0)
        return false;
    listen_to_giver();
    return true;
}

/* ---- taking ---- */

static bool
may_give(int control)
{
    uid_t user;

    if (!pool_user(control, &user)) {
        log_at(LOG_LEVEL_ERROR, "pool: %s", strerror(errno));
        return false;
    }
    if (user == 0 || user == geteuid())
        return true;
    log_at(LOG_LEVEL_WARN, "pool: user %u may hand over nothing", (unsigned)user);
    return false;
}

/* The length of the message that has come; 0: none comes, it was only looked whether we live. */
static size_t
await_message(int control)
{
    int64_t deadline = clock_ms() + MESSAGE_MS;
    struct pollfd p = {.fd = control, .events = POLLIN};
    ssize_t n;

    do
        n = poll(&p, 1, clock_left(deadline));
    while (n < 0 && errno == EINTR);
    n = n > 0 ? recv(control, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT) : 0;
    return n > 0 ? (size_t)n : 0;
}

/* The descriptors beside the message. */
static size_t
find_fds(struct msghdr *m, int fds[FDS_MAX])
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        size_t bytes = c->cmsg_len - CMSG_LEN(0);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
            bytes > (FDS_MAX - n) * sizeof *fds)
            continue;
        memcpy(fds + n, CMSG_DATA(c), bytes);
        n += bytes / sizeof *fds;
    }
    return n;
}

static bool
receive(int control, char *message, size_t n, int fds[2])
{
    union {
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr aligned;
    } beside;
    struct iovec text = {.iov_base = message, .iov_len = n};
    struct msghdr m = {.msg_iov = &text,
        .msg_iovlen = 1,
        .msg_control = beside.bytes,
        .msg_controllen = sizeof beside.bytes};
    int came[FDS_MAX];
    ssize_t got = recvmsg(control, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    size_t came_n = got < 0 ? 0 : find_fds(&m, came);

    if (came_n == 2 && got == (ssize_t)n && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
        n >= sizeof POOL_GREETING && message[n - 1] == '\0' &&
        memcmp(message, POOL_GREETING, sizeof POOL_GREETING) == 0) {
        memcpy(fds, came, 2 * sizeof *fds);
        return true;
    }
    while (came_n > 0)
        close(came[--came_n]);
    log_at(LOG_LEVEL_WARN, "pool: what was handed over is no session");
    return false;
}

/* NAME=value NUL, again and again; texts stay where they are */
static const char *const *
list_variables(struct arena *a, const char *text, size_t n)
{
    const char **list;
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += text[i] == '\0';
    list = arena_alloc(a, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++, text += strlen(text) + 1)
        list[i] = text;
    return (const char *const *)list;
}

static bool
take_message(struct pool_session *p)
{
    size_t n = await_message(p->control), greeting = sizeof POOL_GREETING;
    int fds[2];
    char *message;

    if (n == 0)
        return false;
    if (n > POOL_MESSAGE_MAX)
        n = 1; /* cut: it is refused */
    message = arena_alloc(p->arena, n);
    if (!receive(p->control, message, n, fds))
        return false;
    p->in = fds[0];
    p->out = fds[1];
    p->env = list_variables(p->arena, message + greeting, n - greeting);
    return true;
}

bool
pool_take(int control, struct pool_session *out)
{
    *out = (struct pool_session){.in = -1, .out = -1, .control = control};
    if (!may_give(control) ||
        send(control, &(char){POOL_READY}, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) {
        close(control);
        return false;
    }
    out->arena = arena_open("pool");
    if (take_message(out) && hold(out))
        return true;
    pool_end(out, 1);
    return false;
}

void
pool_end(struct pool_session *p, int status)
{
    unsigned char byte = (unsigned char)status;

    held.control = -1; /* first: from here on nothing is cut, which could be somebody else's */
    if (p->in >= 0)
        close(p->in);
    if (p->out >= 0)
        close(p->out);
    arena_close(&p->arena);
    if (send(p->control, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_at(LOG_LEVEL_DEBUG, "pool: qpsmtpd has not waited");
    close(p->control);
}
