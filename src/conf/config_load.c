#include "conf/config_load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

#define INCLUDE_DEPTH 32
#define SMALL         16384 /* bytes of a file that needs no arena of its own, */
#define SMALL_LINES   64    /* and lines without comments */
#define FILE_ROOM     1024  /* for the lines of a larger one, beside its text */

/* A file or directory that is being read, and from where it was included. */
struct source {
    const struct source *from;
    dev_t dev;
    ino_t ino;
    unsigned int depth;
};

/* One load: an arena of its own, which is dropped as a whole when the load fails. */
struct load {
    const struct config *config;
    struct arena *arena;
    struct qp_line *line;
    size_t n, room;
    size_t bytes;
    struct err *err;
};

/* ---- the syntax ---- */

bool
config_next_line(struct str *text, unsigned int *number, struct str *line)
{
    if (*number == 0 && str_starts(*text, STR("\xef\xbb\xbf"))) /* a byte order mark */
        *text = str_from(*text, 3);
    while (text->n > 0) {
        struct str physical = str_cut(text, '\n');

        ++*number;
        if (physical.n > 0 &&
            physical.p[0] == '#') /* most lines, so they are not looked at twice */
            continue;
        *line = str_trim(str_cut(&physical, '\0'));
        if (line->n > 0 && line->p[0] != '#')
            return true;
    }
    return false;
}

static size_t
count_lines(struct str text)
{
    unsigned int number = 0;
    struct str line;
    size_t n = 0;

    while (config_next_line(&text, &number, &line))
        n++;
    return n;
}

/*
 * Parse in place: text[n] is writable too. The NUL behind a line overwrites what ended it, a blank,
 * a line feed, a NUL or text[n], all of which config_next_line has already passed.
 */
static size_t
split(char *text, size_t n, const char *file, struct qp_line *out)
{
    struct str rest = {text, n};
    struct str line;
    unsigned int number = 0;
    size_t count = 0;

    while (config_next_line(&rest, &number, &line)) {
        text[(size_t)(line.p - text) + line.n] = '\0';
        out[count++] = (struct qp_line){line.p, file, number};
    }
    return count;
}

struct config_value
config_parse(struct arena *a, const char *file, struct str text)
{
    size_t n = count_lines(text);
    struct qp_line *line;

    if (n == 0)
        return (struct config_value){NULL, 0};
    line = arena_alloc(a, n * sizeof *line);
    split(arena_dup(a, text), text.n, arena_dup(a, str_of(file)), line);
    return (struct config_value){line, n};
}

/* ---- reading ---- */

/*
 * Regular files and, for $Include, directories. Without O_NONBLOCK a FIFO would hold the server up
 * until somebody writes into it.
 */
static int
open_path(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        err_sys(e, "%s", path);
    return fd;
}

static int
open_source(const char *path, struct stat *st, struct err *e)
{
    int fd = open_path(path, e);

    if (fd >= 0 && fstat(fd, st) < 0) {
        err_sys(e, "%s", path);
        close(fd);
        return -1;
    }
    return fd;
}

/* The file's bytes with a NUL behind them, NULL when it failed. Closes fd. */
static char *
read_all(struct load *l, int fd, const char *path, size_t size, size_t *n)
{
    char *text;

    if (size > CONFIG_FILE_MAX - l->bytes) {
        err_set(l->err, "%s: too large", path);
        close(fd);
        return NULL;
    }
    l->bytes += size;
    text = arena_alloc(l->arena, size + 1);
    for (*n = 0; *n < size;) {
        ssize_t got = read(fd, text + *n, size - *n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            err_sys(l->err, "%s", path);
            close(fd);
            return NULL;
        }
        if (got == 0) /* became shorter meanwhile */
            break;
        *n += (size_t)got;
    }
    close(fd);
    return text;
}

