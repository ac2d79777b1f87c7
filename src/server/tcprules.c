#include "server/tcprules.h"

/* Is the file still the one that is mapped? ctime tells when the other four were chosen to deceive.
 */
static bool
same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool
refresh(struct tcprules *t, struct err *e)
{
    struct stat st;

    if (stat(t->path, &st) < 0)
        return err_sys(e, "%s", t->path);
    if (t->cdb.p && same_file(&st, &t->seen))
        return true;
    if (t->cdb.p)
        cdb_close(&t->cdb);
    t->seen = st;
    return cdb_open(&t->cdb, t->path, e);
}

static enum cdb_status find(struct tcprules *t, struct str *record, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum cdb_status
find(struct tcprules *t, struct str *record, const char *format, ...)
{
    char *key;
    va_list ap;

    va_start(ap, format);
    key = arena_vprintf(t->arena, format, ap);
    va_end(ap);
    return cdb_find(&t->cdb, str_of(key), record);
}

/* 1.2.3. 1.2. 1. or 2001:db8:1: 2001:db8: 2001: */
static enum cdb_status
find_prefix(struct tcprules *t, const char *ip, struct str *record)
{
    enum cdb_status status = CDB_ABSENT;

    for (size_t n = strlen(ip); n > 0 && status == CDB_ABSENT; n--)
        if (ip[n - 1] == '.' || ip[n - 1] == ':')
            status = cdb_find(&t->cdb, (struct str){ip, n}, record);
    return status;
}

/* =.b.c =.c of a.b.c */
static enum cdb_status
find_suffix(struct tcprules *t, const char *host, struct str *record)
{
    enum cdb_status status = CDB_ABSENT;

    for (; *host && status == CDB_ABSENT; host++)
        if (*host == '.')
            status = find(t, record, "=%s", host);
    return status;
}

/* The order of tcpserver; a broken file ends the search like a found record. */
static enum cdb_status
find_record(struct tcprules *t, const struct tcprules_client *c, struct str *record)
{
    enum cdb_status status = CDB_ABSENT;

    if (c->info)
        status = find(t, record, "%s@%s", c->info, c->ip);
    if (status == CDB_ABSENT && c->info && c->host)
        status = find(t, record, "%s@=%s", c->info, c->host);
    if (status == CDB_ABSENT)
        status = find(t, record, "%s", c->ip);
    if (status == CDB_ABSENT && c->host)
        status = find(t, record, "=%s", c->host);
    if (status == CDB_ABSENT)
        status = find_prefix(t, c->ip, record);
    if (status == CDB_ABSENT && c->host)
        status = find_suffix(t, c->host, record);
    if (status == CDB_ABSENT && c->host)
        status = find(t, record, "=");
    if (status == CDB_ABSENT)
        status = cdb_find(&t->cdb, STR(""), record);
    return status;
}

/* D NUL, or +NAME=value NUL, again and again; what has no NUL is not there, as for tcpserver. */
static bool
read_record(struct tcprules *t, struct str record, const char *const **env)
{
    const char **list = arena_alloc(t->arena, (record.n / 2 + 1) * sizeof *list);
    bool deny = false;
    size_t n = 0, end;

    while ((end = str_find(record, '\0')) < record.n) {
        struct str piece = {record.p, end};

        record = str_from(record, end + 1);
        if (str_starts(piece, STR("D")))
            deny = true;
        else if (str_starts(piece, STR("+")) && str_find(piece, '=') < piece.n)
            list[n++] = arena_dup(t->arena, str_from(piece, 1));
    }
    *env = (const char *const *)list;
    return deny;
}

bool
tcprules_open(struct tcprules *t, const char *path, struct err *e)
{
    *t = (struct tcprules){.path = path};
    if (!refresh(t, e))
        return false;
    t->arena = arena_open("tcprules");
    return true;
}

void
tcprules_close(struct tcprules *t)
{
    if (t->cdb.p)
        cdb_close(&t->cdb);
    arena_close(&t->arena);
}

enum tcprules_verdict
tcprules_ask(struct tcprules *t, const struct tcprules_client *client, const char *const **env,
    struct err *e)
{
    struct str record = {"", 0};

    arena_reset(t->arena);
    if (!refresh(t, e))
        return TCPRULES_BROKEN;
    if (find_record(t, client, &record) == CDB_BROKEN) {
        err_set(e, "%s: not a constant database, or cut off", t->path);
        return TCPRULES_BROKEN;
    }
    return read_record(t, record, env) ? TCPRULES_DENY : TCPRULES_ALLOW;
}
