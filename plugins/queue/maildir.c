/*
 * queue/maildir - put the message into a maildir, safely on disk before anybody is told so
 *
 *   plugins file: queue/maildir DIR [PATTERN] [MODE] [link 0|1]
 *     DIR         the maildir; a relative name starts at the working directory
 *     PATTERN     one maildir below DIR for each recipient, made when needed: %l local part, %d domain
 *                 in lower case, %u both with @; bytes other than -A-Za-z0-9+_.,@= become _
 *     MODE        three octal digits for directories; files get it without x; default 700
 *     link 1      several maildirs share one file, which names no recipient (default)
 *     link 0      each has a file of its own, which names those whose maildir it is
 *   hook queue:   QP_OK "Queued! <message-id>"
 *                 451 "queue error (open)", (write), (link): no maildir has a copy
 *                 554 "mailbox name not allowed (#5.1.3)": PATTERN makes no safe name of a recipient
 * Sources: r356, 1.00, https://cr.yp.to/proto/maildir.html
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>

#include "maildir.parts/dirs.h"
#include "maildir.parts/pattern.h"

#define NAME_TRIES 10
#define OPEN_FILES 64 /* of one message: descriptors are not only ours */
#define NOBODY     SIZE_MAX

struct conf {
    const char *dir;     /* absolute, no slash at the end */
    const char *pattern; /* NULL: one maildir for everybody */
    const char *host;    /* as names of files show it */
    mode_t mode;         /* of directories */
    bool link;
};

/* The message, written and on disk, but in no `new` yet. */
struct file {
    int fd;            /* -1: closed */
    const char *tmp;   /* its path; NULL: it has no name (O_TMPFILE), fd is its only handle */
    const char *start; /* of its name: 1105927468.M20046P2137Q1 */
    const char *name;  /* of the links to it */
    dev_t device;
};

/* One maildir that gets the message. */
struct copy {
    const char *dir;
    struct file *file;
    const char *new; /* path of the link; NULL: there is none */
};

struct delivery {
    const struct conf *conf;
    struct copy *copies;
    struct file *files; /* as much room as there are copies */
    size_t n, n_files;
    size_t *copy_of;    /* by recipient: which of copies is theirs */
    const char *failed; /* the step */
    int error;          /* its errno */
};

static bool
fail(struct delivery *d, const char *step)
{
    d->failed = step;
    d->error = errno;
    return false;
}

static bool
make_configured(const struct conf *c)
{
    return c->pattern ? dirs_make(c->dir, c->mode) : dirs_make_maildir(c->dir, c->mode);
}

/* ---- a file on its way ---- */

/* The path that a file without a name can be linked from; false where there is no /proc. */
static bool
fd_path(int fd, char path[40])
{
    snprintf(path, 40, "/proc/self/fd/%d", fd);
    return access(path, F_OK) == 0;
}

/* Nobody else has such a start now; with the inode behind it, nobody has such a name. */
static const char *
new_start(struct qp *q)
{
    unsigned *count = qp_state(q, QP_CONNECTION, sizeof *count);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return qp_printf(q, QP_TRANSACTION, "%lld.M%ldP%ldQ%u", (long long)now.tv_sec,
        now.tv_nsec / 1000, (long)getpid(), ++*count);
}

/* dir/tmp/START.HOST */
static int
open_named(struct qp *q, const struct conf *c, const char *dir, struct file *f)
{
    int fd = -1;

    for (int i = 0; i < NAME_TRIES; i++) {
        const char *path;

        f->start = new_start(q);
        path = qp_printf(q, QP_TRANSACTION, "%s/tmp/%s.%s", dir, f->start, c->host);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0)
            f->tmp = path;
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

/*
 * A file without a name needs no unlink, and a crash leaves nothing of it: on ext4, with eight
 * sessions at once, that is a third more messages than with a name in tmp. Not every file system
 * has such files.
 */
static int
open_unnamed(struct qp *q, const char *dir, struct file *f)
{
    const char *tmp = qp_printf(q, QP_TRANSACTION, "%s/tmp", dir);
    int fd = open(tmp, O_TMPFILE | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    char path[40];

    if (fd >= 0 && !fd_path(fd, path)) {
        close(fd);
        fd = -1;
        errno = EOPNOTSUPP;
    }
    f->start = new_start(q);
    return fd;
}

static int
open_file(struct qp *q, const struct delivery *d, const char *dir, struct file *f)
{
    int fd = d->n_files < OPEN_FILES ? open_unnamed(q, dir, f) : (errno = EOPNOTSUPP, -1);

    /* EISDIR is how O_TMPFILE fails where the kernel has never heard of it. */
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    return open_named(q, d->conf, dir, f);
}

static bool
write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno != EINTR)
            return false;
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return true;
}

