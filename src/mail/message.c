#include "mail/message.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static_assert(sizeof(off_t) == 8, "spool files grow beyond 2 GiB");

/* Not the arena's: what it gave out comes back only at its end, and these grow. */
struct block {
    char *p;
    size_t n, room;
};

/* The body is what is in the file, and behind it what is in the block. */
#define MESSAGE_DIRECT 16384 /* bytes that are worth a write to the spool file of their own */

struct message {
    struct message_limits limits;
    struct header *header;
    bool header_complete;
    struct block head; /* text of the header; its fields look into it */
    struct block body;
    int fd; /* -1: no spool file */
    uint64_t stored;
    uint64_t received;
    enum message_trouble trouble;
    struct err error;
};

static struct {
    bool warned;
} spool_mode;

/* ---- blocks ---- */

static void
block_free(struct block *b)
{
    if (b->p)
        explicit_bzero(b->p, b->n); /* somebody's mail */
    free(b->p);
    *b = (struct block){0};
}

static bool
block_put(struct block *b, struct str bytes)
{
    size_t want = b->n + bytes.n;

    if (want > b->room) {
        size_t room = b->room ? b->room : 4096;
        struct block new = {.n = want};

        while (room < want)
            room = room > SIZE_MAX / 2 ? want : room * 2;
        new.p = malloc(room);
        if (!new.p)
            return false;
        new.room = room;
        if (b->n > 0)
            memcpy(new.p, b->p, b->n);
        new.n = b->n;
        block_free(b);
        *b = new;
    }
    if (bytes.n > 0)
        memcpy(b->p + b->n, bytes.p, bytes.n);
    b->n = want;
    return true;
}

static struct str
block_str(const struct block *b)
{
    return (struct str){b->p, b->n};
}

/* ---- writing ---- */

/* All of it; false with errno. Changes iov. */
static bool
write_iov(int fd, struct iovec *iov, int n)
{
    size_t done = 0; /* of the first one */

    for (;;) {
        ssize_t r;

        for (; n > 0 && done >= iov->iov_len; iov++, n--)
            done -= iov->iov_len;
        if (n == 0)
            return true;
        iov->iov_base = (char *)iov->iov_base + done;
        iov->iov_len -= done;
        r = writev(fd, iov, n);
        if (r < 0 && errno != EINTR)
            return false;
        done = r < 0 ? 0 : (size_t)r;
    }
}

static struct iovec
iovec_of(struct str s)
{
    union {
        const char *in;
        char *out;
    } p = {s.p}; /* writev only reads, but its type does not say so */

    return (struct iovec){p.out, s.n};
}

static bool
write_header(const struct header *h, int fd)
{
    struct iovec iov[IOV_MAX];
    size_t count = header_count(h);
    int n = 0;

    for (size_t i = 0; i < count; i++) {
        struct str raw = header_at(h, i)->raw;

        if (n > 0 && (const char *)iov[n - 1].iov_base + iov[n - 1].iov_len == raw.p) {
            iov[n - 1].iov_len += raw.n; /* as it came, the fields stand one behind the other */
            continue;
        }
        if (n == IOV_MAX) {
            if (!write_iov(fd, iov, n))
                return false;
            n = 0;
        }
        iov[n++] = iovec_of(raw);
    }
    return write_iov(fd, iov, n);
}

static bool
copy_stored(const struct message *m, uint64_t offset, int fd)
{
    char buffer[16384];

    while (offset < m->stored) {
        ptrdiff_t n = message_read(m, offset, buffer, sizeof buffer);
        struct iovec iov = {buffer, (size_t)n};

        if (n < 0 || !write_iov(fd, &iov, 1))
            return false;
        offset += (uint64_t)n;
    }
    return true;
}

static bool
write_stored(const struct message *m, int fd)
{
    off_t offset = 0;

    while ((uint64_t)offset < m->stored) {
        uint64_t left = m->stored - (uint64_t)offset;
        ssize_t done = sendfile(fd, m->fd, &offset, left < 1 << 30 ? (size_t)left : 1 << 30);

        if (done > 0 || (done < 0 && errno == EINTR))
            continue;
        if (done < 0 && (errno == EINVAL || errno == ENOSYS || errno == ESPIPE))
            return copy_stored(m, (uint64_t)offset, fd); /* O_APPEND, odd file systems */
        if (done == 0)
            errno = EIO; /* somebody has cut the file */
        return false;
    }
    return true;
}

/* ---- the spool file ---- */

