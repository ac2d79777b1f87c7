/*
 * fault_preload - LD_PRELOAD this, and a chosen system call of the program fails
 *
 * FAULT holds entries separated by ';', each CALL:WHAT:N:PATH
 *   CALL   open tmpfile (open with O_TMPFILE) write (writev, sendfile) pread fsync fchmod link rename mkdir pipe
 *          clone
 *   WHAT   EIO ENOSPC EOPNOTSUPP EXDEV EMLINK EAGAIN, or KILL: the process ends there as if by power loss.
 *          A write that fails with ENOSPC writes the half before
 *   N      the N-th call that matches; 0: each of them
 *   PATH   a part of the file's name, "" for any; of a descriptor, its name in /proc/self/fd
 * When a fault happens, the file FAULT_DONE gets a digit: which of the entries, from 0. Programs that are started see nothing of it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FAULTS 8

static struct fault {
    char call[16], path[200];
    int error; /* -1: SIGKILL */
    int n, seen;
} faults[FAULTS];
static size_t n_faults;
static char done[300];

static int
error_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EOPNOTSUPP", EOPNOTSUPP}, {"EXDEV", EXDEV},
        {"EMLINK", EMLINK}, {"EAGAIN", EAGAIN}, {"KILL", -1}};

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (strcmp(name, errors[i].name) == 0)
            return errors[i].error;
    abort();
}

__attribute__((constructor)) static void
begin(void)
{
    const char *text = getenv("FAULT"), *file = getenv("FAULT_DONE");
    char what[16];

    while (text && *text && n_faults < FAULTS) {
        struct fault *f = &faults[n_faults++];

        if (sscanf(text, "%15[^:]:%15[^:]:%d:%199[^;]", f->call, what, &f->n, f->path) < 3)
            abort();
        f->error = error_of(what);
        text += strcspn(text, ";");
        text += *text == ';';
    }
    snprintf(done, sizeof done, "%s", file ? file : "/dev/null");
    unsetenv("LD_PRELOAD");
    unsetenv("FAULT");
    unsetenv("FAULT_DONE");
}

/* Does this call fail? Then errno is set. */
static bool
fails(const char *call, const char *path)
{
    for (struct fault *f = faults; f < faults + n_faults; f++) {
        int fd;

        if (strcmp(f->call, call) != 0 || !strstr(path, f->path))
            continue;
        if (f->n != 0 && ++f->seen != f->n)
            continue;
        fd = (int)syscall(
            SYS_openat, AT_FDCWD, done, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            syscall(SYS_write, fd, &"01234567"[f - faults], 1);
            syscall(SYS_close, fd);
        }
        if (f->error < 0)
            raise(SIGKILL);
        errno = f->error;
        return true;
    }
    return false;
}

/* The name of a descriptor, as the kernel knows it. */
static const char *
name_of(int fd, char path[500])
{
    char link[40];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, 499);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

static bool
fails_fd(const char *call, int fd)
{
    char path[500];

    return n_faults > 0 && fails(call, name_of(fd, path));
}

/* At dir, which may be AT_FDCWD or not matter */
static bool
fails_at(const char *call, int dir, const char *path)
{
    char whole[1000], above[500];

    if (n_faults == 0)
        return false;
    if (path[0] == '/' || dir == AT_FDCWD)
        return fails(call, path);
    snprintf(whole, sizeof whole, "%s/%s", name_of(dir, above), path);
    return fails(call, whole);
}

/* ---- the calls, by their numbers: no library stands between ---- */

int
open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (flags & (O_CREAT | O_TMPFILE)) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    return openat(AT_FDCWD, path, flags, mode);
}

int
openat(int dir, const char *path, int flags, ...)
{
    mode_t mode = 0;
    va_list ap;

    if (flags & (O_CREAT | O_TMPFILE)) {
        va_start(ap, flags);
        mode = va_arg(ap, mode_t);
        va_end(ap);
    }
    if (fails_at((flags & O_TMPFILE) == O_TMPFILE ? "tmpfile" : "open", dir, path))
        return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

ssize_t
writev(int fd, const struct iovec *parts, int n)
{
    return fails_fd("write", fd) ? -1 : syscall(SYS_writev, fd, parts, n);
}

ssize_t
sendfile(int out, int in, off_t *at, size_t n)
{
    return fails_fd("write", out) ? -1 : syscall(SYS_sendfile, out, in, at, n);
}

ssize_t
write(int fd, const void *bytes, size_t n)
{
    if (!fails_fd("write", fd))
        return syscall(SYS_write, fd, bytes, n);
    if (errno == ENOSPC) {
        syscall(SYS_write, fd, bytes, n / 2);
        errno = ENOSPC;
    }
    return -1;
}

ssize_t
pread(int fd, void *bytes, size_t n, off_t at)
{
    return fails_fd("pread", fd) ? -1 : syscall(SYS_pread64, fd, bytes, n, at);
}

int
fsync(int fd)
{
    return fails_fd("fsync", fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int
fchmod(int fd, mode_t mode)
{
    return fails_fd("fchmod", fd) ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return fails("link", to) ? -1 : (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int
link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
rename(const char *from, const char *to)
{
    return fails("rename", to) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
mkdir(const char *path, mode_t mode)
{
    return fails("mkdir", path) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int
pipe2(int fds[2], int flags)
{
    return fails("pipe", "") ? -1 : (int)syscall(SYS_pipe2, fds, flags);
}

/* Only the library knows how the child gets onto its stack; ISO C knows no way from a pointer to a function
 * but this. */
int
clone(int (*run)(void *), void *stack, int flags, void *data, ...)
{
    union {
        void *symbol;
        int (*call)(int (*)(void *), void *, int, void *, ...);
    } next = {.symbol = dlsym(RTLD_NEXT, "clone")};

    return fails("clone", "") ? -1 : next.call(run, stack, flags, data);
}
