#include "conf/table.h"

#include "base/map.h"
#include "conf/cdb.h"
#include "net/cidr.h"

#define IP_BITS 128

struct table {
    enum table_match kind;
    bool is_cdb;
    struct cdb cdb;
    struct map *entries; /* folded key to const char ** */
    struct map
        *nets[IP_BITS + 1]; /* one for each length that occurs: the masked address, all 16 bytes */
    size_t count;
};

/* What one table_find carries from candidate to candidate. */
struct lookup {
    const struct table *table;
    struct arena *scratch;
    const char *value;
};

/* ---- keys and entries ---- */

static struct str
fold(char *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        out[i] = ascii_lower(s.p[i]);
    out[s.n] = '\0';
    return (struct str){out, s.n};
}

/* "example.com." is the same name as "example.com" */
static struct str
without_root(enum table_match kind, struct str s)
{
    if ((kind == TABLE_ADDRESS || kind == TABLE_DOMAIN) && s.n > 0 && s.p[s.n - 1] == '.')
        s.n--;
    return s;
}

/* Where the host begins: behind the last @, as a quoted local part may hold others; s.n without one
 */
static size_t
host_start(struct str s)
{
    size_t i = s.n;

    while (i > 0 && s.p[i - 1] != '@')
        i--;
    return i > 0 ? i : s.n;
}

static bool
is_literal(struct str s)
{
    if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    for (size_t i = 1; i < s.n - 1; i++)
        if (!ascii_alnum(s.p[i]) && !strchr(".:-", s.p[i]))
            return false;
    return true;
}

/* A host, or a suffix with a dot in front; an empty label could match nothing. */
static bool
is_domain(struct str s)
{
    if (s.n == 0 || s.p[s.n - 1] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!ascii_alnum(s.p[i]) && !strchr("-_.", s.p[i]))
            return false;
        if (i > 0 && s.p[i] == '.' && s.p[i - 1] == '.')
            return false;
    }
    return true;
}

static bool
check_entry(enum table_match kind, struct str key, struct err *e)
{
    if (kind == TABLE_ADDRESS && str_find(key, '@') == key.n)
        return err_set(e, "no @ in \"%.*s\"", STR_ARG(key));
    if (kind == TABLE_ADDRESS && host_start(key) == key.n)
        return err_set(e, "no host behind the @ in \"%.*s\"", STR_ARG(key));
    if (kind == TABLE_DOMAIN && !is_domain(key) && !is_literal(key))
        return err_set(e, "\"%.*s\" is no domain", STR_ARG(key));
    return true;
}

/* ---- building ---- */

/* The first of several equal lines wins. */
static void
put(struct table *t, struct map *m, struct str key, const char **value)
{
    if (map_get(m, key))
        return;
    map_set(m, key, value);
    t->count++;
}

static bool
put_net(struct arena *a, struct table *t, struct str key, const char **value, struct err *e)
{
    struct cidr net;

    if (!cidr_parse(key, &net))
        return err_set(e, "\"%.*s\" is no address or network", STR_ARG(key));
    if (t->nets[net.bits] == NULL)
        t->nets[net.bits] = map_new(a);
    put(t, t->nets[net.bits], (struct str){(const char *)net.net.b, sizeof net.net.b}, value);
    return true;
}

struct table *
table_new(struct arena *a, enum table_match kind, struct config_value lines,
    const struct qp_line **bad, struct err *e)
{
    struct table *t = arena_alloc(a, sizeof *t);
    const char **value = arena_alloc(a, lines.n * sizeof *value);
    size_t longest = 0;
    char *folded;

    for (size_t i = 0; i < lines.n; i++) {
        size_t n = strcspn(lines.line[i].text, " \t");

        longest = n > longest ? n : longest;
    }
    folded = arena_alloc(a, longest + 1);
    t->kind = kind;
    t->entries = map_new(a);
    if (kind != TABLE_IP)
        map_reserve(t->entries, lines.n);
    for (size_t i = 0; i < lines.n; i++) {
        struct str rest = str_of(lines.line[i].text);
        struct str key = without_root(kind, fold(folded, str_word(&rest)));
        bool ok = check_entry(kind, key, e);

        value[i] = str_trim(rest).p; /* ends with the line */
        if (ok && kind == TABLE_IP)
            ok = put_net(a, t, key, &value[i], e);
        else if (ok)
            put(t, t->entries, key, &value[i]);
        if (!ok) {
            *bad = &lines.line[i];
            return NULL;
        }
    }
    return t;
}