static bool
spool_dir_open(const struct message_limits *limits, int *out, struct err *e)
{
    const char *dir = limits->spool_dir;
    struct stat st;
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) {
        if (mkdir(dir, limits->spool_perms) == 0) {
            if (chmod(dir, limits->spool_perms) < 0) /* the umask may have taken the group's bits */
                return err_sys(e, "chmod spool_dir %s", dir);
        } else if (errno != EEXIST) /* another process was faster */
            return err_sys(e, "make spool_dir %s", dir);
        fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0)
        return err_sys(e, "open spool_dir %s", dir);
    if (!spool_mode.warned && fstat(fd, &st) == 0 && (st.st_mode & 077 & ~limits->spool_perms)) {
        spool_mode.warned = true;
        log_at(LOG_LEVEL_WARN, "others may look into spool_dir: dir=%s mode=%04o expected=%04o",
            dir, (unsigned)st.st_mode & 07777, limits->spool_perms);
    }
    *out = fd;
    return true;
}

/* For file systems without O_TMPFILE. Nobody can have guessed the name, but it may exist: try
 * again. */
static int
named_file(int dir)
{
    for (int attempt = 0; attempt < 16; attempt++) {
        uint64_t id;
        char name[48];
        int fd;

        if (getrandom(&id, sizeof id, 0) != sizeof id)
            return -1;
        snprintf(name, sizeof name, "%ld:%016llx", (long)getpid(), (unsigned long long)id);
        fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0)
            unlinkat(dir, name, 0);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
}

static bool
spool_open(const struct message_limits *limits, int *out, struct err *e)
{
    int dir = -1, fd;

    if (!spool_dir_open(limits, &dir, e))
        return false;
    fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL || errno == ENOENT))
        fd = named_file(dir);
    if (fd < 0)
        err_sys(e, "make a file in spool_dir %s", limits->spool_dir);
    close(dir);
    *out = fd;
    return fd >= 0;
}

/* ---- the message ---- */

static void
give_up(struct message *m, enum message_trouble why)
{
    m->trouble = why;
    if (m->fd >= 0)
        close(m->fd);
    m->fd = -1;
    m->stored = 0;
    block_free(&m->body);
    if (!m->header_complete) /* else fields look into it */
        block_free(&m->head);
}

static void
out_of_memory(struct message *m)
{
    err_set(&m->error, "no memory for the message");
    give_up(m, MESSAGE_DISK);
}

static void
at_arena_reset(void *data)
{
    struct message *m = data;

    give_up(m, MESSAGE_DISK);
    block_free(&m->head);
}

static bool
store(struct message *m, struct str bytes)
{
    struct iovec iov[] = {iovec_of(block_str(&m->body)), iovec_of(bytes)};

    if (!write_iov(m->fd, iov, 2))
        return err_sys(&m->error, "write to a file in spool_dir %s", m->limits.spool_dir);
    m->stored += m->body.n + bytes.n;
    if (m->body.room > MESSAGE_BLOCK)
        block_free(&m->body);
    m->body.n = 0;
    return true;
}

/* Shall these bytes be collected? With a file, only what is too little to be written by itself. */
static bool
body_fits(const struct message *m, size_t more)
{
    size_t cap = m->fd < 0 ? m->limits.size_threshold : MESSAGE_BLOCK;

    if (m->fd >= 0 && more >= MESSAGE_DIRECT)
        return false;
    return m->body.n <= cap && more <= cap - m->body.n;
}

static void
body_put(struct message *m, struct str bytes)
{
    if (m->fd < 0 && !body_fits(m, bytes.n) && !spool_open(&m->limits, &m->fd, &m->error))
        give_up(m, MESSAGE_DISK);
    else if (!body_fits(m, bytes.n)) {
        if (!store(m, bytes))
            give_up(m, MESSAGE_DISK);
    } else if (!block_put(&m->body, bytes))
        out_of_memory(m);
}

static void
header_end(struct message *m)
{
    header_parse(m->header, block_str(&m->head));
    m->header_complete = true;
}

/* Where in bytes the empty line begins; bytes.n: not here. */
static size_t
separator(const struct message *m, struct str bytes)
{
    const char *two;

    if (bytes.n > 0 && bytes.p[0] == '\n' && (m->head.n == 0 || m->head.p[m->head.n - 1] == '\n'))
        return 0;
    two = memmem(bytes.p, bytes.n, "\n\n", 2);
    return two ? (size_t)(two - bytes.p) + 1 : bytes.n;
}

