#include "conf/table.h"

#include <stdio.h>

#include "base/log.h"
#include "base/map.h"
#include "conf/cdb.h"
#include "conf/mph.h"
#include "net/cidr.h"

#define IP_BITS 128
#define V4_BITS 96 /* of an address in the 16-byte form, before those of IPv4 */

struct table {
    enum table_match kind;
    enum { FORM_TEXT, FORM_CDB, FORM_MPH } form;
    struct cdb cdb;
    struct mph mph;
    struct map *entries;                /* of a text: stored key to const char ** */
    uint64_t lengths[IP_BITS / 64 + 1]; /* bit n: there are networks of n bits */
    size_t count;
};

/* What one table_find carries from candidate to candidate, and one look into a file brings back. */
struct lookup {
    const struct table *table;
    struct arena *scratch;
    struct str key;
    enum table_status status;
    struct table_record record;
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

/* A network is stored as its length, one byte, and its address, of IPv4 the four bytes that differ.
 */
static struct str
net_key(char *room, const struct ip *masked, unsigned int bits)
{
    size_t skip = bits >= V4_BITS && ip_is_v4(masked) ? V4_BITS / 8 : 0;

    room[0] = (char)bits;
    memcpy(room + 1, masked->b + skip, sizeof masked->b - skip);
    return (struct str){room, 1 + sizeof masked->b - skip};
}

static bool
net_entry(struct str word, char *room, struct table_entry *out, struct err *e)
{
    struct cidr net;

    if (!cidr_parse(word, &net))
        return err_set(e, "\"%.*s\" is no address or network", STR_ARG(word));
    out->key = net_key(room, &net.net, net.bits);
    out->bits = net.bits;
    return true;
}

bool
table_entry(
    enum table_match kind, struct str line, char *room, struct table_entry *out, struct err *e)
{
    struct str word = str_word(&line);

    *out = (struct table_entry){.value = str_trim(line), .bits = -1};
    if (kind == TABLE_IP)
        return net_entry(fold(room, word), room, out, e);
    out->key = without_root(kind, fold(room, word));
    return check_entry(kind, out->key, e);
}

struct str
table_entry_text(enum table_match kind, struct str key, char *room)
{
    static const struct ip v4 = {{[10] = 0xff, [11] = 0xff}};
    struct ip ip = v4;
    bool is_v4 = key.n == 1 + 4;
    unsigned int bits;
    size_t n;

    if (kind != TABLE_IP || (!is_v4 && key.n != 1 + sizeof ip.b))
        return key;
    bits = (uint8_t)key.p[0];
    memcpy(ip.b + sizeof ip.b - (key.n - 1), key.p + 1, key.n - 1);
    ip_format(&ip, room);
    n = strlen(room);
    if (bits < IP_BITS && n + sizeof "/128" <= TABLE_ROOM(key))
        n += (size_t)snprintf(
            room + n, sizeof "/128", "/%u", (is_v4 ? bits - V4_BITS : bits) & 0xff);
    return (struct str){room, n};
}

/* ---- building ---- */

/* The first of several equal lines wins. */
static void
put(struct table *t, const struct table_entry *entry, const char **value)
{
    if (entry->bits >= 0)
        t->lengths[entry->bits / 64] |= UINT64_C(1) << entry->bits % 64;
    if (map_get(t->entries, entry->key))
        return;
    map_set(t->entries, entry->key, value);
    t->count++;
}

/* qmail's lists of domains hold what can match nothing, and qmail-smtpd serves on: so do we. */
static bool
pass_over(enum table_match kind, const struct qp_line *line, const struct err *e)
{
    if (kind != TABLE_DOMAIN)
        return false;
    log_at(LOG_LEVEL_WARN, "%s:%u: %s: ignored", line->file, line->number, e->text);
    return true;
}

struct table *
table_new(struct arena *a, enum table_match kind, struct config_value lines,
    const struct qp_line **bad, struct err *e)
{
    struct table *t = arena_alloc(a, sizeof *t);
    const char **value = arena_alloc(a, lines.n * sizeof *value);
    struct str longest = {NULL, 0};
    char *room;

    for (size_t i = 0; i < lines.n; i++) {
        size_t n = strcspn(lines.line[i].text, " \t");

        longest.n = n > longest.n ? n : longest.n;
    }
    room = arena_alloc(a, TABLE_ROOM(longest));
    t->kind = kind;
    t->entries = map_new(a);
    map_reserve(t->entries, lines.n);
    for (size_t i = 0; i < lines.n; i++) {
        struct table_entry entry;

        if (!table_entry(kind, str_of(lines.line[i].text), room, &entry, e)) {
            if (pass_over(kind, &lines.line[i], e))
                continue;
            *bad = &lines.line[i];
            return NULL;
        }
        value[i] = entry.value.p; /* ends with the line */
        put(t, &entry, &value[i]);
    }
    return t;
}

/* ---- files ---- */

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
    t->form = FORM_CDB;
    if (path == NULL)
        return t;
    if (!cdb_open(&t->cdb, path, e))
        return NULL;
    arena_at_reset(a, close_cdb, &t->cdb);
    return t;
}

