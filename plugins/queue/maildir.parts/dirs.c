#include "dirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
dirs_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return false;
    if (fsync(fd) < 0 && errno != EINVAL) /* a file system that has nothing to do here says that */
        error = errno;
    close(fd);
    errno = error;
    return error == 0;
}

/* path[0..n): the directory, when it is missing; those above it exist */
static bool
make_dir(const char *path, size_t n, mode_t mode)
{
    char text[PATH_MAX];

    if (n >= sizeof text) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(text, path, n);
    text[n] = '\0';
    if (mkdir(text, mode) < 0)
        return errno == EEXIST; /* were it a file, the next step would say so */
    if (chmod(text, mode) < 0)  /* what the umask took */
        return false;
    while (n > 1 && text[n - 1] != '/')
        n--;
    text[n] = '\0';
    return dirs_sync(text);
}

bool
dirs_make(const char *path, mode_t mode)
{
    for (size_t i = 1;; i++)
        if (path[i] == '/' || path[i] == '\0') {
            if (!make_dir(path, i, mode))
                return false;
            if (path[i] == '\0')
                return true;
        }
}

bool
dirs_make_maildir(const char *path, mode_t mode)
{
    /* new comes last: where it is, the others are */
    static const char *const parts[] = {"cur", "tmp", "new"};
    char part[PATH_MAX];

    if (!dirs_make(path, mode))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        int n = snprintf(part, sizeof part, "%s/%s", path, parts[i]);

        if (!make_dir(part, (size_t)n, mode))
            return false;
    }
    return true;
}
