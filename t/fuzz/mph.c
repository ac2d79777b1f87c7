/*
 * t/fuzz/mph - any bytes as a compiled list: nothing is read outside of them, and what is found
 * stands behind its key
 *
 * Input: the length of the key in one byte, the key, the file. The file is tried as it is, and once
 * more as if its sums were right and its size and that of its entries possible: the sums are no
 * protection from somebody who can count.
 */
#include <assert.h>

#include "conf/mph.h"
#include "conf/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
look(struct arena *a, const uint8_t *p, size_t n, bool trusted, struct str key)
{
    const char *end = (const char *)p + n;
    struct mph_entry entry;
    uint64_t at = 0;
    struct err e;
    struct mph m;

    if (!mph_view(&m, a, p, n, trusted, &e))
        return;
    if (mph_find(&m, key, &entry) == MPH_FOUND) {
        assert(str_eq(entry.key, key));
        assert(entry.key.p > (const char *)p && entry.value.p + entry.value.n <= end);
    }
    while (mph_next(&m, &at, &entry) == MPH_FOUND) {
        struct mph_entry again;
        char *room = arena_alloc(a, TABLE_ROOM(entry.key));

        assert(entry.key.p > (const char *)p && entry.value.p + entry.value.n <= end);
        assert(at <= n);
        mph_find(&m, entry.key, &again);
        table_entry_text(TABLE_IP, entry.key, room);
    }
    mph_check(&m);
}

/* As a forger would: the header belongs to a file of this size. */
static void
forge(uint8_t *p, size_t n)
{
    struct mph_header h;
    size_t sums;

    memcpy(&h, p, sizeof h);
    memcpy(h.magic, MPH_MAGIC, sizeof h.magic);
    h.order = MPH_ORDER;
    h.version = MPH_VERSION;
    h.size = n;
    for (sums = n; sums > 0 && sums + (sums + MPH_BLOCK - 1) / MPH_BLOCK * 4 > n; sums--)
        continue;
    h.sums = sums;
    h.n_shards %= 4;
    if (sums >= h.n_shards * sizeof(struct mph_shard))
        h.directory = sums - h.n_shards * sizeof(struct mph_shard);
    if (h.entries_end > h.directory)
        h.entries_end = h.directory;
    h.sum = mph_hash(0, &h, offsetof(struct mph_header, sum));
    memcpy(p, &h, sizeof h);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_open("fuzz");
    struct str key;
    uint8_t *file;
    size_t size;

    if (n > 0 && n - 1 >= data[0]) {
        key = (struct str){(const char *)data + 1, data[0]};
        size = n - 1 - key.n;
        file = arena_alloc(a, size); /* alone, so that the sanitizer sees its end */
        memcpy(file, data + 1 + key.n, size);
        look(a, file, size, false, key);
        if (size >= sizeof(struct mph_header)) {
            forge(file, size);
            look(a, file, size, true, key);
        }
    }
    arena_close(&a);
    return 0;
}
