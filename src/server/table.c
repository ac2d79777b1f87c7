/*
 * qpsmtpd-table - compile lists so that starting a process with them costs nothing
 *
 * Exit status: 0; 1 when a list could not be compiled or is damaged, or a key is in none; 2 wrong
 * options; 111 when a list cannot be read.
 */
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/arena.h"
#include "base/log.h"
#include "conf/list.h"
#include "conf/mph.h"
#include "plugin/badlist_table.h"
#include "server/table_compile.h"

enum { STATUS_OK = 0, STATUS_NO = 1, STATUS_USAGE = 2, STATUS_TROUBLE = 111 };

enum action { ACTION_COMPILE, ACTION_DUMP, ACTION_TEST, ACTION_STATISTICS };

struct order {
    enum action action;
    const char *kind;   /* NULL: the list's name tells */
    const char *output; /* NULL: beside the list */
};

/* A compiled list that is asked or printed. */
struct view {
    struct arena *arena;
    struct arena *line; /* of one line or key */
    struct err err;
    struct mph mph;
    char path[PATH_MAX];
};

static const char *const kinds[] = {
    [TABLE_EXACT] = "exact",
    [TABLE_ADDRESS] = "address",
    [TABLE_DOMAIN] = "domain",
    [TABLE_IP] = "ip",
    [TABLE_BAD] = "bad",
};

#define KIND_NAMES "exact, address, domain, ip or bad"
#define KINDS      (sizeof kinds / sizeof *kinds)

/* As the plugins that read them do. */
static const struct known {
    const char *name;
    enum table_match kind;
} known[] = {
    {"badmailfrom", TABLE_BAD},
    {"badrcptto", TABLE_BAD},
    {"dnsbl_allow", TABLE_IP},
    {"hosts_allow", TABLE_IP},
    {"invalid_resolvable_fromhost", TABLE_IP},
    {"me", TABLE_DOMAIN},
    {"morercpthosts", TABLE_DOMAIN},
    {"morerelayclients", TABLE_IP},
    {"norelayclients", TABLE_IP},
    {"rcpthosts", TABLE_DOMAIN},
    {"relayclients", TABLE_IP},
    {"uribl_whitelist_domains", TABLE_EXACT},
    {"whitelisthelo", TABLE_EXACT},
    {"whitelisthosts", TABLE_IP},
    {"whitelistrcpt", TABLE_EXACT},
    {"whitelistsenders", TABLE_EXACT},
};

static const char help[] =
    "usage: qpsmtpd-table [-k KIND] [-o FILE] LIST ...\n"
    "       qpsmtpd-table -t LIST KEY ...\n"
    "       qpsmtpd-table -d | -s LIST ...\n"
    "Compile text lists to LIST.mph, which qpsmtpd uses as long as the text does not change.\n"
    "\n"
    "  -k, --kind KIND         exact, address, domain, ip or bad; default: that of LIST's name\n"
    "  -o, --output FILE       write FILE; for one LIST\n"
    "  -t, --test              look keys up in LIST.mph, as a server does\n"
    "  -d, --dump              print LIST.mph as text\n"
    "  -s, --statistics        print what LIST.mph holds, and check all of it\n"
    "      --version           print the version\n"
    "  -h, --help              print this\n";

static int
complain(int status, const char *text)
{
    fprintf(stderr, "qpsmtpd-table: %s\n", text);
    return status;
}

/* ---- names ---- */

static const char *
file_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The path of the compiled list; false: too long */
static bool
path_of(const char *list, char out[PATH_MAX])
{
    const char *ending = str_iends(str_of(list), STR(LIST_MPH)) ? "" : LIST_MPH;

    return snprintf(out, PATH_MAX, "%s%s", list, ending) < PATH_MAX;
}

static bool
kind_of(const struct order *o, const char *list, enum table_match *out)
{
    for (size_t i = 0; o->kind && i < KINDS; i++)
        if (strcmp(o->kind, kinds[i]) == 0) {
            *out = (enum table_match)i;
            return true;
        }
    for (size_t i = 0; !o->kind && i < sizeof known / sizeof *known; i++)
        if (strcmp(file_of(list), known[i].name) == 0) {
            *out = known[i].kind;
            return true;
        }
    return false;
}

/* ---- compiling ---- */

static void
report(const char *path, const struct table_report *r)
{
    printf("%s: %llu keys, %llu repeated lines, %llu bytes, %.2f s, %ld MiB of memory\n", path,
        (unsigned long long)r->header.n_keys,
        (unsigned long long)(r->header.n_lines - r->header.n_keys),
        (unsigned long long)r->header.size, (double)r->ms / 1000, r->memory_kib / 1024);
}

