#include "conf/mph_build.h"

#include <cmph.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "conf/bdz.h"

#define PART_LINES 262144U
#define PARTS_MAX  256U /* each has a descriptor */
#define CACHE_LINE 64   /* a slot in two of them would cost twice */

/* The file that is written, block by block. */
struct output {
    FILE *file;
    uint64_t at;
    uint8_t first[MPH_BLOCK]; /* block 0, whose header is known in the end */
    uint8_t block[MPH_BLOCK]; /* the one that is being filled */
    uint32_t *sums;
    size_t n_sums, room;
};

/* A key in a temporary file; its bytes follow. */
struct spilled {
    uint64_t hash, at;
    uint64_t n;
};

struct item {
    uint64_t hash;
    const char *spilled; /* not aligned */
};

struct mph_build {
    struct arena *arena;
    struct arena *part_arena;
    const char *path;
    char *temporary; /* NULL: there is none, or it was renamed */
    struct output out;
    FILE *parts[PARTS_MAX];
    uint32_t n_parts;
    struct mph_shard *shards;
    uint32_t n_shards;
    uint64_t seed;
    uint64_t n_keys, n_lines;
};

/* ---- the file ---- */

static void
end_block(struct output *o)
{
    size_t n = (o->at - 1) % MPH_BLOCK + 1;

    if (o->n_sums == 0)
        memcpy(o->first, o->block, n);
    o->sums[o->n_sums++] = mph_block_sum(o->block, n);
}

static void
put(struct mph_build *b, const void *data, size_t n)
{
    struct output *o = &b->out;

    fwrite(data, 1, n, o->file); /* who asks ferror() in the end misses nothing */
    while (n > 0) {
        size_t used = o->at % MPH_BLOCK;
        size_t take = n < MPH_BLOCK - used ? n : MPH_BLOCK - used;

        memcpy(o->block + used, data, take);
        data = (const uint8_t *)data + take;
        n -= take;
        o->at += take;
        if (o->at % MPH_BLOCK != 0)
            continue;
        if (o->n_sums + 2 > o->room) {
            size_t room = o->room ? 2 * o->room : 1024;

            o->sums =
                arena_grow(b->arena, o->sums, o->room * sizeof *o->sums, room * sizeof *o->sums);
            o->room = room;
        }
        end_block(o);
    }
}

static void
put_aligned(struct mph_build *b, size_t to)
{
    static const uint8_t zero[CACHE_LINE] = {0};

    put(b, zero, (to - b->out.at % to) % to);
}

static void
put_varint(struct mph_build *b, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;

    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    put(b, bytes, n);
}

/* ---- temporary files ---- */

/* One that has no name, beside the file that it is for. */
static FILE *
open_part(const char *beside, struct err *e)
{
    char name[PATH_MAX];
    FILE *f;
    int fd;

    if (snprintf(name, sizeof name, "%s.part.XXXXXX", beside) >= (int)sizeof name) {
        err_set(e, "%s: name too long", beside);
        return NULL;
    }
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0 || unlink(name) < 0 || !(f = fdopen(fd, "w+"))) {
        err_sys(e, "%s", name);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    return f;
}

static bool
open_output(struct mph_build *b, struct err *e)
{
    char *name = arena_printf(b->arena, "%s.XXXXXX", b->path);
    int fd = mkostemp(name, O_CLOEXEC);

    if (fd < 0)
        return err_sys(e, "%s", name);
    b->temporary = name;
    b->out.file = fdopen(fd, "w+");
    if (!b->out.file) {
        err_sys(e, "%s", name);
        close(fd);
        return false;
    }
    setvbuf(b->out.file, NULL, _IOFBF, 1U << 18);
    return true;
}

struct mph_build *
mph_build_open(const char *path, uint64_t lines, unsigned int attempt, struct err *e)
{
    struct arena *a = arena_open("compiled list");
    struct mph_build *b = arena_alloc(a, sizeof *b);
    uint64_t shards = (lines + MPH_SHARD_KEYS - 1) / MPH_SHARD_KEYS;
    uint64_t parts = (lines + PART_LINES - 1) / PART_LINES;
    struct mph_header room = {.magic = ""};

    b->arena = a;
    b->part_arena = arena_open("part of a list");
    b->path = arena_dup(a, str_of(path));
    b->n_shards = shards < MPH_SHARDS_MAX ? (uint32_t)shards : MPH_SHARDS_MAX;
    b->n_parts = parts < PARTS_MAX ? (uint32_t)parts : PARTS_MAX;
    b->shards = arena_alloc(a, b->n_shards * sizeof *b->shards);
    b->seed = mph_hash(attempt, "seed", 4);
    if (!open_output(b, e))
        goto fail;
    for (uint32_t i = 0; i < b->n_parts; i++)
        if (!(b->parts[i] = open_part(b->path, e)))
            goto fail;
    put(b, &room, sizeof room);
    return b;
fail:
    mph_build_close(&b);
    return NULL;
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
        return err_set(e, "%s: the list is too large", b->path);
    put_varint(b, key.n);
    put_varint(b, value.n);
    put(b, key.p, key.n);
    put(b, value.p, value.n);
    b->n_lines++;
    if (fwrite(&s, sizeof s, 1, part) != 1 || fwrite(key.p, 1, key.n, part) != key.n)
        return err_sys(e, "%s.part", b->path);
    return true;
}

