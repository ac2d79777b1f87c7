/*
 * t/bench/table - what a list costs in each form: text, cdb, LMDB, compiled
 *
 *   table write N FILE        a list of N domains
 *   table lmdb FILE DIR       the same as an LMDB environment; prints seconds
 *   table ask N FORM PATH ... FORM text, cdb, lmdb, mph, cdb-table or mph-table: prints for each the
 *                             microseconds that opening takes (median), and ns of processor time of a hit and
 *                             of a miss, each as median, least and most of some passes
 *
 * All forms are asked the same keys in the same order, by turns, so that whatever else the machine
 * does meets all of them; with the key as it is stored. The forms -table are asked as a plugin does:
 * key folded, value copied, a cut file survived.
 */
#include <assert.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "conf/cdb.h"
#include "conf/list.h"
#include "conf/mph.h"

#define ASKED  400000U
#define PASSES 7
#define OPENS  21
#define KEY    40

static double
now_ns(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void
die(const char *what)
{
    fprintf(stderr, "table: %s\n", what);
    exit(1);
}

static size_t
key_of(uint64_t i, const char *top, char out[KEY])
{
    return (size_t)snprintf(out, KEY, "host%" PRIu64 ".ex%" PRIu64 ".%s", i, i % 977, top);
}

/* ---- making ---- */

static void
write_list(uint64_t n, const char *path)
{
    FILE *f = fopen(path, "w");
    char key[KEY];

    if (!f)
        die(path);
    for (uint64_t i = 0; i < n; i++) {
        key_of(i, "com", key);
        fprintf(f, "%s\n", key);
    }
    if (fclose(f) != 0)
        die(path);
}

static void
check(int status)
{
    if (status != 0)
        die(mdb_strerror(status));
}

static MDB_env *
open_lmdb(const char *dir, unsigned int flags)
{
    MDB_env *env;

    check(mdb_env_create(&env));
    check(mdb_env_set_mapsize(env, (size_t)8 << 30));
    check(mdb_env_open(env, dir, flags, 0600));
    return env;
}

static void
write_lmdb(const char *list, const char *dir)
{
    double start = now_ns(CLOCK_MONOTONIC);
    MDB_env *env = open_lmdb(dir, 0);
    FILE *f = fopen(list, "r");
    char line[KEY * 2];
    MDB_txn *txn;
    MDB_dbi dbi;

    if (!f)
        die(list);
    check(mdb_txn_begin(env, NULL, 0, &txn));
    check(mdb_dbi_open(txn, NULL, 0, &dbi));
    while (fgets(line, sizeof line, f)) {
        MDB_val key = {strcspn(line, "\n"), line}, value = {0, line};

        check(mdb_put(txn, dbi, &key, &value, 0));
    }
    check(mdb_txn_commit(txn));
    mdb_env_close(env);
    fclose(f);
    printf("%.2f\n", (now_ns(CLOCK_MONOTONIC) - start) / 1e9);
}

/* ---- asking ---- */

struct form;

struct subject {
    const struct form *form;
    double open_us, hit[PASSES], miss[PASSES];
    struct arena *arena, *scratch;
    struct cdb cdb;
    struct mph mph;
    struct table *table;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
};

static void
open_text(struct subject *s, const char *path)
{
    struct config_value lines;
    const struct qp_line *bad;
    const char *dirs[2] = {path, NULL};
    struct err e;

    if (config_get(config_open(dirs), "list", &lines, &e) != CONFIG_OK)
        die(e.text);
    s->table = table_new(s->arena, TABLE_EXACT, lines, &bad, &e);
    if (!s->table)
        die(e.text);
}

static bool
find_table(struct subject *s, const char *key, size_t n)
{
    bool found = table_find(s->table, key, s->scratch, NULL) == TABLE_FOUND;

    (void)n;
    arena_reset(s->scratch);
    return found;
}

static void
open_cdb(struct subject *s, const char *path)
{
    struct err e;

    if (!cdb_open(&s->cdb, path, &e))
        die(e.text);
}

static bool
find_cdb(struct subject *s, const char *key, size_t n)
{
    struct str value;

    return cdb_find(&s->cdb, (struct str){key, n}, &value) == CDB_FOUND;
}

static void
open_mph(struct subject *s, const char *path)
{
    struct err e;

    if (!mph_open(&s->mph, s->arena, path, &e))
        die(e.text);
}

static bool
find_mph(struct subject *s, const char *key, size_t n)
{
    struct mph_entry entry;

    return mph_find(&s->mph, (struct str){key, n}, &entry) == MPH_FOUND;
}

static void
open_table_cdb(struct subject *s, const char *path)
{
    struct err e;

    s->table = table_open_cdb(s->arena, TABLE_EXACT, path, &e);
    if (!s->table)
        die(e.text);
}

static void
open_table_mph(struct subject *s, const char *path)
{
    struct err e;

    s->table = table_open_mph(s->arena, TABLE_EXACT, path, &e);
    if (!s->table)
        die(e.text);
}

static void
open_lmdb_table(struct subject *s, const char *path)
{
    s->env = open_lmdb(path, MDB_RDONLY | MDB_NOLOCK);
    check(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->txn));
    check(mdb_dbi_open(s->txn, NULL, 0, &s->dbi));
}

