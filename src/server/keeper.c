#include "server/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/config.h"

#define ANSWER_MS 10000 /* a file on a dead NFS server must not stop the daemon for ever */

/* ---- descriptors over a socket ---- */

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

/* What was asked for goes back with the answer: an earlier one may still lie there, of somebody who
 * was killed before he read it. */
struct answer {
    int error; /* 0: a descriptor comes along */
    char path[PATH_MAX];
};

static void
send_answer(int socket, struct answer *a, int fd)
{
    union control control = {.room = {0}};
    struct iovec iov = {.iov_base = a, .iov_len = sizeof *a};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *c = &control.header;

        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    sendmsg(socket, &m, MSG_NOSIGNAL);
}

/* false: none came */
static bool
read_answer(int socket, struct answer *a, int *fd)
{
    union control control = {.room = {0}};
    struct iovec iov = {.iov_base = a, .iov_len = sizeof *a};
    struct msghdr m = {.msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof control.room};
    struct pollfd p = {.fd = socket, .events = POLLIN};
    struct cmsghdr *c;

    *fd = -1;
    if (poll(&p, 1, ANSWER_MS) != 1 || recvmsg(socket, &m, MSG_CMSG_CLOEXEC) != sizeof *a)
        return false;
    c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof *fd))
        memcpy(fd, CMSG_DATA(c), sizeof *fd);
    return true;
}

/* ---- what may be opened ---- */

static bool
only_root_writes(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* The first n bytes of path, "" being the root directory. */
static bool
is_roots(const char *path, size_t n, bool link, struct stat *st)
{
    char part[PATH_MAX];

    snprintf(part, sizeof part, "%.*s", n ? (int)n : 1, path);
    return (link ? lstat(part, st) : stat(part, st)) == 0 && st->st_uid == 0;
}

/* Is nobody but root able to put something else there, from the root directory down? In a directory like
 * /tmp others cannot replace what is root's. */
static bool
only_root_places(const char *path)
{
    struct stat st;

    for (const char *slash = path, *next; slash; slash = next) {
        next = strchr(slash + 1, '/');
        if (!is_roots(path, (size_t)(slash - path), false, &st))
            return false;
        if (st.st_mode & (S_IWGRP | S_IWOTH) &&
            !(st.st_mode & S_ISVTX && next && is_roots(path, (size_t)(next - path), true, &st)))
            return false;
    }
    return true;
}

/* Is it DIR/SUB/NAME, and are DIR and DIR/SUB root's? */
static bool
lies_in(const char *path, const char *dir, const char *sub)
{
    char prefix[PATH_MAX];
    int n = snprintf(prefix, sizeof prefix, "%s/%s/", dir, sub);

    return n > 0 && (size_t)n < sizeof prefix && strncmp(path, prefix, (size_t)n) == 0 &&
           path[n] != '.' && path[n] && !strchr(path + n, '/') && only_root_writes(dir) &&
           only_root_writes(prefix);
}

/* Is it a word of that line, as it is or below one of the directories? */
static bool
is_named(const char *path, const char *const dirs[], const struct qp_line *line)
{
    struct str rest = str_of(line->text);

    if (!only_root_writes(line->file))
        return false;
    for (struct str word = str_word(&rest); word.n; word = str_word(&rest)) {
        if (str_eq(word, str_of(path)))
            return true;
        for (size_t i = 0; dirs[i]; i++) {
            size_t n = strlen(dirs[i]);

            if (strncmp(path, dirs[i], n) == 0 && path[n] == '/' &&
                str_eq(word, str_of(path + n + 1)) && only_root_writes(dirs[i]))
                return true;
        }
    }
    return false;
}

static bool
is_allowed(const char *path, const char *const dirs[])
{
    struct config *config;
    struct config_value plugins = {0};
    struct err e;
    bool allowed = false;

    if (path[0] != '/' || strstr(path, "/../") || !only_root_places(path))
        return false;
    for (size_t i = 0; dirs[i]; i++)
        if (lies_in(path, dirs[i], "ssl") || lies_in(path, dirs[i], "tls_certs"))
            return true;
    config = config_open(dirs); /* read each time: SIGHUP may have brought another file */
    if (config_get(config, "plugins", &plugins, &e) == CONFIG_OK)
        for (size_t i = 0; i < plugins.n && !allowed; i++)
            allowed = is_named(path, dirs, &plugins.line[i]);
    config_close(&config);
    return allowed;
}

/* -1 with errno */
static int
open_allowed(const char *path, const char *const dirs[])
{
    char real[PATH_MAX];
    struct stat st;
    int fd = -1;

    if (is_allowed(path, dirs)) {
        if (!realpath(path, real))
            return -1;
        if (only_root_places(real))
            fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
        if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
            return fd;
        if (fd >= 0)
            close(fd);
    }
    errno = EACCES;
    return -1;
}

static void
serve_one(int socket, struct answer *a, const char *const dirs[])
{
    int fd = open_allowed(a->path, dirs);

    a->error = fd < 0 ? errno : 0;
    send_answer(socket, a, fd);
    if (fd >= 0)
        close(fd);
}

/* ---- the process ---- */

static void
keep(int socket, const char *const dirs[])
{
    struct answer a = {.error = 0};
    ssize_t n;

    /* It ends with the daemon, not with what ends the daemon. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_NAME, "qpsmtpd keeper");
    if (close_range(3, (unsigned)socket - 1, 0) < 0 ||
        close_range((unsigned)socket + 1, ~0U, 0) < 0)
        return;
    while ((n = recv(socket, a.path, sizeof a.path - 1, 0)) > 0) {
        a.path[n] = '\0';
        serve_one(socket, &a, dirs);
    }
}

bool
keeper_open(struct keeper *k, const char *const config_dirs[], struct err *e)
{
    int pair[2];
    pid_t pid;

    k->fd = -1;
    if (geteuid() != 0)
        return true;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(e, "socketpair");
    pid = fork();
    if (pid < 0) {
        err_sys(e, "fork");
        close(pair[0]);
        close(pair[1]);
        return false;
    }
    if (pid == 0) {
        close(pair[0]);
        keep(pair[1], config_dirs);
        _exit(0);
    }
    close(pair[1]);
    k->fd = pair[0];
    k->pid = pid;
    return true;
}

int
keeper_ask(void *data, const char *path)
{
    struct keeper *k = data;
    size_t n = strlen(path);
    struct answer a = {.error = EACCES};
    int fd = -1;

    if (k->fd >= 0 && n > 0 && n < PATH_MAX && send(k->fd, path, n, MSG_NOSIGNAL) == (ssize_t)n)
        while (read_answer(k->fd, &a, &fd) && strncmp(a.path, path, sizeof a.path) != 0) {
            if (fd >= 0)
                close(fd);
            a.error = EACCES;
        }
    k->used = k->used || fd >= 0;
    errno = fd >= 0 ? 0 : a.error;
    return fd;
}

void
keeper_end(struct keeper *k)
{
    if (k->fd < 0)
        return;
    keeper_leave(k);
    while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void
keeper_leave(struct keeper *k)
{
    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
}
