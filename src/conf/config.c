#include "conf/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "conf/config_load.h"

#define LISTED_MAX  4096 /* names of the directories that are remembered */
#define LISTED_ROOM 96   /* as many as config.sample has, and some more */

/* Names may come from outside (a domain that a plugin looks up): those that no directory has are
 * remembered up to this number, and looked up again beyond it. */
#define ABSENT_MAX 1024

/* What is known of a name. */
struct known {
    const char *dir;  /* config_list() has seen it there; NULL: it has not */
    bool regular;     /* as a file, which need not be looked at again */
    bool absent;      /* it is nowhere */
    bool read;        /* value is set */
    const char *path; /* NULL: not asked for yet, or absent */
    struct config_value value;
};

struct config {
    struct arena *arena;
    const char **dirs; /* absolute, ends with NULL */
    struct map *names; /* to struct known */
    bool listed;       /* what is in `dirs` is in `names` */
    size_t absent;
};

enum name_rule {
    NAME_PLAIN, /* one spelling per file, so that a cache can hold no file twice */
    NAME_LOOSE, /* in $Include also ./name and name/ */
};

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

bool
config_means_absent(int error)
{
    return error == ENOENT || error == ENOTDIR || error == ENAMETOOLONG;
}

static struct known *
know(struct config *c, const char *name)
{
    struct known *k = arena_alloc(c->arena, sizeof *k);

    map_set(c->names, str_of(name), k);
    return k;
}

static void
list_entry(struct config *c, const char *dir, const struct dirent *entry)
{
    const char *name = entry->d_name;
    struct known *k;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || map_get(c->names, str_of(name)))
        return; /* an earlier directory has it */
    k = know(c, name);
    k->dir = dir;
    k->regular = entry->d_type == DT_REG;
}

/* false: it cannot be listed, or it is too large to be worth it */
static bool
list_dir(struct config *c, const char *path)
{
    DIR *dir = opendir(path);

    if (!dir)
        return errno == ENOENT;
    for (struct dirent *entry; (entry = readdir(dir)) && map_count(c->names) <= LISTED_MAX;)
        list_entry(c, path, entry);
    closedir(dir);
    return map_count(c->names) <= LISTED_MAX;
}

void
config_list(struct config *c)
{
    map_reserve(c->names, LISTED_ROOM);
    c->listed = true;
    for (size_t i = 0; c->listed && c->dirs[i]; i++)
        c->listed = list_dir(c, c->dirs[i]);
}

/* The first dir/name that exists, or may exist: what cannot be looked at is left for open() to
 * explain. */
static const char *
search(const struct config *c, const char *name, char path[PATH_MAX])
{
    struct stat st;

    for (size_t dir = 0; c->dirs[dir]; dir++) {
        int n = snprintf(path, PATH_MAX, "%s/%s", c->dirs[dir], name);

        if (n < 0 || n >= PATH_MAX)
            continue;
        if (stat(path, &st) == 0 || !config_means_absent(errno))
            return path;
    }
    return NULL;
}

const char *
config_search_included(const struct config *c, const char *name, char path[PATH_MAX])
{
    return name_is_below(str_of(name), NAME_LOOSE) ? search(c, name, path) : NULL;
}

static bool
may_be_there(const struct config *c, const char *name)
{
    if (c->listed && !strchr(name, '/')) /* or it would be known */
        return false;
    return name_is_below(str_of(name), NAME_PLAIN);
}

/* NULL: no directory has it */
static struct known *
find(struct config *c, const char *name)
{
    struct known *k = map_get(c->names, str_of(name));
    char room[PATH_MAX];
    const char *path;

    if (k && (k->path || k->absent))
        return k->absent ? NULL : k;
    if (k && k->regular) {
        k->path = arena_concat(c->arena, (const char *[]){k->dir, "/", name, NULL});
        return k;
    }
    if (!k && !may_be_there(c, name))
        return NULL;
    path = search(c, name, room);
    if (!path && c->absent++ >= ABSENT_MAX)
        return NULL;
    if (!k)
        k = know(c, name);
    k->absent = !path;
    k->path = path ? arena_dup(c->arena, str_of(path)) : NULL;
    return path ? k : NULL;
}

const char *
config_path(struct config *c, const char *name)
{
    const struct known *k = find(c, name);

    return k ? k->path : NULL;
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
    c->names = map_new(a);
    c->dirs = arena_alloc(a, (n + 1) * sizeof *c->dirs);
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
    struct known *k = find(c, name);

    if (!k)
        return CONFIG_ABSENT;
    if (!k->read) {
        enum config_status status = config_load(c, c->arena, k->path, k->regular, &k->value, e);

        if (status != CONFIG_OK)
            return status; /* not remembered: the next session may find it mended */
        k->read = true;
    }
    *out = k->value;
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

static bool
may_have_lines(struct str file)
{
    return file.p[0] != '.' && !str_iends(file, STR(".cdb")) && !str_iends(file, STR(".mph"));
}

void
config_preload(struct config *c, size_t max)
{
    for (const char **path = c->dirs; *path; path++) {
        DIR *dir = opendir(*path);

        if (!dir)
            continue;
        for (struct dirent *entry; (entry = readdir(dir));)
            if (may_have_lines(str_of(entry->d_name)))
                preload_one(c, entry->d_name, max);
        closedir(dir);
    }
}