static bool
find_lmdb(struct subject *s, const char *key, size_t n)
{
    MDB_val k = {n, (void *)(uintptr_t)key}, value;

    return mdb_get(s->txn, s->dbi, &k, &value) == 0;
}

struct form {
    const char *name;
    void (*open)(struct subject *s, const char *path);
    bool (*find)(struct subject *s, const char *key, size_t n);
    bool again; /* may be opened more than once */
};

static const struct form forms[] = {
    {"text", open_text, find_table, false},
    {"cdb", open_cdb, find_cdb, true},
    {"lmdb", open_lmdb_table, find_lmdb, false},
    {"mph", open_mph, find_mph, true},
    {"cdb-table", open_table_cdb, find_table, true},
    {"mph-table", open_table_mph, find_table, true},
};

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Those that take no time several times, as something else may run in between. */
static void
open_subject(struct subject *s, const char *form, const char *path)
{
    const struct form *f = NULL;
    double us[OPENS];
    size_t n = 0;

    for (size_t i = 0; i < sizeof forms / sizeof *forms && !f; i++)
        if (strcmp(form, forms[i].name) == 0)
            f = &forms[i];
    if (!f)
        die(form);
    do {
        double start = now_ns(CLOCK_MONOTONIC);

        *s = (struct subject){
            .form = f, .arena = arena_open("bench"), .scratch = arena_open("lookup")};
        f->open(s, path);
        us[n++] = (now_ns(CLOCK_MONOTONIC) - start) / 1e3;
    } while (f->again && n < OPENS);
    qsort(us, n, sizeof *us, by_size);
    s->open_us = us[n / 2];
}

struct question {
    uint8_t n;
    char key[KEY - 1];
};

/* Keys far apart from each other, as clients ask them */
static struct question *
questions(uint64_t n, const char *top)
{
    struct question *q = malloc(ASKED * sizeof *q);
    char key[KEY];

    if (!q)
        die("no memory");
    for (uint64_t i = 0; i < ASKED; i++) {
        q[i].n = (uint8_t)key_of((i * UINT64_C(0x9e3779b97f4a7c15) >> 20) % n, top, key);
        memcpy(q[i].key, key, q[i].n + 1U);
    }
    return q;
}

static double
pass(struct subject *s, const struct question *q, bool there)
{
    double start = now_ns(CLOCK_PROCESS_CPUTIME_ID);

    for (size_t i = 0; i < ASKED; i++)
        if (s->form->find(s, q[i].key, q[i].n) != there)
            die("a wrong answer");
    return (now_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / ASKED;
}

static void
print_spread(double v[PASSES])
{
    qsort(v, PASSES, sizeof *v, by_size);
    printf(" %.1f %.1f %.1f", v[PASSES / 2], v[0], v[PASSES - 1]);
}

static void
ask(uint64_t n, char *const forms_and_paths[])
{
    struct question *there = questions(n, "com"), *not_there = questions(n, "net");
    struct subject s[8];
    size_t count = 0;

    for (; forms_and_paths[2 * count] && count < sizeof s / sizeof *s; count++)
        open_subject(&s[count], forms_and_paths[2 * count], forms_and_paths[2 * count + 1]);
    for (size_t p = 0; p < PASSES; p++)
        for (size_t i = 0; i < count; i++) {
            s[i].hit[p] = pass(&s[i], there, true);
            s[i].miss[p] = pass(&s[i], not_there, false);
        }
    for (size_t i = 0; i < count; i++) {
        printf("%s %.1f", s[i].form->name, s[i].open_us);
        print_spread(s[i].hit);
        print_spread(s[i].miss);
        putchar('\n');
    }
    free(there);
    free(not_there);
}

int
main(int argc, char *argv[])
{
    if (argc == 4 && strcmp(argv[1], "write") == 0)
        write_list(strtoull(argv[2], NULL, 10), argv[3]);
    else if (argc == 4 && strcmp(argv[1], "lmdb") == 0)
        write_lmdb(argv[2], argv[3]);
    else if (argc > 4 && argc % 2 == 1 && strcmp(argv[1], "ask") == 0)
        ask(strtoull(argv[2], NULL, 10), argv + 3);
    else
        die("see the head of t/bench/table.c");
    return 0;
}