/* What stands above the message. owner: whose recipients it names, an index into copies or NOBODY */
static bool
write_head(struct qp *q, const struct delivery *d, size_t owner, int fd)
{
    const char *sender = qp_sender(q)->format;
    size_t room = sizeof "Return-Path: \n" + strlen(sender), n;
    char *head;

    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        if (d->copy_of[i] == owner)
            room += sizeof "Delivered-To: \n" + strlen(qp_rcpt(q, i)->address);
    head = qp_alloc(q, QP_TRANSACTION, room);
    n = (size_t)snprintf(head, room, "Return-Path: %s\n", sender);
    for (size_t i = qp_rcpt_count(q); i-- > 0;) /* the last one on top, as r356 */
        if (d->copy_of[i] == owner)
            n += (size_t)snprintf(head + n, room - n, "Delivered-To: %s\n", qp_rcpt(q, i)->address);
    return write_all(fd, head, n);
}

/*
 * The size comes last in the name, although the maildir page puts nothing behind the host:
 * Maildir++ and Dovecot read the number up to a comma, a colon or the end.
 */
static bool
finish_file(struct qp *q, const struct conf *c, struct file *f)
{
    struct stat st;

    if (fchmod(f->fd, c->mode & 0666) < 0 || fsync(f->fd) < 0 || fstat(f->fd, &st) < 0)
        return false;
    f->device = st.st_dev;
    f->name = qp_printf(q, QP_TRANSACTION, "%sV%llxI%llx.%s,S=%llu", f->start,
        (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, c->host,
        (unsigned long long)st.st_size);
    return true;
}

/* One more file, in the maildir of that copy. */
static bool
write_file(struct qp *q, struct delivery *d, size_t copy)
{
    const char *dir = d->copies[copy].dir;
    struct file *f = &d->files[d->n_files];

    f->fd = open_file(q, d, dir, f);
    if (f->fd < 0 && errno == ENOENT && dirs_make_maildir(dir, d->conf->mode))
        f->fd = open_file(q, d, dir, f);
    if (f->fd < 0)
        return fail(d, "open");
    d->n_files++; /* from now on remove_files() knows of it */
    if (!write_head(q, d, d->n > 1 && d->conf->link ? NOBODY : copy, f->fd) ||
        !qp_message_write(q, f->fd) || !finish_file(q, d->conf, f))
        return fail(d, "write");
    d->copies[copy].file = f;
    if (f->tmp) {
        close(f->fd); /* fsync(2) has told all that could be told */
        f->fd = -1;
    }
    return true;
}

static void
remove_files(struct delivery *d)
{
    for (struct file *f = d->files; f < d->files + d->n_files; f++) {
        if (f->fd >= 0)
            close(f->fd);
        if (f->tmp)
            unlink(f->tmp);
    }
}

/* ---- all copies: first everything that can fail for want of room, then the links ---- */

static const char *
new_of(struct qp *q, const struct copy *copy)
{
    return qp_printf(q, QP_TRANSACTION, "%s/new", copy->dir);
}

/* The file that this maildir can share. NULL: none is on its file system, or nobody shall share. */
static struct file *
shared_file(struct qp *q, struct delivery *d, const struct copy *copy)
{
    struct stat st;

    if (!d->conf->link || d->n_files == 0)
        return NULL;
    if (stat(new_of(q, copy), &st) < 0 &&
        (!dirs_make_maildir(copy->dir, d->conf->mode) || stat(new_of(q, copy), &st) < 0))
        return NULL; /* writing there will tell what is wrong */
    for (size_t i = 0; i < d->n_files; i++)
        if (d->files[i].device == st.st_dev)
            return &d->files[i];
    return NULL;
}

static bool
link_copy(struct qp *q, struct copy *copy)
{
    const char *new = qp_printf(q, QP_TRANSACTION, "%s/new/%s", copy->dir, copy->file->name);
    char from[40];

    if (copy->file->tmp ? link(copy->file->tmp, new) < 0
                        : !fd_path(copy->file->fd, from) ||
                              linkat(AT_FDCWD, from, AT_FDCWD, new, AT_SYMLINK_FOLLOW) < 0)
        return false;
    copy->new = new;
    return true;
}

static bool
place(struct qp *q, struct delivery *d, size_t i)
{
    struct copy *copy = &d->copies[i];

    if (link_copy(q, copy))
        return true;
    if (errno == ENOENT && dirs_make_maildir(copy->dir, d->conf->mode) && link_copy(q, copy))
        return true;
    /* A device that is mounted twice, or more links than a file may have. */
    if (d->n > 1 && d->n_files < d->n && (errno == EXDEV || errno == EMLINK))
        return write_file(q, d, i) && (link_copy(q, copy) || fail(d, "link"));
    return fail(d, "link");
}

static bool
deliver(struct qp *q, struct delivery *d)
{
    for (size_t i = 0; i < d->n; i++) {
        d->copies[i].file = shared_file(q, d, &d->copies[i]);
        if (!d->copies[i].file && !write_file(q, d, i))
            return false;
    }
    for (size_t i = 0; i < d->n; i++)
        if (!place(q, d, i))
            return false;
    for (size_t i = 0; i < d->n; i++)
        if (!dirs_sync(new_of(q, &d->copies[i])))
            return fail(d, "link");
    return true;
}

static void
take_back(struct delivery *d)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->copies[i].new)
            unlink(d->copies[i].new);
}

