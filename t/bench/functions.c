/*
 * t/bench/functions - libcmph's candidates for compiled lists, and what conf/bdz makes of the one that
 * was chosen
 *
 *   functions N    N keys of eight bytes, which is what qpsmtpd-table gives to libcmph: for each
 *                  algorithm the ms that building takes, bits a key of the packed form, and ns of
 *                  processor time of a search in it, median (least-most) of some passes by turns
 */
#include <cmph.h>
#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "conf/bdz.h"

#define ASKED  400000U
#define PASSES 7

static void
die(const char *what)
{
    fprintf(stderr, "functions: %s\n", what);
    exit(1);
}

static double
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct keys {
    uint64_t *key;
    uint32_t n, next;
};

static int
read_key(void *data, char **key, cmph_uint32 *n)
{
    struct keys *k = data;

    *key = (char *)&k->key[k->next++];
    *n = sizeof *k->key;
    return sizeof *k->key;
}

static void
dispose_key(void *data, char *key, cmph_uint32 n)
{
    (void)data, (void)key, (void)n;
}

static void
rewind_keys(void *data)
{
    ((struct keys *)data)->next = 0;
}

struct candidate {
    const char *name;
    CMPH_ALGO algorithm;
    bool ours; /* evaluated by conf/bdz */
    char *packed;
    cmph_uint32 size;
    double build_ms;
    double ns[PASSES];
};

static void
build(struct candidate *c, struct keys *k)
{
    cmph_io_adapter_t source = {k, k->n, read_key, dispose_key, rewind_keys};
    cmph_config_t *config = cmph_config_new(&source);
    double start = now_ns();
    cmph_t *function;

    rewind_keys(k);
    cmph_config_set_algo(config, c->algorithm);
    function = cmph_new(config);
    cmph_config_destroy(config);
    if (!function)
        die(c->name);
    c->build_ms = (now_ns() - start) / 1e6;
    c->size = cmph_packed_size(function);
    c->packed = calloc(1, c->size);
    if (!c->packed)
        die("no memory");
    cmph_pack(function, c->packed);
    cmph_destroy(function);
}

static uint32_t
search(const struct candidate *c, const struct bdz *f, const uint64_t *key)
{
    uint32_t place[3];

    if (!c->ours)
        return cmph_search_packed(c->packed, (const char *)key, sizeof *key);
    bdz_candidates(f, le64toh(*key), place);
    return place[bdz_choice(f, place)];
}

static double
pass(const struct candidate *c, const struct keys *k, uint32_t *sum)
{
    struct bdz f = {NULL, 0, 0, 0};
    double start;

    if (c->ours && !bdz_parse((const uint8_t *)c->packed, c->size, &f))
        die("no function");
    start = now_ns();
    for (uint32_t i = 0; i < ASKED; i++)
        *sum += search(c, &f, &k->key[(uint64_t)i * 2654435761U % k->n]);
    return (now_ns() - start) / ASKED;
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

int
main(int argc, char *argv[])
{
    struct candidate candidates[] = {
        {.name = "CHD", .algorithm = CMPH_CHD},
        {.name = "BDZ", .algorithm = CMPH_BDZ},
        {.name = "BDZ_PH", .algorithm = CMPH_BDZ_PH},
        {.name = "BDZ_PH, conf/bdz", .algorithm = CMPH_BDZ_PH, .ours = true},
    };
    size_t count = sizeof candidates / sizeof *candidates;
    struct keys k = {.n = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0};
    uint64_t random = UINT64_C(88172645463325252);
    uint32_t sum = 0;

    if (k.n == 0)
        die("how many keys?");
    k.key = calloc(k.n, sizeof *k.key);
    if (!k.key)
        die("no memory");
    for (uint32_t i = 0; i < k.n; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        k.key[i] = random;
    }
    for (size_t i = 0; i < count; i++)
        build(&candidates[i], &k);
    for (size_t p = 0; p < PASSES; p++)
        for (size_t i = 0; i < count; i++)
            candidates[i].ns[p] = pass(&candidates[i], &k, &sum);
    for (size_t i = 0; i < count; i++) {
        struct candidate *c = &candidates[i];

        qsort(c->ns, PASSES, sizeof *c->ns, by_size);
        printf("%9u %-18s %9.1f %8.2f %8.1f (%.1f-%.1f)\n", k.n, c->name, c->build_ms,
            c->size * 8.0 / k.n, c->ns[PASSES / 2], c->ns[0], c->ns[PASSES - 1]);
        free(c->packed);
    }
    free(k.key);
    return sum == 1; /* so that no search is left out */
}
