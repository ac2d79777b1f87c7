#include "conf/cdb.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * The format (cr.yp.to/cdb/cdb.txt), all numbers 32 bits, little-endian: 256 pairs (position of a
 * hash table, number of its slots); the records: key length, data length, key, data; the hash
 * tables, whose slots are (hash, position of the record), position 0 for a free slot.
 */
#define HEADER_SIZE 2048U
#define PAIR_SIZE   8U

struct pair {
    uint32_t first, second;
};

static uint32_t
hash_of(struct str key)
{
    uint32_t h = 5381;

    for (size_t i = 0; i < key.n; i++)
        h = h * 33 ^ (uint8_t)key.p[i];
    return h;
}

static bool
inside(const struct cdb *c, uint64_t at, uint64_t n)
{
    return at <= c->n && n <= c->n - at;
}

static uint32_t
number_at(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool
pair_at(const struct cdb *c, uint64_t at, struct pair *out)
{
    if (!inside(c, at, PAIR_SIZE))
        return false;
    *out = (struct pair){number_at(c->p + at), number_at(c->p + at + 4)};
    return true;
}

/* Is this the record of that key? Its hash was right. */
static enum cdb_status
record_at(const struct cdb *c, uint64_t at, struct str key, struct str *value)
{
    struct pair length; /* of key and data */
    const char *p;

    if (at < HEADER_SIZE || !pair_at(c, at, &length))
        return CDB_BROKEN;
    at += PAIR_SIZE;
    if (!inside(c, at, (uint64_t)length.first + length.second))
        return CDB_BROKEN;
    p = (const char *)c->p + at;
    if (!str_eq(key, (struct str){p, length.first}))
        return CDB_ABSENT;
    *value = (struct str){p + length.first, length.second};
    return CDB_FOUND;
}

bool
cdb_open(struct cdb *c, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    void *p;

    *c = (struct cdb){NULL, 0};
    if (fd < 0)
        return err_sys(e, "%s", path);
    if (fstat(fd, &st) < 0) {
        err_sys(e, "%s", path);
        goto fail;
    }
    errno = EINVAL;
    if (!S_ISREG(st.st_mode)) {
        err_set(e, "%s: not a regular file", path);
        goto fail;
    }
    if (st.st_size < (off_t)HEADER_SIZE) {
        err_set(e, "%s: too short for a cdb", path);
        goto fail;
    }
    /* Writers replace a cdb by rename(2), so the file behind the mapping does not become shorter.
     */
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        err_sys(e, "%s", path);
        goto fail;
    }
    close(fd);
    *c = (struct cdb){p, (size_t)st.st_size};
    return true;
fail:
    close(fd);
    return false;
}

void
cdb_close(struct cdb *c)
{
    if (c->p)
        munmap((void *)(uintptr_t)c->p, c->n); /* const for readers, not for the system */
    *c = (struct cdb){NULL, 0};
}

enum cdb_status
cdb_find(const struct cdb *c, struct str key, struct str *value)
{
    uint32_t hash = hash_of(key);
    struct pair table, slot; /* (position, slots) and (hash, position of the record) */

    if (c->n < HEADER_SIZE || !pair_at(c, (uint64_t)(hash & 255) * PAIR_SIZE, &table))
        return CDB_BROKEN;
    if (table.second == 0)
        return CDB_ABSENT;
    if (table.first < HEADER_SIZE || !inside(c, table.first, (uint64_t)table.second * PAIR_SIZE))
        return CDB_BROKEN;
    for (uint32_t i = 0; i < table.second; i++) {
        uint64_t nth = ((uint64_t)(hash >> 8) + i) % table.second;
        enum cdb_status status;

        if (!pair_at(c, table.first + nth * PAIR_SIZE, &slot))
            return CDB_BROKEN;
        if (slot.second == 0)
            return CDB_ABSENT;
        if (slot.first != hash)
            continue;
        status = record_at(c, slot.second, key, value);
        if (status != CDB_ABSENT)
            return status;
    }
    return CDB_ABSENT;
}
