#include "conf/mph_shard.h"

#include <cmph.h>
#include <endian.h>

#include "conf/bdz.h"

#define CACHE_LINE 64 /* a slot in two of them would cost twice */

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

static void
put_filter(struct mph_output *o, struct arena *scratch, const struct mph_item *item, uint32_t n,
    struct mph_shard *out)
{
    uint32_t words = mph_filter_words(n);
    uint64_t *filter = arena_alloc(scratch, words * sizeof *filter);

    for (uint32_t i = 0; i < n; i++)
        filter[mph_filter_word(item[i].hash, words)] |= mph_filter_bits(item[i].hash);
    out->filter = o->at;
    out->filter_words = words;
    mph_output_put(o, filter, words * sizeof *filter);
}

/* Each key into its place. false: two have one, so this is no perfect function */
static bool
fill_slots(const struct bdz *f, const struct mph_item *item, uint32_t n, uint64_t *slots)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place[3];
        uint64_t *slot;

        bdz_candidates(f, item[i].hash, place);
        slot = &slots[place[bdz_choice(f, place)]];
        if (*slot != 0)
            return false;
        *slot = mph_slot(item[i].hash, item[i].at);
    }
    return true;
}

bool
mph_shard_put(struct mph_output *o, struct arena *scratch, const struct mph_item *item, uint32_t n,
    struct mph_shard *out)
{
    struct keys keys = {arena_alloc(scratch, n * sizeof *keys.key), n, 0};
    cmph_t *function;
    uint64_t *slots;
    struct bdz f;
    char *packed;

    for (uint32_t i = 0; i < n; i++)
        keys.key[i] = htole64(item[i].hash);
    function = build_function(&keys);
    if (!function)
        return false;
    out->n_keys = n;
    out->function_size = cmph_packed_size(function);
    packed = arena_alloc(scratch, out->function_size);
    cmph_pack(function, packed);
    cmph_destroy(function);
    if (!bdz_parse((const uint8_t *)packed, out->function_size, &f))
        return false;
    slots = arena_alloc(scratch, bdz_places(&f) * sizeof *slots);
    if (!fill_slots(&f, item, n, slots))
        return false;
    put_filter(o, scratch, item, n, out);
    out->function = o->at;
    mph_output_put(o, packed, out->function_size);
    mph_output_align(o, CACHE_LINE);
    out->slots = o->at;
    mph_output_put(o, slots, bdz_places(&f) * sizeof *slots);
    return true;
}
