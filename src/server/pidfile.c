#include "server/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is what the path names now the file that we hold? Its last owner may have unlinked it meanwhile.
 */
static bool
is_current(const struct pidfile *f)
{
    struct stat ours, there;

    return fstat(f->fd, &ours) == 0 && lstat(f->path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

static bool
somebody_lives(const struct pidfile *f, struct err *e)
{
    char text[32] = "";
    ssize_t n = pread(f->fd, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return err_set(e, "Found an already running qpsmtpd with pid %ld.", strtol(text, NULL, 10));
}

static bool
open_and_lock(struct pidfile *f, struct err *e)
{
    struct stat st;

    f->fd = open(f->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644);
    if (f->fd < 0)
        return err_sys(e, "pid file %s", f->path);
    if (fstat(f->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        err_set(e, "pid file %s: not a regular file", f->path);
        goto fail;
    }
    if (flock(f->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            somebody_lives(f, e);
        else
            err_sys(e, "lock pid file %s", f->path);
        goto fail;
    }
    return true;
fail:
    close(f->fd);
    f->fd = -1;
    return false;
}

bool
pidfile_open(struct pidfile *f, const char *path, struct err *e)
{
    *f = (struct pidfile){.path = path, .fd = -1};
    if (!path)
        return true;
    if (!open_and_lock(f, e))
        return false;
    while (!is_current(f)) {
        close(f->fd);
        if (!open_and_lock(f, e))
            return false;
    }
    if (fchmod(f->fd, 0644) == 0) /* our umask hides it from those who watch the daemon */
        return true;
    err_sys(e, "pid file %s", path);
    pidfile_leave(f);
    return false;
}

bool
pidfile_write(const struct pidfile *f, pid_t pid, struct err *e)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)pid);

    if (f->fd < 0)
        return true;
    if (ftruncate(f->fd, 0) == 0 && pwrite(f->fd, text, (size_t)n, 0) == n)
        return true;
    return err_sys(e, "write pid file %s", f->path);
}

void
pidfile_leave(struct pidfile *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

void
pidfile_remove(struct pidfile *f)
{
    if (f->fd < 0)
        return;
    if (!is_current(f) || unlink(f->path) < 0)
        if (ftruncate(f->fd, 0) < 0)
            (void)0; /* a stale number hinders nobody */
    pidfile_leave(f);
}