/* The copy that goes to dir, a new one if need be. */
static size_t
copy_to(struct delivery *d, const char *dir)
{
    size_t i = 0;

    while (i < d->n && strcmp(d->copies[i].dir, dir) != 0)
        i++;
    if (i == d->n)
        d->copies[d->n++].dir = dir;
    return i;
}

/* Who gets a copy, and where. NULL: all have a place, else the recipient that has none. */
static const struct qp_address *
plan(struct qp *q, const struct conf *c, struct delivery *d)
{
    size_t all = qp_rcpt_count(q);
    struct pattern_text below;

    d->conf = c;
    d->copies = qp_alloc(q, QP_TRANSACTION, all * sizeof *d->copies);
    d->files = qp_alloc(q, QP_TRANSACTION, all * sizeof *d->files);
    d->copy_of = qp_alloc(q, QP_TRANSACTION, all * sizeof *d->copy_of);
    for (size_t i = 0; i < all; i++) {
        const struct qp_address *to = qp_rcpt(q, i);
        const char *dir = c->dir;

        if (c->pattern) {
            /* <postmaster> */
            if (!pattern_expand(&below, c->pattern, to->user, to->host[0] ? to->host : qp_me(q)))
                return to;
            dir = qp_printf(q, QP_TRANSACTION, "%s/%s", c->dir, below.p);
        }
        d->copy_of[i] = copy_to(d, dir);
    }
    return NULL;
}

/* ---- handlers ---- */

/* A slash would end the name, a colon begins the flags: the maildir page's way to write them. */
static const char *
host_name(struct qp *q)
{
    char name[HOST_NAME_MAX + 1] = "", out[4 * sizeof name];
    size_t n = 0;

    gethostname(name, sizeof name - 1);
    for (const char *p = name[0] ? name : "localhost"; *p; p++) {
        if (*p == '/' || *p == ':')
            n += (size_t)snprintf(out + n, sizeof out - n, "\\%03o", (unsigned)*p);
        else
            out[n++] = *p;
    }
    out[n] = '\0';
    return qp_strdup(q, QP_INSTANCE, out);
}

