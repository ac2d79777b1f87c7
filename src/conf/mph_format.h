/*
 * conf/mph_format - what stands in a NAME.mph, for conf/mph and conf/mph_build
 *
 *   header     struct mph_header; block 0 begins with it
 *   entries    in the order of the list: length of key, length of value (7 bits a byte, least first,
 *              the highest bit says that more follow), key, value
 *   shards     in the order of the directory: a filter, words of 64 bits, of which each key has four
 *              bits set in one; a function packed by libcmph (conf/bdz); from a multiple of 64 on,
 *              one mph_slot for each of its places, 0 where no key is
 *   directory  struct mph_shard, one for each shard
 *   sums       32 bits of mph_hash of each block of 4096 bytes of all that stands before them
 *
 * A key's shard, its bits in the filter, its place and 24 bits of its slot come out of one 64-bit
 * hash: a stranger is mostly known by the filter, which is small enough to be in the cache, and
 * nearly always by the slot. Numbers have the order of the machine that wrote them; another one
 * refuses the file.
 */
#ifndef QPSMTPD_CONF_MPH_FORMAT_H
#define QPSMTPD_CONF_MPH_FORMAT_H

#include <stdint.h>
#include <string.h>

#include "base/str.h"

#define MPH_MAGIC      "\211MPH\r\n\032\n" /* text transfers damage it, as PNG's does */
#define MPH_ORDER      UINT32_C(0x01020304)
#define MPH_VERSION    1
#define MPH_BLOCK      4096U
#define MPH_SHARD_KEYS 65536U /* on average */
#define MPH_SHARDS_MAX 65536U
#define MPH_OFFSET     40         /* bits of a slot */
#define MPH_TEXT_MAX   (1U << 20) /* of a key, of a value */

struct mph_header {
    char magic[8];
    uint32_t order, version;
    uint32_t kind; /* enum table_match */
    uint32_t n_shards;
    uint64_t seed; /* of the hash */
    uint64_t size; /* of the file */
    uint64_t entries_end, directory, sums;
    uint64_t n_keys, n_lines; /* different ones; all */
    uint64_t lengths[3];      /* bit n: there are networks of n bits */
    /* What it was made of. */
    int64_t text_seconds;
    uint32_t text_nanoseconds;
    uint32_t zero;
    uint64_t text_size;
    int64_t built; /* seconds since the epoch */
    uint64_t sum;  /* mph_hash of all before it */
};

struct mph_shard {
    uint64_t filter, function, slots; /* where they begin */
    uint32_t filter_words, function_size;
    uint32_t n_keys, zero;
};

/* mph_hash - 64 bits of text, different ones for each seed */
static inline uint64_t
mph_hash(uint64_t seed, const void *text, size_t n)
{
    const uint8_t *p = text;
    const size_t whole = n;
    uint64_t h = seed ^ n * UINT64_C(0x9e3779b97f4a7c15), word;

    for (; n > sizeof word; p += sizeof word, n -= sizeof word) {
        memcpy(&word, p, sizeof word);
        h = (h ^ word) * UINT64_C(0xd6e8feb86659fd93);
        h = h << 29 | h >> 35;
    }
    if (whole >= sizeof word) /* the last eight bytes, some of them once more */
        memcpy(&word, p + n - sizeof word, sizeof word);
    else
        for (word = 0; n > 0; n--)
            word = word << 8 | p[n - 1];
    h = (h ^ word) * UINT64_C(0xd6e8feb86659fd93);
    /* the end of MurmurHash3 (Austin Appleby, public domain): each bit reaches each other */
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

/* mph_block_sum - 32 bits of a block; four sums side by side, as one alone would wait for each of
 * its multiplications */
static inline uint32_t
mph_block_sum(const uint8_t *p, size_t n)
{
    uint64_t sum[4] = {1, 2, 3, n};

    for (; n >= sizeof sum; p += sizeof sum, n -= sizeof sum) {
        uint64_t word[4];

        memcpy(word, p, sizeof word);
        for (int i = 0; i < 4; i++) {
            sum[i] = (sum[i] ^ word[i]) * UINT64_C(0xd6e8feb86659fd93);
            sum[i] = sum[i] << 29 | sum[i] >> 35;
        }
    }
    return (uint32_t)mph_hash(mph_hash(0, p, n), sum, sizeof sum);
}

/* mph_shard_of - h is spread over the shards in its own order, so a sorted list is a list of shards
 */
static inline uint32_t
mph_shard_of(uint64_t h, uint32_t n_shards)
{
    return (uint32_t)((h >> 32) * n_shards >> 32);
}

/* mph_filter_words - for so many keys: eight bits each, with which 1 stranger in 20 passes */
static inline uint32_t
mph_filter_words(uint32_t n_keys)
{
    return n_keys / 8 + 1;
}

static inline uint32_t
mph_filter_word(uint64_t h, uint32_t n_words)
{
    return (uint32_t)((h & UINT32_MAX) * n_words >> 32);
}

static inline uint64_t
mph_filter_bits(uint64_t h)
{
    h *= UINT64_C(0x9e3779b97f4a7c15); /* other bits than those that the word and the slot take */
    return UINT64_C(1) << (h >> 58) | UINT64_C(1) << (h >> 52 & 63) |
           UINT64_C(1) << (h >> 46 & 63) | UINT64_C(1) << (h >> 40 & 63);
}

static inline uint64_t
mph_slot(uint64_t h, uint64_t at)
{
    return h << MPH_OFFSET | at;
}

#endif