/*
 * No empty line within the bound. Somebody who sent no header at all (a test, a script) has a body: it
 * begins with the first line that is no field, as other servers see it. Fields alone are too much.
 */
static bool
header_overflow(struct message *m, struct str bytes)
{
    size_t fields = header_fields(block_str(&m->head));
    struct str rest = str_from(block_str(&m->head), fields);

    if (!rest.n) {
        give_up(m, MESSAGE_HEADER_TOO_BIG);
        return false;
    }
    m->head.n = fields;
    header_end(m); /* first: a body that cannot be stored takes an unfinished header with it */
    body_put(m, rest);
    if (m->trouble == MESSAGE_FINE)
        body_put(m, bytes);
    return true;
}

static bool
header_put(struct message *m, struct str bytes)
{
    size_t end = separator(m, bytes);

    if (end > MESSAGE_HEADER_MAX - m->head.n)
        return header_overflow(m, bytes);
    if (!block_put(&m->head, (struct str){bytes.p, end})) {
        out_of_memory(m);
        return false;
    }
    if (end == bytes.n)
        return false;
    header_end(m);
    body_put(m, str_from(bytes, end));
    return true;
}

struct message *
message_new(struct arena *a, const struct message_limits *limits)
{
    struct message *m = arena_alloc(a, sizeof *m);

    m->limits = *limits;
    m->header = header_new(a);
    m->fd = -1;
    arena_at_reset(a, at_arena_reset, m);
    return m;
}

bool
message_put(struct message *m, struct str bytes)
{
    m->received += bytes.n;
    if (bytes.n == 0 || m->trouble != MESSAGE_FINE)
        return false;
    if (m->limits.max_bytes > 0 && m->received > m->limits.max_bytes) {
        give_up(m, MESSAGE_TOO_BIG);
        return false;
    }
    if (!m->header_complete)
        return header_put(m, bytes);
    body_put(m, bytes);
    return false;
}

bool
message_end(struct message *m)
{
    if (m->trouble != MESSAGE_FINE || m->header_complete)
        return false;
    if (m->head.n > 0 && m->head.p[m->head.n - 1] != '\n' && !block_put(&m->head, STR("\n"))) {
        out_of_memory(m);
        return false;
    }
    header_end(m);
    return true;
}

enum message_trouble
message_trouble(const struct message *m)
{
    return m->trouble;
}

const char *
message_error(const struct message *m)
{
    return m->error.text;
}

uint64_t
message_received(const struct message *m)
{
    return m->received;
}

uint64_t
message_body_size(const struct message *m)
{
    return m->stored + m->body.n;
}

struct header *
message_header(struct message *m)
{
    return m->header;
}

bool
message_spool_dir(const struct message *m, int *out, struct err *e)
{
    return spool_dir_open(&m->limits, out, e);
}

ptrdiff_t
message_read(const struct message *m, uint64_t offset, void *out, size_t n)
{
    if (offset < m->stored) {
        size_t here = m->stored - offset < n ? (size_t)(m->stored - offset) : n;
        ssize_t done;

        do
            done = pread(m->fd, out, here, (off_t)offset);
        while (done < 0 && errno == EINTR);
        if (done == 0 && here > 0) {
            errno = EIO; /* somebody has cut the file */
            return -1;
        }
        return done;
    }
    offset -= m->stored;
    if (offset >= m->body.n)
        return 0;
    if (n > m->body.n - offset)
        n = m->body.n - (size_t)offset;
    memcpy(out, m->body.p + offset, n);
    return (ptrdiff_t)n;
}

struct message *
message_draft(const struct message *m, struct arena *a)
{
    struct message *draft = message_new(a, &m->limits);

    draft->header_complete = true;
    return draft;
}

void
message_take_body(struct message *m, struct message *draft)
{
    assert(m->trouble == MESSAGE_FINE && draft->trouble == MESSAGE_FINE);
    if (m->fd >= 0)
        close(m->fd);
    block_free(&m->body);
    m->fd = draft->fd;
    m->stored = draft->stored;
    m->body = draft->body;
    draft->fd = -1;
    draft->stored = 0;
    draft->body = (struct block){0};
}

bool
message_write(const struct message *m, int fd)
{
    struct iovec rest = iovec_of(block_str(&m->body));

    if (m->trouble != MESSAGE_FINE) {
        errno = EIO;
        return false;
    }
    return write_header(m->header, fd) && write_stored(m, fd) && write_iov(fd, &rest, 1);
}