static int
compile(const struct order *o, const char *list)
{
    char path[PATH_MAX];
    struct table_report r;
    enum table_match kind;
    struct err e;

    if (str_iends(str_of(list), STR(LIST_MPH)) || str_iends(str_of(list), STR(LIST_CDB))) {
        fprintf(stderr, "qpsmtpd-table: %s: is compiled; name the text\n", list);
        return STATUS_NO;
    }
    if (!kind_of(o, list, &kind)) {
        fprintf(
            stderr, "qpsmtpd-table: %s: say with -k what this list holds: " KIND_NAMES "\n", list);
        return STATUS_NO;
    }
    if (!path_of(o->output ? o->output : list, path))
        return complain(STATUS_NO, "the name is too long");
    if (!table_compile(list, path, kind, &r, &e))
        return complain(STATUS_NO, e.text);
    report(path, &r);
    return STATUS_OK;
}

/* ---- printing ---- */

static bool
open_view(struct view *v, const char *list)
{
    if (!path_of(list, v->path))
        return err_set(&v->err, "%s: name too long", list);
    if (!mph_open(&v->mph, v->arena, v->path, &v->err))
        return false;
    if (v->mph.header.kind < KINDS)
        return true;
    mph_close(&v->mph);
    return err_set(&v->err, "%s: of an unknown kind", v->path);
}

static int
damaged(const struct view *v)
{
    fprintf(stderr, "qpsmtpd-table: %s: damaged\n", v->path);
    return STATUS_NO;
}

/* The line of an entry. A word that is an address and a pattern has two: the pattern is the line. */
static void
print_entry(const struct view *v, const struct mph_entry *entry)
{
    enum table_match kind = (enum table_match)v->mph.header.kind;
    char *room = arena_alloc(v->line, TABLE_ROOM(entry->key));
    struct str word = table_entry_text(kind, entry->key, room);

    if (kind == TABLE_BAD && badlist_is_pattern_key(word))
        word.n = 0;
    else if (kind == TABLE_BAD && badlist_is_pattern(word))
        return;
    fwrite(word.p, 1, word.n, stdout);
    if (word.n > 0 && entry->value.n > 0)
        putchar(' ');
    fwrite(entry->value.p, 1, entry->value.n, stdout);
    putchar('\n');
}

/* Only the entry that counts; what the text has twice would be kept for nothing. */
static int
dump(struct view *v)
{
    struct mph_entry entry, first;
    enum mph_status status;
    uint64_t at = 0;

    while ((status = mph_next(&v->mph, &at, &entry)) == MPH_FOUND) {
        if (mph_find(&v->mph, entry.key, &first) != MPH_FOUND)
            return damaged(v);
        if (first.at == entry.at)
            print_entry(v, &entry);
        arena_reset(v->line);
    }
    return status == MPH_ABSENT ? STATUS_OK : damaged(v);
}

static int
statistics(struct view *v)
{
    const struct mph_header *h = &v->mph.header;
    time_t built = (time_t)h->built, text = (time_t)h->text_seconds;
    char built_at[32] = "", text_at[32] = "";
    bool sound = mph_check(&v->mph);
    struct tm tm;

    if (localtime_r(&built, &tm))
        strftime(built_at, sizeof built_at, "%Y-%m-%d %H:%M:%S", &tm);
    if (localtime_r(&text, &tm))
        strftime(text_at, sizeof text_at, "%Y-%m-%d %H:%M:%S", &tm);
    printf("file: %s\nkind: %s\nkeys: %llu\nrepeated lines: %llu\nbytes: %llu\nof them entries: "
           "%llu\nfunctions: %u\nbuilt: %s\ntext: %llu bytes of %s\nstate: %s\n",
        v->path, kinds[h->kind], (unsigned long long)h->n_keys,
        (unsigned long long)(h->n_lines - h->n_keys), (unsigned long long)h->size,
        (unsigned long long)(h->entries_end - sizeof *h), h->n_shards, built_at,
        (unsigned long long)h->text_size, text_at, sound ? "sound" : "DAMAGED");
    return sound ? STATUS_OK : STATUS_NO;
}

/* ---- testing keys ---- */

static enum table_status
find_bad(struct view *v, const struct table *t, const char *key, const char **value)
{
    struct badlist_table *list = badlist_table_new(v->line, t);
    bool good = badlist_table_add_patterns(list, v->line, &v->err);
    struct str text = str_of(key);
    struct qp_badlist_entry entry = {"", ""};
    size_t user = text.n;
    enum table_status status;

    while (user > 0 && key[user] != '@')
        user--;
    if (good && user == 0)
        return TABLE_ABSENT; /* the null sender, and what has no host or no user */
    status = good ? badlist_table_find(list, v->line, key, user, &entry) : TABLE_BROKEN;
    *value = status == TABLE_FOUND ? arena_printf(v->line, "%s%s%s", entry.entry,
                                         *entry.reason ? " " : "", entry.reason)
                                   : NULL;
    return status;
}