static void
reserve(struct load *l, size_t more)
{
    size_t room = l->room * 2;

    if (l->n + more <= l->room)
        return;
    if (room < l->n + more)
        room = l->n + more;
    l->line = arena_grow(l->arena, l->line, l->room * sizeof *l->line, room * sizeof *l->line);
    l->room = room;
}

static bool
is_include(struct str line)
{
    return str_ieq(str_word(&line), STR("$Include"));
}

/* The name behind $Include, "" when it is missing; NULL when the line is no $Include. */
static const char *
include_name(const char *line)
{
    struct str rest = str_of(line);

    if (!is_include(rest))
        return NULL;
    str_word(&rest);
    return str_trim(rest).p; /* the line is trimmed already: its NUL ends the name */
}

static bool
is_running(const struct source *s, const struct stat *st)
{
    for (; s; s = s->from)
        if (s->dev == st->st_dev && s->ino == st->st_ino)
            return true;
    return false;
}

static struct source
source_below(const struct source *from, const struct stat *st)
{
    return (struct source){from, st->st_dev, st->st_ino, from ? from->depth + 1 : 0};
}

static void
skip_include(const struct qp_line *at, const char *path, const char *why)
{
    log_write(LOG_LEVEL_CRIT, "CRITICAL PLUGIN CONFIG ERROR: Include %s %s at %s:%u", path, why,
        at->file, at->number);
}

static bool load_file(
    struct load *l, int fd, const struct stat *st, const char *path, const struct source *from);

/* One entry of an included directory; what is no regular file is passed over. */
static bool
load_entry(struct load *l, const char *path, const struct qp_line *at, const struct source *from)
{
    struct stat st;
    int fd;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return true;
    fd = open_source(path, &st, l->err);
    if (fd < 0)
        return config_means_absent(errno); /* a dangling link, or removed just now */
    if (is_running(from, &st)) {
        close(fd);
        skip_include(at, path, "is a loop");
        return true;
    }
    return load_file(l, fd, &st, path, from);
}

static int
is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int
by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* alphasort would ask the locale */
}

static bool
load_directory(
    struct load *l, const char *path, const struct qp_line *at, const struct source *here)
{
    struct dirent **entries;
    int n = scandir(path, &entries, is_visible, by_bytes);
    bool ok = true;

    if (n < 0)
        return err_sys(l->err, "%s", path);
    for (int i = 0; i < n; i++) {
        ok = ok &&
             load_entry(l, arena_printf(l->arena, "%s/%s", path, entries[i]->d_name), at, here);
        free(entries[i]);
    }
    free(entries);
    return ok;
}

/* The path that $Include means, in `path`; NULL when there is nothing. */
static const char *
resolve(const struct load *l, const char *name, char path[PATH_MAX])
{
    struct stat st;

    if (name[0] != '/')
        return config_search_included(l->config, name, path);
    return stat(name, &st) == 0 || !config_means_absent(errno) ? name : NULL;
}

/* One $Include line. false when its target is there and cannot be read. */
static bool
load_include(struct load *l, const char *name, const struct qp_line *at, const struct source *from)
{
    char room[PATH_MAX];
    const char *path = resolve(l, name, room);
    struct source here;
    struct stat st;
    int fd;

    if (path == NULL) {
        skip_include(at, name, "not found");
        return true;
    }
    if (from->depth == INCLUDE_DEPTH) {
        skip_include(at, path, "is nested too deeply");
        return true;
    }
    fd = open_source(path, &st, l->err);
    if (fd < 0)
        return false;
    if (is_running(from, &st)) {
        close(fd);
        skip_include(at, path, "is a loop");
        return true;
    }
    if (!S_ISDIR(st.st_mode))
        return load_file(l, fd, &st, arena_dup(l->arena, str_of(path)), from);
    close(fd);
    here = source_below(from, &st);
    return load_directory(l, path, at, &here);
}

static bool
append(struct load *l, const struct qp_line *line, size_t n, const struct source *here)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = include_name(line[i].text);

        if (name && !load_include(l, name, &line[i], here))
            return false;
        if (name == NULL) {
            reserve(l, n - i);
            l->line[l->n++] = line[i];
        }
    }
    return true;
}