static const char *
absolute(struct qp *q, const char *dir)
{
    char cwd[PATH_MAX] = "";
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (dir[0] == '/' || !getcwd(cwd, sizeof cwd))
        return qp_printf(q, QP_INSTANCE, "%.*s", (int)n, dir);
    return qp_printf(q, QP_INSTANCE, "%s/%.*s", cwd, (int)n, dir);
}

static bool
is_mode(const char *word)
{
    return strlen(word) == 3 && strspn(word, "01234567") == 3;
}

static bool
read_pattern(struct qp *q, struct conf *c, const char *pattern)
{
    struct pattern_text trial;

    if (!strchr(pattern, '%'))
        return qp_fail(
            q, "pattern %s names one directory for everybody: use %%l, %%d or %%u in it", pattern);
    if (!pattern_expand(&trial, pattern, "user", "example.org"))
        return qp_fail(q,
            "pattern %s: only %%l, %%d and %%u have a meaning, and no component may be empty, . or "
            "..",
            pattern);
    c->pattern = pattern;
    return true;
}

static bool
read_mode(struct qp *q, struct conf *c, const char *mode)
{
    if (!is_mode(mode) || mode[0] != '7')
        return qp_fail(
            q, "mode %s: want three octal digits, the first one 7, such as 700 or 770", mode);
    c->mode = (mode_t)strtoul(mode, NULL, 8);
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *dir = NULL, *pattern = NULL, *mode = NULL;

    c->link = true;
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "dir", .positional = true, .required = true, .text = &dir},
                {.name = "pattern", .positional = true, .text = &pattern},
                {.name = "mode", .positional = true, .text = &mode},
                {.name = "link", .flag = &c->link}, {0}}))
        return false;
    if (strchr(dir, '%'))
        return qp_fail(q, "%s: the pattern is the second word, below a directory", dir);
    if (pattern && !mode && is_mode(pattern)) {
        mode = pattern;
        pattern = NULL;
    }
    if ((pattern && !read_pattern(q, c, pattern)) || !read_mode(q, c, mode ? mode : "700"))
        return false;
    c->dir = absolute(q, dir);
    c->host = host_name(q);
    qp_instance_set(q, c);
    /* What root made now would not be the user's whom we become later: child_init does it then. */
    if (geteuid() != 0 && !make_configured(c))
        return qp_fail(q, "cannot make the maildir %s: %s", c->dir, strerror(errno));
    return true;
}

static void
on_child_init(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!make_configured(c))
        qp_log(q, QP_LOG_ERROR, "cannot make the maildir dir=%s error=\"%s\"", c->dir,
            strerror(errno));
}

static enum qp_rc
on_queue(struct qp *q)
{
    const char *id = qp_message_id(q);
    const struct qp_address *nowhere;
    struct delivery d = {0};
    bool done;

    nowhere = plan(q, qp_instance(q), &d);
    if (nowhere) {
        qp_log(q, QP_LOG_NOTICE, "no safe directory for recipient=%s", nowhere->format);
        return qp_deny(q, "mailbox name not allowed (#5.1.3)");
    }
    done = deliver(q, &d);
    if (!done)
        take_back(&d);
    remove_files(&d);
    if (!done) {
        qp_log(q, QP_LOG_ERROR, "not delivered dir=%s step=%s error=\"%s\"", d.conf->dir, d.failed,
            strerror(d.error));
        return qp_denysoft(q, "queue error (%s)", d.failed);
    }
    qp_log(q, QP_LOG_NOTICE, "queued copies=%zu files=%zu id=%s", d.n, d.n_files, id);
    return qp_ok(q, "Queued!%s%s", *id ? " " : "", id);
}

QP_PLUGIN(.name = "queue/maildir", .init = on_init, .child_init = on_child_init, .queue = on_queue);
