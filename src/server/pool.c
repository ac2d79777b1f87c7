#include "server/pool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_TRIES 40
#define LOCK_PAUSE 50 /* ms */

static bool
address_of(const char *path, struct sockaddr_un *out)
{
    size_t n = strlen(path);

    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    static_assert(sizeof out->sun_path == POOL_PATH_MAX + 1, "it fits with its NUL");
    if (n == 0 || n > POOL_PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(out->sun_path, path, n);
    return true;
}

int
pool_connect(const char *path)
{
    struct sockaddr_un sa;
    int fd, error;

    if (!address_of(path, &sa))
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

bool
pool_user(int fd, uid_t *out)
{
    struct ucred other;
    socklen_t len = sizeof other;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &other, &len) < 0)
        return false;
    *out = other.uid;
    return true;
}

/* ---- the daemon ---- */

/* Two daemons that start must not take each other's new socket for an old one. Closing unlocks. */
static int
lock_directory(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char dir[POOL_PATH_MAX + 1] = ".";
    int fd;

    if (slash)
        snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        poll(NULL, 0, LOCK_PAUSE);
    }
    err_sys(e, "--pool %s: directory %s", path, dir);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* The name is taken. Away with it, if it is a socket of a daemon that is gone. */
static bool
clear_stale(const char *path, struct err *e)
{
    struct stat st;
    int fd;

    if (lstat(path, &st) < 0)
        return err_sys(e, "--pool %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, "--pool %s: there is something that is no socket", path);
    fd = pool_connect(path);
    if (fd >= 0 || errno != ECONNREFUSED) {
        if (fd < 0 && errno != EAGAIN)
            return err_sys(e, "--pool %s", path);
        if (fd >= 0)
            close(fd);
        return err_set(e, "--pool %s: another daemon serves there", path);
    }
    return unlink(path) == 0 || err_sys(e, "--pool %s: remove the old socket", path);
}

static bool
bind_private(int fd, const struct sockaddr_un *sa)
{
    mode_t before = umask(0177);
    bool good = bind(fd, (const struct sockaddr *)sa, sizeof *sa) == 0;
    int error = errno;

    umask(before);
    errno = error;
    return good;
}

static bool
make_socket(struct pool *p, int fd, const struct sockaddr_un *sa, struct err *e)
{
    bool bound = bind_private(fd, sa);

    if (!bound && errno == EADDRINUSE) {
        if (!clear_stale(p->path, e))
            return false;
        bound = bind_private(fd, sa);
    }
    return (bound && listen(fd, SOMAXCONN) == 0 && lstat(p->path, &p->seen) == 0) ||
           err_sys(e, "--pool %s", p->path);
}

bool
pool_listen(struct pool *p, const char *path, int *fd, struct err *e)
{
    struct sockaddr_un sa;
    int lock, made;

    *p = (struct pool){.path = path};
    if (!address_of(path, &sa))
        return err_sys(e, "--pool %s", path);
    lock = lock_directory(path, e);
    if (lock < 0)
        return false;
    made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (made < 0) {
        err_sys(e, "--pool %s", path);
    } else if (!make_socket(p, made, &sa, e)) {
        close(made);
        made = -1;
    }
    close(lock);
    *fd = made;
    return made >= 0;
}

void
pool_remove(const struct pool *p)
{
    struct stat now;

    if (lstat(p->path, &now) == 0 && now.st_dev == p->seen.st_dev && now.st_ino == p->seen.st_ino)
        unlink(p->path);
}