static bool
has_include(const struct qp_line *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (include_name(line[i].text))
            return true;
    return false;
}

/* Append the lines of an open file and of what it includes. path lives as long as l; fd is closed.
 */
static bool
load_file(
    struct load *l, int fd, const struct stat *st, const char *path, const struct source *from)
{
    struct source here = source_below(from, st);
    struct qp_line *line;
    size_t bytes, n;
    char *text;

    if (!S_ISREG(st->st_mode)) {
        close(fd);
        return err_set(l->err, "%s: not a regular file", path);
    }
    text = read_all(l, fd, path, (size_t)st->st_size, &bytes);
    if (text == NULL)
        return false;
    n = count_lines((struct str){text, bytes});
    line = arena_alloc(l->arena, n * sizeof *line);
    split(text, bytes, path, line);
    if (from || has_include(line, n))
        return append(l, line, n, &here);
    l->line = line; /* nearly every file: a list of a million lines is not copied */
    l->n = n;
    return true;
}

/* ---- a whole file ---- */

static void
drop_arena(void *data)
{
    struct arena *a = data;

    arena_close(&a);
}

static bool
load_large(const struct config *c, struct arena *keep, int fd, const char *path,
    struct config_value *out, struct err *e)
{
    struct load l = {.config = c, .err = e};
    struct stat st;

    if (fstat(fd, &st) < 0) {
        close(fd);
        return err_sys(e, "%s", path);
    }
    l.arena = arena_open_small("configuration file", FILE_ROOM + 2 * (size_t)st.st_size);
    if (!load_file(&l, fd, &st, path, NULL)) {
        arena_close(&l.arena);
        return false;
    }
    arena_at_reset(keep, drop_arena, l.arena);
    *out = (struct config_value){l.n ? l.line : NULL, l.n};
    return true;
}

static struct config_value
keep_lines(struct arena *keep, const struct qp_line *line, size_t n)
{
    struct qp_line *kept;

    if (n == 0)
        return (struct config_value){NULL, 0};
    kept = memcpy(arena_alloc(keep, n * sizeof *kept), line, n * sizeof *kept);
    for (size_t i = 0; i < n; i++)
        kept[i].text = arena_dup(keep, str_of(line[i].text));
    return (struct config_value){kept, n};
}

static bool
is_regular(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * Nearly every file is a comment with a line or two, and a process that serves one client reads forty of
 * them before it greets: they are read on the stack, and only lines are kept. false: it is no such file
 */
static bool
load_small(struct arena *keep, int fd, const char *path, struct config_value *out)
{
    struct qp_line line[SMALL_LINES];
    char bytes[SMALL + 1];
    struct str rest = {bytes, 0}, next;
    unsigned int number = 0;
    size_t n = 0;
    ssize_t got = pread(fd, bytes, sizeof bytes, 0);

    if (got < 0 || got > SMALL)
        return false; /* the long way says why, or reads all of it */
    rest.n = (size_t)got;
    while (config_next_line(&rest, &number, &next)) {
        if (n == SMALL_LINES || is_include(next))
            return false;
        bytes[next.p - bytes + (ptrdiff_t)next.n] = '\0';
        line[n++] = (struct qp_line){next.p, path, number};
    }
    *out = keep_lines(keep, line, n);
    return true;
}

enum config_status
config_load(const struct config *c, struct arena *keep, const char *path, bool regular,
    struct config_value *out, struct err *e)
{
    int fd = open_path(path, e);

    if (fd < 0)
        return config_means_absent(errno) ? CONFIG_ABSENT : CONFIG_BROKEN;
    if ((regular || is_regular(fd)) && load_small(keep, fd, path, out)) {
        close(fd);
        return CONFIG_OK;
    }
    return load_large(c, keep, fd, path, out, e) ? CONFIG_OK : CONFIG_BROKEN;
}