static void
close_mph(void *data)
{
    mph_close(data);
}

struct table *
table_open_mph(struct arena *a, enum table_match kind, const char *path, struct err *e)
{
    struct table *t = arena_alloc(a, sizeof *t);

    t->kind = kind;
    t->form = FORM_MPH;
    if (!mph_open(&t->mph, a, path, e))
        return NULL;
    arena_at_reset(a, close_mph, &t->mph);
    if (t->mph.header.kind != (uint32_t)kind) {
        err_set(e, "%s: compiled for another kind of list", path);
        return NULL;
    }
    memcpy(t->lengths, t->mph.header.lengths, sizeof t->lengths);
    t->count = (size_t)t->mph.header.n_keys;
    return t;
}

const struct mph_header *
table_header(const struct table *t)
{
    return t->form == FORM_MPH ? &t->mph.header : NULL;
}

/* ---- looking up ---- */

static enum table_status
from_text(struct lookup *l)
{
    const char *const *value = map_get(l->table->entries, l->key);

    if (value == NULL)
        return TABLE_ABSENT;
    l->record.value = *value;
    return TABLE_FOUND;
}

/* The file is not ours for longer than the look: what was found is copied. */
static void
look_into_mph(void *data)
{
    struct lookup *l = data;
    struct mph_entry entry;

    switch (mph_find(&l->table->mph, l->key, &entry)) {
    case MPH_FOUND:
        l->record.at = entry.at;
        l->record.value = entry.value.n > 0 ? arena_dup(l->scratch, entry.value) : "";
        l->status = TABLE_FOUND;
        break;
    case MPH_ABSENT:
        l->status = TABLE_ABSENT;
        break;
    case MPH_BROKEN:
        l->status = TABLE_BROKEN;
        break;
    }
}

static void
look_into_cdb(void *data)
{
    struct lookup *l = data;
    struct str value;

    switch (cdb_find(&l->table->cdb, l->key, &value)) {
    case CDB_FOUND:
        l->record.value = value.n > 0 ? arena_dup(l->scratch, value) : "";
        l->status = TABLE_FOUND;
        break;
    case CDB_ABSENT:
        l->status = TABLE_ABSENT;
        break;
    case CDB_BROKEN:
        l->status = TABLE_BROKEN;
        break;
    }
}

static enum table_status
from_file(struct lookup *l)
{
    const struct table *t = l->table;
    struct mapping cdb = {t->cdb.p, t->cdb.n};

    if (t->form == FORM_MPH ? mapping_look(&t->mph.map, look_into_mph, l)
                            : mapping_look(&cdb, look_into_cdb, l))
        return l->status;
    return TABLE_BROKEN; /* a part of the file is gone */
}

static enum table_status
try_key(struct lookup *l, struct str key)
{
    enum table_status status;

    l->key = key;
    status = l->table->form == FORM_TEXT ? from_text(l) : from_file(l);
    l->key = (struct str){NULL, 0}; /* it is the caller's */
    return status;
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
    int shortest = ip_is_v4(ip) ? V4_BITS : 0; /* as in cidr_has */
    enum table_status status = TABLE_ABSENT;

    for (int bits = IP_BITS; status == TABLE_ABSENT && bits >= shortest; bits--) {
        char room[1 + sizeof ip->b];
        struct ip masked = *ip;

        if (!(l->table->lengths[bits / 64] >> bits % 64 & 1))
            continue;
        cidr_mask(&masked, (uint8_t)bits);
        status = try_key(l, net_key(room, &masked, (unsigned int)bits));
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
    if (l->table->form != FORM_CDB)
        return find_net(l, &ip);
    ip_format(&ip, text);
    n = strlen(text);
    status = try_key(l, (struct str){text, n});
    while (status == TABLE_ABSENT && --n > 0)
        if (text[n - 1] == '.' || text[n - 1] == ':')
            status = try_key(l, (struct str){text, n});
    return status;
}

static bool
is_empty(const struct table *t)
{
    return t->form == FORM_CDB ? t->cdb.p == NULL : t->count == 0;
}

enum table_status
table_find(const struct table *t, const char *key, struct arena *scratch, const char **value)
{
    struct lookup l = {.table = t, .scratch = scratch};
    enum table_status status = TABLE_ABSENT;
    struct str raw = str_of(key);
    struct str folded = without_root(t->kind, fold(arena_alloc(scratch, raw.n + 1), raw));

    if (is_empty(t))
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
        *value = status == TABLE_FOUND ? l.record.value : NULL;
    return status;
}

enum table_status
table_get(const struct table *t, struct str key, struct arena *scratch, struct table_record *out)
{
    struct lookup l = {.table = t, .scratch = scratch};
    enum table_status status = is_empty(t) ? TABLE_ABSENT : try_key(&l, key);

    *out = l.record;
    return status;
}

size_t
table_count(const struct table *t)
{
    return t->count;
}