/* ---- shards ---- */

/* Where cmph reads keys: each is its hash, eight bytes, so its own hashing costs the same for all. */
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

/* The parameters are those of cmph_io_adapter_t. */
static void
dispose_key(void *data, char *key, cmph_uint32 n) /* NOLINT(readability-non-const-parameter) */
{
    (void)data, (void)key, (void)n;
}

static void
rewind_keys(void *data)
{
    ((struct keys *)data)->next = 0;
}

static cmph_t *
build_function(struct keys *k)
{
    cmph_io_adapter_t source = {k, k->n, read_key, dispose_key, rewind_keys};
    cmph_config_t *config = cmph_config_new(&source);
    cmph_t *function;

    cmph_config_set_algo(config, CMPH_BDZ_PH);
    function = cmph_new(config);
    cmph_config_destroy(config);
    return function;
}

static struct spilled
head_of(const char *spilled)
{
    struct spilled s;

    memcpy(&s, spilled, sizeof s);
    return s;
}

static void
put_filter(struct mph_build *b, struct mph_shard *shard, const struct item *item, uint32_t n)
{
    uint32_t words = mph_filter_words(n);
    uint64_t *filter = arena_alloc(b->part_arena, words * sizeof *filter);

    for (uint32_t i = 0; i < n; i++)
        filter[mph_filter_word(item[i].hash, words)] |= mph_filter_bits(item[i].hash);
    shard->filter = b->out.at;
    shard->filter_words = words;
    put(b, filter, words * sizeof *filter);
}

/* Each key into its place. false: two have one, so this is no perfect function */
static bool
fill_slots(const struct bdz *f, const struct item *item, uint32_t n, uint64_t *slots)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place[3];
        uint64_t *slot;

        bdz_candidates(f, item[i].hash, place);
        slot = &slots[place[bdz_choice(f, place)]];
        if (*slot != 0)
            return false;
        *slot = mph_slot(item[i].hash, head_of(item[i].spilled).at);
    }
    return true;
}

/* Items of one shard. false: cmph found no function for these hashes. */
static bool
put_shard(struct mph_build *b, struct mph_shard *shard, const struct item *item, uint32_t n)
{
    struct keys keys = {arena_alloc(b->part_arena, n * sizeof *keys.key), n, 0};
    cmph_t *function;
    uint64_t *slots;
    struct bdz f;
    char *packed;

    for (uint32_t i = 0; i < n; i++)
        keys.key[i] = htole64(item[i].hash);
    function = build_function(&keys);
    if (!function)
        return false;
    shard->n_keys = n;
    shard->function_size = cmph_packed_size(function);
    packed = arena_alloc(b->part_arena, shard->function_size);
    cmph_pack(function, packed);
    cmph_destroy(function);
    if (!bdz_parse((const uint8_t *)packed, shard->function_size, &f))
        return false;
    slots = arena_alloc(b->part_arena, bdz_places(&f) * sizeof *slots);
    if (!fill_slots(&f, item, n, slots))
        return false;
    put_filter(b, shard, item, n);
    shard->function = b->out.at;
    put(b, packed, shard->function_size);
    put_aligned(b, CACHE_LINE);
    shard->slots = b->out.at;
    put(b, slots, bdz_places(&f) * sizeof *slots);
    b->n_keys += n;
    return true;
}

/* By hash; equal ones as in the list, which is also how they stand in memory. */
static int
compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->spilled < y->spilled ? -1 : 1;
}