/* One key. *value lives in v->line. */
static int
test_key(struct view *v, const struct table *t, const char *key)
{
    const char *value = NULL;
    enum table_status status = v->mph.header.kind == TABLE_BAD
                                   ? find_bad(v, t, key, &value)
                                   : table_find(t, key, v->line, &value);

    switch (status) {
    case TABLE_FOUND:
        printf("%s: found%s%s\n", key, *value ? ": " : "", value);
        return STATUS_OK;
    case TABLE_ABSENT:
        printf("%s: absent\n", key);
        return STATUS_NO;
    case TABLE_BROKEN:
        break;
    }
    damaged(v);
    return STATUS_TROUBLE;
}

static int
test(struct view *v, char *const keys[])
{
    enum table_match kind = (enum table_match)v->mph.header.kind;
    struct table *t = table_open_mph(v->arena, kind, v->path, &v->err);
    int worst = STATUS_OK;

    if (!t)
        return complain(STATUS_TROUBLE, v->err.text);
    for (; *keys; keys++) {
        int status = test_key(v, t, *keys);

        worst = status > worst ? status : worst;
        arena_reset(v->line);
    }
    return worst;
}

/* ---- the command line ---- */

static int
look(const struct order *o, const char *list, char *const keys[])
{
    struct view v = {.arena = arena_open("compiled list"), .line = arena_open("line")};
    int status;

    if (!open_view(&v, list)) {
        status = complain(STATUS_TROUBLE, v.err.text);
    } else {
        status = o->action == ACTION_DUMP   ? dump(&v)
                 : o->action == ACTION_TEST ? test(&v, keys)
                                            : statistics(&v);
        mph_close(&v.mph);
    }
    arena_close(&v.line);
    arena_close(&v.arena);
    return status;
}

/* -1: go on. Else the exit status. */
static int
parse(int argc, char *argv[], struct order *o)
{
    static const struct option options[] = {
        {"kind", required_argument, NULL, 'k'},
        {"output", required_argument, NULL, 'o'},
        {"test", no_argument, NULL, 't'},
        {"dump", no_argument, NULL, 'd'},
        {"statistics", no_argument, NULL, 's'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "+k:o:tdsh", options, NULL)) != -1) {
        switch (c) {
        case 'k':
            o->kind = optarg;
            break;
        case 'o':
            o->output = optarg;
            break;
        case 't':
        case 'd':
        case 's':
            if (o->action != ACTION_COMPILE)
                return complain(STATUS_USAGE, "one of -t, -d and -s");
            o->action = c == 't' ? ACTION_TEST : c == 'd' ? ACTION_DUMP : ACTION_STATISTICS;
            break;
        case 'V':
            printf("qpsmtpd-table %s\n", QPSMTPD_VERSION);
            return STATUS_OK;
        case 'h':
            fputs(help, stdout);
            return STATUS_OK;
        default: /* getopt has told */
            return STATUS_USAGE;
        }
    }
    return -1;
}

static int
check_order(const struct order *o, int lists)
{
    enum table_match kind;

    if (lists == 0 || (o->action == ACTION_TEST && lists < 2))
        return complain(STATUS_USAGE, "something is missing; try --help");
    if (o->action != ACTION_COMPILE && (o->kind || o->output))
        return complain(STATUS_USAGE, "-k and -o are for compiling");
    if (o->output && lists > 1)
        return complain(STATUS_USAGE, "-o is for one list");
    if (o->kind && !kind_of(o, "", &kind))
        return complain(STATUS_USAGE, "-k takes " KIND_NAMES);
    return -1;
}

int
main(int argc, char *argv[])
{
    struct order o = {.action = ACTION_COMPILE};
    int status = parse(argc, argv, &o);
    int worst = STATUS_OK;

    if (status < 0)
        status = check_order(&o, argc - optind);
    if (status >= 0)
        return status;
    log_level_set(LOG_LEVEL_WARN);
    for (char **list = argv + optind; *list; list++) {
        status = o.action == ACTION_COMPILE ? compile(&o, *list) : look(&o, *list, list + 1);
        worst = status > worst ? status : worst;
        if (o.action == ACTION_TEST)
            break;
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return complain(STATUS_TROUBLE, "stdout cannot be written");
    return worst;
}