static void
close_cdb(void *data)
{
    cdb_close(data);
}

struct table *
table_open_cdb(struct arena *a, enum table_match kind, const char *path, struct err *e)
{
    struct table *t = arena_alloc(a, sizeof *t);

    t->kind = kind;
    t->is_cdb = true;
    if (path == NULL)
        return t;
    if (!cdb_open(&t->cdb, path, e))
        return NULL;
    arena_at_reset(a, close_cdb, &t->cdb);
    return t;
}

/* ---- looking up ---- */

static enum table_status
try_map(struct lookup *l, const struct map *m, struct str key)
{
    const char *const *value = map_get(m, key);

    if (value == NULL)
        return TABLE_ABSENT;
    l->value = *value;
    return TABLE_FOUND;
}

static enum table_status
try_key(struct lookup *l, struct str key)
{
    struct str value;

    if (!l->table->is_cdb)
        return try_map(l, l->table->entries, key);
    switch (cdb_find(&l->table->cdb, key, &value)) {
    case CDB_FOUND:
        l->value = arena_dup(l->scratch, value);
        return TABLE_FOUND;
    case CDB_ABSENT:
        return TABLE_ABSENT;
    case CDB_BROKEN:
        break;
    }
    return TABLE_BROKEN;
}

static enum table_status
find_address(struct lookup *l, struct str key)
{
    enum table_status status = try_key(l, key);
    size_t host = host_start(key);

    if (status != TABLE_ABSENT || host == key.n)
        return status;
    return try_key(l, str_from(key, host - 1));
}

static enum table_status
find_domain(struct lookup *l, struct str key)
{
    enum table_status status = try_key(l, key);

    for (size_t i = 1; status == TABLE_ABSENT && i < key.n; i++)
        if (key.p[i] == '.')
            status = try_key(l, str_from(key, i));
    return status;
}

static enum table_status
find_net(struct lookup *l, const struct ip *ip)
{
    int shortest = ip_is_v4(ip) ? 96 : 0; /* as in cidr_has */
    enum table_status status = TABLE_ABSENT;

    for (int bits = IP_BITS; status == TABLE_ABSENT && bits >= shortest; bits--) {
        struct ip masked = *ip;

        if (l->table->nets[bits] == NULL)
            continue;
        cidr_mask(&masked, (uint8_t)bits);
        status =
            try_map(l, l->table->nets[bits], (struct str){(const char *)masked.b, sizeof masked.b});
    }
    return status;
}

static enum table_status
find_ip(struct lookup *l, struct str key)
{
    char text[IP_TEXT_MAX];
    enum table_status status;
    struct ip ip;
    size_t n;

    if (!ip_parse(key, &ip))
        return TABLE_ABSENT;
    if (!l->table->is_cdb)
        return find_net(l, &ip);
    ip_format(&ip, text);
    n = strlen(text);
    status = try_key(l, (struct str){text, n});
    while (status == TABLE_ABSENT && --n > 0)
        if (text[n - 1] == '.' || text[n - 1] == ':')
            status = try_key(l, (struct str){text, n});
    return status;
}

enum table_status
table_find(const struct table *t, const char *key, struct arena *scratch, const char **value)
{
    struct lookup l = {.table = t, .scratch = scratch};
    enum table_status status = TABLE_ABSENT;
    struct str raw = str_of(key);
    struct str folded = without_root(t->kind, fold(arena_alloc(scratch, raw.n + 1), raw));

    if (t->is_cdb ? t->cdb.p == NULL : t->count == 0)
        status = TABLE_ABSENT;
    else if (t->kind == TABLE_EXACT)
        status = try_key(&l, folded);
    else if (t->kind == TABLE_ADDRESS && folded.n > 0)
        status = find_address(&l, folded);
    else if (t->kind == TABLE_DOMAIN && folded.n > 0)
        status = find_domain(&l, folded);
    else if (t->kind == TABLE_IP)
        status = find_ip(&l, folded);
    if (value)
        *value = status == TABLE_FOUND ? l.value : NULL;
    return status;
}

size_t
table_count(const struct table *t)
{
    return t->count;
}
