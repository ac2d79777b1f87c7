/*
 * queue/maildir - put the message into a maildir, safely on disk before anybody is told so
 *
 *   plugins file: queue/maildir DIR [PATTERN] [MODE]
 *     DIR         the maildir; a relative name starts at the working directory
 *     PATTERN     one maildir below DIR for each recipient, made when needed: %l local part, %d
 * domain in lower case, %u both with @; bytes other than -A-Za-z0-9+_.,@= become _ MODE three octal
 * digits for directories; files get it without x; default 700 hook queue:   QP_OK "Queued!
 * <message-id>" 451 "queue error (open)", (write), (close), (link): no maildir has a copy 554
 * "mailbox name not allowed (#5.1.3)": PATTERN makes no safe name of a recipient Sources:
 * r356, 1.00, https://cr.yp.to/proto/maildir.html
 */
#include <ctype.h>
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

#define NAME_TRIES 10

struct conf {
    const char *dir;     /* absolute, no slash at the end */
    const char *pattern; /* NULL: one maildir for everybody */
    const char *host;    /* as names of files show it */
    mode_t mode;         /* of directories */
};

/* One file on its way: written below tmp, then linked into new. */
struct copy {
    const char *dir;   /* the maildir */
    size_t first, n;   /* for these recipients */
    const char *start; /* of its name: 1105927468.M20046P2137Q1 */
    const char *tmp;   /* path; NULL: not there */
    const char *new;   /* path */
    bool linked;
};

struct delivery {
    const struct conf *conf;
    struct copy *copies;
    size_t n;
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

/* ---- directories ---- */

/* A name is safe in its directory only when the directory is on disk, too (fsync(2)). */
static bool
sync_dir(const char *path)
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
    return sync_dir(text);
}

static bool
make_dirs(const char *path, mode_t mode)
{
    for (size_t i = 1;; i++)
        if (path[i] == '/' || path[i] == '\0') {
            if (!make_dir(path, i, mode))
                return false;
            if (path[i] == '\0')
                return true;
        }
}

static bool
make_maildir(const char *path, mode_t mode)
{
    static const char *const parts[] = {"tmp", "new", "cur"};
    char part[PATH_MAX];

    if (!make_dirs(path, mode))
        return false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        int n = snprintf(part, sizeof part, "%s/%s", path, parts[i]);

        if (!make_dir(part, (size_t)n, mode))
            return false;
    }
    return true;
}

static bool
make_configured(const struct conf *c)
{
    return c->pattern ? make_dirs(c->dir, c->mode) : make_maildir(c->dir, c->mode);
}

/* ---- PATTERN ---- */

struct text {
    char p[PATH_MAX];
    size_t n;
};

static bool
put(struct text *t, char c)
{
    if (t->n + 1 == sizeof t->p)
        return false;
    t->p[t->n++] = c;
    t->p[t->n] = '\0';
    return true;
}

/* Outside text: it may name a directory, not choose one. */
static bool
put_value(struct text *t, const char *value, bool lower)
{
    if (*value == '\0' || *value == '.')
        return false;
    for (; *value; value++) {
        int c = (unsigned char)*value;

        if (!isascii(c) || !(isalnum(c) || strchr("-+_.,@=", c)))
            c = '_';
        if (!put(t, (char)(lower ? tolower(c) : c)))
            return false;
    }
    return true;
}

static bool
put_address(struct text *t, char what, const char *user, const char *host)
{
    switch (what) {
    case 'l':
        return put_value(t, user, false);
    case 'd':
        return put_value(t, host, true);
    case 'u':
        return put_value(t, user, false) && put(t, '@') && put_value(t, host, true);
    default:
        return false;
    }
}

static bool
components_safe(const char *path)
{
    for (;; path++) {
        size_t n = strcspn(path, "/");

        if (n == 0 || n > NAME_MAX || (n <= 2 && strspn(path, ".") == n))
            return false;
        path += n;
        if (*path == '\0')
            return true;
    }
}

/* false: no safe name comes of it */
static bool
expand(struct text *t, const char *pattern, const char *user, const char *host)
{
    t->n = 0;
    for (; *pattern; pattern++)
        if (*pattern != '%' ? !put(t, *pattern) : !put_address(t, *++pattern, user, host))
            return false;
    return components_safe(t->p);
}

/* ---- one copy ---- */

