#include "conf/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"

#define INCLUDE_DEPTH 32
#define LISTED_MAX    4096 /* names of a directory that are remembered */
#define FILE_ROOM     1024 /* for the lines of a file of usual length, beside its text */

/* Names may come from outside (a domain that a plugin looks up): those that no directory has are
 * remembered up to this number, and looked up again beyond it. */
#define ABSENT_MAX 1024

struct config {
    struct arena *arena;
    const char **dirs;  /* absolute, ends with NULL */
    struct map **names; /* config_list(): of the files in each; NULL: ask the directory each time */
    struct map *paths;  /* name to the path that was chosen, "" when there is none */
    struct map *files;  /* name to struct config_value */
    size_t absent;
};

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

enum name_rule {
    NAME_PLAIN, /* one spelling per file, so that a cache can hold no file twice */
    NAME_LOOSE, /* in $Include also ./name and name/ */
};

/* ---- the syntax ---- */

bool
config_next_line(struct str *text, unsigned int *number, struct str *line)
{
    if (*number == 0 && str_starts(*text, STR("\xef\xbb\xbf"))) /* a byte order mark */
        *text = str_from(*text, 3);
    while (text->n > 0) {
        struct str physical = str_cut(text, '\n');

        *line = str_trim(str_cut(&physical, '\0'));
        ++*number;
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

/* ---- where a file is ---- */

static bool
name_is_below(struct str name, enum name_rule rule)
{
    if (name.n == 0 || name.n >= PATH_MAX || name.p[0] == '/')
        return false;
    for (;;) {
        size_t end = str_find(name, '/');
        struct str part = {name.p, end};

        if (str_eq(part, STR("..")))
            return false;
        if (rule == NAME_PLAIN && (part.n == 0 || str_eq(part, STR("."))))
            return false;
        if (end == name.n)
            return true;
        name = str_from(name, end + 1);
    }
}

static bool
means_absent(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG;
}

/* What the map of config_list() says of a name. */
static char listed, listed_file;

/* The names in a directory. NULL: it cannot be listed, or it is too large to be worth it. */
static struct map *
list_dir(struct arena *a, const char *path)
{
    DIR *dir = opendir(path);
    struct map *names = map_new(a);
    size_t n = 0;

    if (!dir)
        return errno == ENOENT ? names : NULL;
    for (struct dirent *entry; names && (entry = readdir(dir));) {
        map_set(names, str_of(entry->d_name), entry->d_type == DT_REG ? &listed_file : &listed);
        if (++n > LISTED_MAX)
            names = NULL;
    }
    closedir(dir);
    return names;
}

void
config_list(struct config *c)
{
    for (size_t i = 0; c->dirs[i]; i++)
        c->names[i] = list_dir(c->arena, c->dirs[i]);
}

/* NULL: it is not there; &listed: perhaps, it must be looked for */
static const char *
look_up(const struct config *c, size_t dir, const char *name)
{
    return c->names[dir] && !strchr(name, '/') ? map_get(c->names[dir], str_of(name)) : &listed;
}

/* The first dir/name that exists, or may exist: what cannot be looked at is left for open() to
 * explain. */
static const char *
search(const struct config *c, const char *name, char path[PATH_MAX])
{
    struct stat st;

    for (size_t dir = 0; c->dirs[dir]; dir++) {
        const char *found = look_up(c, dir, name);
        int n = found ? snprintf(path, PATH_MAX, "%s/%s", c->dirs[dir], name) : -1;

        if (n < 0 || n >= PATH_MAX)
            continue;
        if (found == &listed_file || stat(path, &st) == 0 || !means_absent(errno))
            return path;
    }
    return NULL;
}

const char *
config_path(struct config *c, const char *name)
{
    char path[PATH_MAX];
    const char *known = map_get(c->paths, str_of(name));
    char *kept;

    if (known)
        return *known ? known : NULL;
    if (!name_is_below(str_of(name), NAME_PLAIN))
        return NULL;
    if (search(c, name, path) == NULL) {
        if (c->absent < ABSENT_MAX) {
            c->absent++;
            map_set(c->paths, str_of(name), arena_dup(c->arena, STR("")));
        }
        return NULL;
    }
    kept = arena_dup(c->arena, str_of(path));
    map_set(c->paths, str_of(name), kept);
    return kept;
}

/* ---- reading ---- */

/*
 * Regular files and, for $Include, directories. Without O_NONBLOCK a FIFO would hold the server up
 * until somebody writes into it.
 */
static int
open_source(const char *path, struct stat *st, struct err *e)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0) {
        err_sys(e, "%s", path);
        return -1;
    }
    if (fstat(fd, st) < 0) {
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

/* The name behind $Include, "" when it is missing; NULL when the line is no $Include. */
static const char *
include_name(const char *line)
{
    struct str rest = str_of(line);

    if (!str_ieq(str_word(&rest), STR("$Include")))
        return NULL;
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
        return means_absent(errno); /* a dangling link, or removed just now */
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
        return name_is_below(str_of(name), NAME_LOOSE) ? search(l->config, name, path) : NULL;
    return stat(name, &st) == 0 || !means_absent(errno) ? name : NULL;
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

static void
drop_arena(void *data)
{
    struct arena *a = data;

    arena_close(&a);
}

/* ---- the cache ---- */

struct config *
config_open(const char *const dirs[])
{
    struct arena *a = arena_open("configuration");
    struct config *c = arena_alloc(a, sizeof *c);
    char *cwd = get_current_dir_name();
    size_t n = 0;

    while (dirs[n])
        n++;
    c->arena = a;
    c->paths = map_new(a);
    c->files = map_new(a);
    c->dirs = arena_alloc(a, (n + 1) * sizeof *c->dirs);
    c->names = arena_alloc(a, (n + 1) * sizeof(struct map *));
    for (size_t i = 0; i < n; i++) {
        if (dirs[i][0] == '/' || cwd == NULL)
            c->dirs[i] = arena_dup(a, str_of(dirs[i]));
        else
            c->dirs[i] = arena_printf(a, "%s/%s", cwd, dirs[i]);
    }
    free(cwd);
    return c;
}

void
config_close(struct config **c)
{
    struct arena *a = *c ? (*c)->arena : NULL;

    arena_close(&a);
    *c = NULL;
}

enum config_status
config_get(struct config *c, const char *name, struct config_value *out, struct err *e)
{
    struct config_value *value = map_get(c->files, str_of(name));
    const char *path;
    struct stat st;
    struct load l;
    int fd;

    if (value) {
        *out = *value;
        return CONFIG_OK;
    }
    path = config_path(c, name);
    if (path == NULL)
        return CONFIG_ABSENT;
    fd = open_source(path, &st, e);
    if (fd < 0)
        return means_absent(errno) ? CONFIG_ABSENT : CONFIG_BROKEN;
    l = (struct load){.config = c, .err = e};
    l.arena = arena_open_small("configuration file", FILE_ROOM + 2 * (size_t)st.st_size);
    if (!load_file(&l, fd, &st, path, NULL)) {
        arena_close(&l.arena);
        return CONFIG_BROKEN; /* not remembered: the next session may find it mended */
    }
    arena_at_reset(c->arena, drop_arena, l.arena);
    value = arena_alloc(c->arena, sizeof *value);
    *value = (struct config_value){l.n ? l.line : NULL, l.n};
    map_set(c->files, str_of(name), value);
    *out = *value;
    return CONFIG_OK;
}

static void
preload_one(struct config *c, const char *name, size_t max)
{
    const char *path = config_path(c, name);
    struct config_value ignored;
    struct err unused;
    struct stat st;

    if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size <= max)
        config_get(c, name, &ignored, &unused);
}

void
config_preload(struct config *c, size_t max)
{
    for (const char **dir = c->dirs; *dir; dir++) {
        struct dirent **entries;
        int n = scandir(*dir, &entries, is_visible, by_bytes);

        if (n < 0)
            continue;
        for (int i = 0; i < n; i++) {
            struct str file = str_of(entries[i]->d_name);

            if (!str_iends(file, STR(".cdb")) && !str_iends(file, STR(".mph"))) /* no lines */
                preload_one(c, entries[i]->d_name, max);
            free(entries[i]);
        }
        free(entries);
    }
}