/* Sorted ones: drop what comes again. false: different keys of one hash. */
static bool
drop_equal(struct item *item, size_t *n)
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
static struct item *
load_part(struct mph_build *b, FILE *part, size_t *n, struct err *e)
{
    long size = fflush(part) == 0 && fseek(part, 0, SEEK_END) == 0 ? ftell(part) : -1;
    char *text = arena_alloc(b->part_arena, size > 0 ? (size_t)size : 0);
    struct item *item;
    const char *p;

    rewind(part);
    if (size < 0 || fread(text, 1, (size_t)size, part) != (size_t)size) {
        err_sys(e, "%s.part", b->path);
        return NULL;
    }
    *n = 0;
    for (p = text; p < text + size; p = next_spilled(p))
        ++*n;
    item = arena_alloc(b->part_arena, *n * sizeof *item);
    p = text;
    for (size_t i = 0; i < *n; i++, p = next_spilled(p))
        item[i] = (struct item){head_of(p).hash, p};
    return item;
}

static enum mph_build_status
put_part(struct mph_build *b, FILE *part, struct err *e)
{
    size_t n = 0, from = 0;
    struct item *item = load_part(b, part, &n, e);

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
        if (!put_shard(b, &b->shards[shard], item + from, (uint32_t)(end - from)))
            return MPH_BUILD_AGAIN;
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

/* The header goes into block 0, whose sum is known only then. */
static bool
put_sums(struct mph_build *b, const struct mph_header *h)
{
    struct output *o = &b->out;
    size_t n_first = o->at < MPH_BLOCK ? (size_t)o->at : MPH_BLOCK;

    if (o->n_sums == 0)
        o->sums = arena_alloc(b->arena, 2 * sizeof *o->sums);
    if (o->at % MPH_BLOCK != 0)
        end_block(o);
    memcpy(o->first, h, sizeof *h);
    o->sums[0] = mph_block_sum(o->first, n_first);
    fwrite(o->sums, sizeof *o->sums, o->n_sums, o->file);
    if (fseek(o->file, 0, SEEK_SET) != 0)
        return false;
    fwrite(o->first, 1, n_first, o->file);
    return fflush(o->file) == 0 && !ferror(o->file);
}

/* What may read the list may read this. An owner that we may not set stays ours, as after cp(1). */
static bool
put_on_disk(const struct mph_build *b, const struct stat *mode)
{
    int fd = fileno(b->out.file);

    if (fchown(fd, mode->st_uid, mode->st_gid) < 0 && errno != EPERM)
        return false;
    return fchmod(fd, mode->st_mode & 0777) == 0 && fsync(fd) == 0;
}

enum mph_build_status
mph_build_finish(
    struct mph_build *b, struct mph_header *about, const struct stat *mode, struct err *e)
{
    uint64_t entries_end = b->out.at;

    put_aligned(b, 8);
    for (uint32_t i = 0; i < b->n_parts; i++) {
        enum mph_build_status status = put_part(b, b->parts[i], e);

        arena_reset(b->part_arena);
        fclose(b->parts[i]);
        b->parts[i] = NULL;
        if (status != MPH_BUILD_DONE)
            return status;
        put_aligned(b, 8);
    }
    about->directory = b->out.at;
    if (b->n_keys > 0)
        put(b, b->shards, b->n_shards * sizeof *b->shards);
    fill_header(b, entries_end, about->directory, about);
    if (about->size >> MPH_OFFSET != 0) {
        err_set(e, "%s: the list is too large", b->path);
        return MPH_BUILD_FAILED;
    }
    if (!put_sums(b, about) || !put_on_disk(b, mode)) {
        err_sys(e, "%s", b->temporary);
        return MPH_BUILD_FAILED;
    }
    return MPH_BUILD_DONE;
}

const char *
mph_build_temporary(const struct mph_build *b)
{
    return b->temporary;
}

bool
mph_build_rename(struct mph_build *b, struct err *e)
{
    char *copy = arena_dup(b->arena, str_of(b->path));
    int fd;

    if (rename(b->temporary, b->path) < 0)
        return err_sys(e, "%s", b->path);
    b->temporary = NULL;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        err_sys(e, "%s", copy);
        if (fd >= 0)
            close(fd);
        return false;
    }
    close(fd);
    return true;
}

void
mph_build_close(struct mph_build **b)
{
    struct arena *a;

    if (!*b)
        return;
    for (uint32_t i = 0; i < (*b)->n_parts; i++)
        if ((*b)->parts[i])
            fclose((*b)->parts[i]);
    if ((*b)->out.file)
        fclose((*b)->out.file);
    if ((*b)->temporary)
        unlink((*b)->temporary);
    arena_close(&(*b)->part_arena);
    a = (*b)->arena;
    *b = NULL;
    arena_close(&a);
}