/* dir/tmp/START.HOST, made here and now; the start is one that nobody else has. */
static int
open_tmp(struct qp *q, const struct conf *c, struct copy *copy)
{
    unsigned *count = qp_state(q, QP_CONNECTION, sizeof *count);
    int fd = -1;

    for (int i = 0; i < NAME_TRIES; i++) {
        struct timespec now;
        const char *path;

        clock_gettime(CLOCK_REALTIME, &now);
        copy->start = qp_printf(q, QP_TRANSACTION, "%lld.M%ldP%ldQ%u", (long long)now.tv_sec,
            now.tv_nsec / 1000, (long)getpid(), ++*count);
        path = qp_printf(q, QP_TRANSACTION, "%s/tmp/%s.%s", copy->dir, copy->start, c->host);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0)
            copy->tmp = path;
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

static bool
write_copy(struct qp *q, const struct copy *copy, mode_t mode, int fd)
{
    if (dprintf(fd, "Return-Path: %s\n", qp_sender(q)->format) < 0)
        return false;
    for (size_t i = copy->first + copy->n; i-- > copy->first;) /* the last one on top, as r356 */
        if (dprintf(fd, "Delivered-To: %s\n", qp_rcpt(q, i)->address) < 0)
            return false;
    return qp_message_write(q, fd) && fchmod(fd, mode & 0666) == 0 && fsync(fd) == 0;
}

/*
 * The size comes last in the name, although the maildir page puts nothing behind the host:
 * Maildir++ and Dovecot read the number up to a comma, a colon or the end.
 */
static bool
stage(struct qp *q, struct delivery *d, struct copy *copy)
{
    const struct conf *c = d->conf;
    struct stat st;
    int fd;

    if (!make_maildir(copy->dir, c->mode) || (fd = open_tmp(q, c, copy)) < 0)
        return fail(d, "open");
    if (!write_copy(q, copy, c->mode, fd) || fstat(fd, &st) < 0) {
        fail(d, "write");
        close(fd);
        return false;
    }
    if (close(fd) < 0)
        return fail(d, "close");
    copy->new = qp_printf(q, QP_TRANSACTION, "%s/new/%sV%llxI%llx.%s,S=%llu", copy->dir,
        copy->start, (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, c->host,
        (unsigned long long)st.st_size);
    return true;
}

/* ---- all copies: first everything that can fail for want of room, then the links ---- */

static bool
link_all(struct delivery *d)
{
    for (size_t i = 0; i < d->n; i++) {
        if (link(d->copies[i].tmp, d->copies[i].new) < 0)
            return fail(d, "link");
        d->copies[i].linked = true;
    }
    return true;
}

static bool
sync_all(struct qp *q, struct delivery *d)
{
    for (size_t i = 0; i < d->n; i++)
        if (!sync_dir(qp_printf(q, QP_TRANSACTION, "%s/new", d->copies[i].dir)))
            return fail(d, "link");
    return true;
}

static void
remove_all(struct delivery *d, bool new)
{
    for (size_t i = 0; i < d->n; i++) {
        if (d->copies[i].tmp)
            unlink(d->copies[i].tmp);
        if (new && d->copies[i].linked)
            unlink(d->copies[i].new);
    }
}

static bool
deliver(struct qp *q, struct delivery *d)
{
    for (size_t i = 0; i < d->n; i++)
        if (!stage(q, d, &d->copies[i]))
            return false;
    return link_all(d) && sync_all(q, d);
}

/* Who gets a copy, and where. NULL: all have a place, else the recipient that has none. */
static const struct qp_address *
plan(struct qp *q, const struct conf *c, struct delivery *d)
{
    size_t all = qp_rcpt_count(q);
    struct text below;

    d->conf = c;
    d->n = c->pattern ? all : 1;
    d->copies = qp_alloc(q, QP_TRANSACTION, d->n * sizeof *d->copies);
    if (!c->pattern) {
        d->copies[0] = (struct copy){.dir = c->dir, .n = all};
        return NULL;
    }
    for (size_t i = 0; i < all; i++) {
        const struct qp_address *to = qp_rcpt(q, i);
        const char *host = to->host[0] ? to->host : qp_me(q); /* <postmaster> */

        if (!expand(&below, c->pattern, to->user, host))
            return to;
        d->copies[i] = (struct copy){.first = i, .n = 1};
        d->copies[i].dir = qp_printf(q, QP_TRANSACTION, "%s/%s", c->dir, below.p);
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
    struct text trial;

    if (!strchr(pattern, '%'))
        return qp_fail(
            q, "pattern %s names one directory for everybody: use %%l, %%d or %%u in it", pattern);
    if (!expand(&trial, pattern, "user", "example.org"))
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

    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "dir", .positional = true, .required = true, .text = &dir},
                {.name = "pattern", .positional = true, .text = &pattern},
                {.name = "mode", .positional = true, .text = &mode}, {0}}))
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

    nowhere = plan(q, qp_instance(q), &d);
    if (nowhere) {
        qp_log(q, QP_LOG_NOTICE, "no safe directory for recipient=%s", nowhere->format);
        return qp_deny(q, "mailbox name not allowed (#5.1.3)");
    }
    if (!deliver(q, &d)) {
        remove_all(&d, true);
        qp_log(q, QP_LOG_ERROR, "not delivered dir=%s step=%s error=\"%s\"", d.conf->dir, d.failed,
            strerror(d.error));
        return qp_denysoft(q, "queue error (%s)", d.failed);
    }
    remove_all(&d, false);
    qp_log(q, QP_LOG_NOTICE, "queued copies=%zu id=%s", d.n, id);
    return qp_ok(q, "Queued!%s%s", *id ? " " : "", id);
}

QP_PLUGIN(.name = "queue/maildir", .init = on_init, .child_init = on_child_init, .queue = on_queue);
