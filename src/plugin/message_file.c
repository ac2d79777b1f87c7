/*
 * The message as a file for other programs: qp_message_file() of <qpsmtpd/body.h>.
 */
#include <qpsmtpd/body.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mail/message.h"
#include "plugin/instance.h"

#define NAME_TRIES 16

struct copy {
    int fd;
    const char *path; /* NULL: it has no name */
};

static void
forget(void *data)
{
    struct copy *c = data;

    if (c->path)
        unlink(c->path);
    if (c->fd >= 0)
        close(c->fd);
}

static int
dir_open(const struct message *m, const char *name)
{
    struct err error;
    int dir;

    if (name)
        return open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return message_spool_dir(m, &dir, &error) ? dir : -1;
}

/* Where a directory is now, without a slash at its end. */
static char *
dir_path(struct arena *a, int dir)
{
    char from[32], place[4096];
    ssize_t n;

    snprintf(from, sizeof from, "/proc/self/fd/%d", dir);
    n = readlink(from, place, sizeof place);
    if (n <= 0 || (size_t)n == sizeof place || place[0] != '/')
        return NULL;
    return arena_dup(a, (struct str){place, (size_t)n});
}

/* Nobody can have guessed the name, but it may exist: try again. */
static bool
create_named(struct copy *c, struct arena *a, int dir)
{
    const char *above = dir_path(a, dir);

    for (int attempt = 0; above && attempt < NAME_TRIES; attempt++) {
        uint64_t id;
        char *path;

        if (getrandom(&id, sizeof id, 0) != sizeof id)
            return false;
        path = arena_printf(
            a, "%s/message-%ld-%016llx", above, (long)getpid(), (unsigned long long)id);
        c->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (c->fd >= 0)
            c->path = path;
        if (c->fd >= 0 || errno != EEXIST)
            break;
    }
    return c->fd >= 0;
}

/* A file system without O_TMPFILE has names only: this one goes at once. */
static bool
create_nameless(struct copy *c, struct arena *a, int dir)
{
    c->fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);
    if (c->fd >= 0)
        return true;
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
        return false;
    if (!create_named(c, a, dir))
        return false;
    unlink(c->path);
    c->path = NULL;
    return true;
}

int
qp_message_file(struct qp *q, const char *dir, unsigned mode, const char **path)
{
    struct transaction *txn = q->context->txn;
    struct copy *c;
    bool made;
    int at;

    if (!txn || !txn->message) {
        errno = EINVAL;
        return -1;
    }
    c = arena_alloc(txn->arena, sizeof *c);
    c->fd = -1;
    arena_at_reset(txn->arena, forget, c);
    at = dir_open(txn->message, dir);
    if (at < 0)
        return -1;
    made = path ? create_named(c, txn->arena, at) : create_nameless(c, txn->arena, at);
    if (made && mode != 0600 && fchmod(c->fd, (mode_t)mode) < 0)
        made = false;
    made = made && message_write(txn->message, c->fd) && lseek(c->fd, 0, SEEK_SET) == 0;
    close(at); /* it leaves errno alone */
    if (path)
        *path = c->path;
    return made ? c->fd : -1;
}
