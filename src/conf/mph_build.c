#include "conf/mph_build.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/mph_shard.h"

#define PART_LINES 262144U
#define PARTS_MAX  256U /* each has a descriptor */

/* A key in a temporary file; its bytes follow. */
struct spilled {
    uint64_t hash, at;
    uint64_t n;
};

struct mph_build {
    struct arena *arena;
    struct arena *part_arena;
    struct mph_output out;
    FILE *parts[PARTS_MAX];
    uint32_t n_parts;
    struct mph_shard *shards;
    uint32_t n_shards;
    uint64_t seed;
    uint64_t n_keys, n_lines;
};

/* ---- temporary files ---- */

static void
close_part(void *file)
{
    fclose(file);
}

/* One that has no name, beside the file that it is for; closed with the arena. */
static FILE *
open_part(struct arena *a, const char *beside, struct err *e)
{
    char *name = arena_printf(a, "%s.part.XXXXXX", beside);
    int fd = mkostemp(name, O_CLOEXEC);
    FILE *f;

    if (fd < 0 || unlink(name) < 0 || !(f = fdopen(fd, "w+"))) {
        err_sys(e, "%s", name);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    arena_at_reset(a, close_part, f);
    return f;
}

static bool
open_parts(struct mph_build *b, struct err *e)
{
    for (uint32_t i = 0; i < b->n_parts; i++)
        if (!(b->parts[i] = open_part(b->arena, b->out.path, e)))
            return false;
    return true;
}

struct mph_build *
mph_build_open(const char *path, uint64_t lines, unsigned int attempt, struct err *e)
{
    struct arena *a = arena_open("compiled list");
    struct mph_build *b = arena_alloc(a, sizeof *b);
    uint64_t shards = (lines + MPH_SHARD_KEYS - 1) / MPH_SHARD_KEYS;
    uint64_t parts = (lines + PART_LINES - 1) / PART_LINES;

    b->arena = a;
    b->part_arena = arena_open("part of a list");
    b->n_shards = shards < MPH_SHARDS_MAX ? (uint32_t)shards : MPH_SHARDS_MAX;
    b->n_parts = parts < PARTS_MAX ? (uint32_t)parts : PARTS_MAX;
    b->shards = arena_alloc(a, b->n_shards * sizeof *b->shards);
    b->seed = mph_hash(attempt, "seed", 4);
    if (!mph_output_open(&b->out, a, arena_dup(a, str_of(path)), e) || !open_parts(b, e))
        mph_build_close(&b);
    return b;
}

bool
mph_build_add(struct mph_build *b, struct str key, struct str value, struct err *e)
{
    struct spilled s = {mph_hash(b->seed, key.p, key.n), b->out.at, key.n};
    uint64_t shard = mph_shard_of(s.hash, b->n_shards);
    FILE *part = b->parts[shard * b->n_parts / b->n_shards];

    if (key.n > MPH_TEXT_MAX || value.n > MPH_TEXT_MAX)
        return err_set(e, "longer than %u bytes", MPH_TEXT_MAX);
    if (s.at >> MPH_OFFSET != 0)
        return err_set(e, "%s: the list is too large", b->out.path);
    mph_output_varint(&b->out, key.n);
    mph_output_varint(&b->out, value.n);
    mph_output_put(&b->out, key.p, key.n);
    mph_output_put(&b->out, value.p, value.n);
    b->n_lines++;
    if (fwrite(&s, sizeof s, 1, part) != 1 || fwrite(key.p, 1, key.n, part) != key.n)
        return err_sys(e, "%s.part", b->out.path);
    return true;
}

/* ---- parts ---- */

static struct spilled
head_of(const char *spilled)
{
    struct spilled s;

    memcpy(&s, spilled, sizeof s);
    return s;
}

/* By hash; equal ones as in the list, which is also how they stand in memory. */
static int
compare(const void *a, const void *b)
{
    const struct mph_item *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->spilled < y->spilled ? -1 : 1;
}

/* Sorted ones: drop what comes again. false: different keys of one hash. */
static bool
drop_equal(struct mph_item *item, size_t *n)
{
    size_t kept = 0;

    for (size_t i = 0; i < *n; i++) {
        struct spilled here = head_of(item[i].spilled), before;

        if (kept == 0 || item[kept - 1].hash != item[i].hash) {
            item[kept++] = item[i];
            continue;
        }
        before = head_of(item[kept - 1].spilled);
        if (here.n != before.n || memcmp(item[i].spilled + sizeof here,
                                      item[kept - 1].spilled + sizeof here, (size_t)here.n) != 0)
            return false;
    }
    *n = kept;
    return true;
}

static const char *
next_spilled(const char *spilled)
{
    return spilled + sizeof(struct spilled) + head_of(spilled).n;
}

/* All of a temporary file, in part_arena. NULL: it failed. */
static struct mph_item *
load_part(struct mph_build *b, FILE *part, size_t *n, struct err *e)
{
    long size = fflush(part) == 0 && fseek(part, 0, SEEK_END) == 0 ? ftell(part) : -1;
    char *text = arena_alloc(b->part_arena, size > 0 ? (size_t)size : 0);
    struct mph_item *item;
    const char *p;

    rewind(part);
    if (size < 0 || fread(text, 1, (size_t)size, part) != (size_t)size) {
        err_sys(e, "%s.part", b->out.path);
        return NULL;
    }
    *n = 0;
    for (p = text; p < text + size; p = next_spilled(p))
        ++*n;
    item = arena_alloc(b->part_arena, *n * sizeof *item);
    p = text;
    for (size_t i = 0; i < *n; i++, p = next_spilled(p))
        item[i] = (struct mph_item){head_of(p).hash, head_of(p).at, p};
    return item;
}

static enum mph_build_status
put_part(struct mph_build *b, FILE *part, struct err *e)
{
    size_t n = 0, from = 0;
    struct mph_item *item = load_part(b, part, &n, e);

    if (!item)
        return MPH_BUILD_FAILED;
    if (n > 0)
        qsort(item, n, sizeof *item, compare);
    if (!drop_equal(item, &n))
        return MPH_BUILD_AGAIN;
    while (from < n) {
        uint32_t shard = mph_shard_of(item[from].hash, b->n_shards);
        size_t end = from;

        while (end < n && mph_shard_of(item[end].hash, b->n_shards) == shard)
            end++;
        if (!mph_shard_put(
                &b->out, b->part_arena, item + from, (uint32_t)(end - from), &b->shards[shard]))
            return MPH_BUILD_AGAIN;
        b->n_keys += end - from;
        from = end;
    }
    return MPH_BUILD_DONE;
}

/* ---- the end ---- */

static void
fill_header(
    const struct mph_build *b, uint64_t entries_end, uint64_t directory, struct mph_header *h)
{
    memcpy(h->magic, MPH_MAGIC, sizeof h->magic);
    h->order = MPH_ORDER;
    h->version = MPH_VERSION;
    h->n_shards = b->n_keys > 0 ? b->n_shards : 0;
    h->seed = b->seed;
    h->entries_end = entries_end;
    h->directory = directory;
    h->sums = b->out.at;
    h->size = h->sums + (h->sums + MPH_BLOCK - 1) / MPH_BLOCK * sizeof(uint32_t);
    h->n_keys = b->n_keys;
    h->n_lines = b->n_lines;
    h->sum = mph_hash(0, h, offsetof(struct mph_header, sum));
}

enum mph_build_status
mph_build_finish(
    struct mph_build *b, struct mph_header *about, const struct stat *mode, struct err *e)
{
    uint64_t entries_end = b->out.at;

    mph_output_align(&b->out, 8);
    for (uint32_t i = 0; i < b->n_parts; i++) {
        enum mph_build_status status = put_part(b, b->parts[i], e);

        arena_reset(b->part_arena);
        if (status != MPH_BUILD_DONE)
            return status;
        if (ftruncate(fileno(b->parts[i]), 0) < 0) { /* its room is wanted */
            err_sys(e, "%s.part", b->out.path);
            return MPH_BUILD_FAILED;
        }
        mph_output_align(&b->out, 8);
    }
    about->directory = b->out.at;
    if (b->n_keys > 0)
        mph_output_put(&b->out, b->shards, b->n_shards * sizeof *b->shards);
    fill_header(b, entries_end, about->directory, about);
    if (about->size >> MPH_OFFSET != 0) {
        err_set(e, "%s: the list is too large", b->out.path);
        return MPH_BUILD_FAILED;
    }
    if (!mph_output_end(&b->out, about, mode)) {
        err_sys(e, "%s", b->out.temporary);
        return MPH_BUILD_FAILED;
    }
    return MPH_BUILD_DONE;
}

const char *
mph_build_temporary(const struct mph_build *b)
{
    return b->out.temporary;
}

bool
mph_build_rename(struct mph_build *b, struct err *e)
{
    return mph_output_rename(&b->out, e);
}

void
mph_build_close(struct mph_build **b)
{
    struct arena *a;

    if (!*b)
        return;
    mph_output_close(&(*b)->out);
    arena_close(&(*b)->part_arena);
    a = (*b)->arena;
    *b = NULL;
    arena_close(&a);
}
