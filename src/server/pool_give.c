#include "server/pool_give.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/pool.h"

#define READY_MS 1000 /* for a free child; a new one is forked faster than that */

/* Process-wide, for the signal handler. */
static struct {
    volatile sig_atomic_t given; /* the connection over which it was; -1: not yet */
    volatile sig_atomic_t asked;
} term = {.given = -1};

static void
on_term(int number)
{
    int error = errno;

    (void)number;
    term.asked = 1;
    if (term.given >= 0 &&
        send(term.given, &(char){POOL_TERM}, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        term.given = -1; /* the session has ended by itself */
    errno = error;
}

/* The greeting and the variables, one NUL-terminated text after the other; 0: too much of them. */
static size_t
write_message(char out[POOL_MESSAGE_MAX])
{
    size_t used = sizeof POOL_GREETING;

    memcpy(out, POOL_GREETING, used);
    for (char *const *variable = environ; *variable; variable++) {
        size_t n = strlen(*variable) + 1;

        if (n > POOL_MESSAGE_MAX - used)
            return 0;
        memcpy(out + used, *variable, n);
        used += n;
    }
    return used;
}

/* Root trusts whom it has given the socket's directory to, besides itself. */
static bool
trusts(const char *path, uid_t user)
{
    char dir[POOL_PATH_MAX + 1] = ".";
    const char *slash = strrchr(path, '/');
    struct stat st;

    if (user == 0 || user == geteuid())
        return true;
    if (geteuid() != 0)
        return false;
    if (slash) {
        memcpy(dir, path, (size_t)(slash - path) + 1);
        dir[slash - path + 1] = '\0';
    }
    return stat(dir, &st) == 0 && st.st_uid == user;
}

/* A child says that it waits for us. */
static bool
await_ready(int fd, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte = 0;
    ssize_t n;

    if (poll(&p, 1, READY_MS) == 0)
        return err_set(e, "no process of the pool is free");
    n = recv(fd, &byte, 1, MSG_DONTWAIT);
    if (n < 0)
        return err_sys(e, "asking the pool");
    return (n == 1 && byte == POOL_READY) ||
           err_set(e, n == 0 ? "the pool has hung up" : "the pool is of another version");
}

static bool
send_all(int fd, const char *message, size_t n, struct err *e)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr aligned;
    } beside = {.bytes = {0}};
    struct iovec text = {.iov_len = n};
    struct msghdr m = {.msg_iov = &text,
        .msg_iovlen = 1,
        .msg_control = beside.bytes,
        .msg_controllen = sizeof beside.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&m);

    memcpy(&text.iov_base, &message, sizeof message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(header), (const int[]){0, 1}, 2 * sizeof(int));
    return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)n || err_sys(e, "giving to the pool");
}

/* Until this succeeds nothing has been given: a signal to end does what it did before. */
static bool
give(int fd, const char *message, size_t n, struct err *e)
{
    struct sigaction sa = {.sa_handler = on_term, .sa_flags = SA_RESTART}, before;

    sigaction(SIGTERM, &sa, &before);
    if (send_all(fd, message, n, e)) {
        term.given = fd;
        if (term.asked)
            on_term(SIGTERM);
        return true;
    }
    sigaction(SIGTERM, &before, NULL);
    if (term.asked)
        raise(SIGTERM);
    return false;
}

/* The child alone holds the connection now: it ends when the child closes it. */
static int
stay(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    unsigned char status;
    ssize_t n;

    close(0);
    close(1);
    do {
        poll(&p, 1, -1);
        n = recv(fd, &status, 1, MSG_DONTWAIT);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    return n == 1 ? status : 1;
}

static int
find_child(const char *path, struct err *e)
{
    int fd = pool_connect(path);
    uid_t user;

    if (fd < 0) {
        err_sys(e, "asking the pool");
        return -1;
    }
    if (!pool_user(fd, &user))
        err_sys(e, "asking the pool");
    else if (!trusts(path, user))
        err_set(e, "the pool belongs to user %u", (unsigned)user);
    else if (await_ready(fd, e))
        return fd;
    close(fd);
    return -1;
}

int
pool_give(const char *path, struct err *e)
{
    static char message[POOL_MESSAGE_MAX]; /* static: what is not used of it is no memory */
    size_t n = write_message(message);
    int fd;

    if (n == 0) {
        err_set(e, "more than %d bytes of variables", POOL_MESSAGE_MAX);
        return -1;
    }
    fd = find_child(path, e);
    if (fd < 0)
        return -1;
    if (give(fd, message, n, e))
        return stay(fd);
    close(fd);
    return -1;
}
