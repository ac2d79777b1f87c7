#include "conf/mph.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/bdz.h"

struct mph_known {
    struct bdz function;
    uint64_t filter, slots; /* where they begin */
    uint32_t filter_words;
    uint32_t n_places; /* 0: there are no keys */
    bool known;
};

#define BLOCK_BITS  12
#define VARINT_MAX  5
#define LENGTHS_MAX ((uint64_t)2 * VARINT_MAX)

/* Out of the way of lookups, which need the registers. Not cold: sums are to be computed fast. */
#define SELDOM __attribute__((noinline))

static_assert(1U << BLOCK_BITS == MPH_BLOCK, "blocks are what their sums are of");

/* ---- sums ---- */

static bool
is_set(const uint8_t *bits, uint64_t n)
{
    return bits[n >> 3] >> (n & 7) & 1;
}

static void
set(uint8_t *bits, uint64_t n)
{
    bits[n >> 3] = (uint8_t)(bits[n >> 3] | 1U << (n & 7));
}

static bool
check_block(const struct mph *m, uint64_t block)
{
    uint64_t at = block << BLOCK_BITS, left = m->header.sums - at;
    uint32_t sum;

    memcpy(&sum, m->map.p + m->header.sums + block * sizeof sum, sizeof sum);
    if (mph_block_sum(m->map.p + at, left < MPH_BLOCK ? (size_t)left : MPH_BLOCK) != sum)
        return false;
    set(m->blocks, block);
    return true;
}

static bool SELDOM
check_blocks(const struct mph *m, uint64_t block, uint64_t last)
{
    for (; block <= last; block++)
        if (!is_set(m->blocks, block) && !check_block(m, block))
            return false;
    return true;
}

/* Do these bytes lie before the sums, and are they what was written? */
static inline bool
is_sound(const struct mph *m, uint64_t at, uint64_t n)
{
    uint64_t block = at >> BLOCK_BITS, last = (at + n - 1) >> BLOCK_BITS;

    if (n == 0 || at > m->header.sums || n > m->header.sums - at)
        return false;
    return (block == last && is_set(m->blocks, block)) || check_blocks(m, block, last);
}

bool
mph_check(const struct mph *m)
{
    for (uint64_t at = 0; at < m->header.sums; at += MPH_BLOCK)
        if (!check_block(m, at >> BLOCK_BITS))
            return false;
    return true;
}

/* ---- opening ---- */

static uint64_t
sums_size(uint64_t sums)
{
    return (sums + MPH_BLOCK - 1) / MPH_BLOCK * sizeof(uint32_t);
}

/* What else the rest relies on: where the parts are, so that no sum of two offsets overflows. */
static bool
is_laid_out(const struct mph_header *h)
{
    return h->size < (uint64_t)1 << MPH_OFFSET && h->sums < h->size &&
           sums_size(h->sums) == h->size - h->sums && h->entries_end >= sizeof *h &&
           h->entries_end <= h->directory && h->directory <= h->sums &&
           h->n_shards <= MPH_SHARDS_MAX &&
           h->sums - h->directory == h->n_shards * sizeof(struct mph_shard);
}

static bool
check_header(const struct mph_header *h, uint64_t size, struct err *e)
{
    if (memcmp(h->magic, MPH_MAGIC, sizeof h->magic) != 0)
        return err_set(e, "not made by qpsmtpd-table");
    if (h->order != MPH_ORDER)
        return err_set(e, "made on a machine with another order of bytes");
    if (h->version != MPH_VERSION)
        return err_set(e, "of version %u, and not %d", h->version, MPH_VERSION);
    if (h->sum != mph_hash(0, h, offsetof(struct mph_header, sum)) || !is_laid_out(h))
        return err_set(e, "damaged");
    if (h->size != size)
        return err_set(e, "cut or damaged");
    return true;
}

static void
remember(struct mph *m, struct arena *a)
{
    m->blocks = arena_alloc(a, (size_t)(m->header.sums / MPH_BLOCK / 8 + 1));
    m->shards = arena_alloc(a, m->header.n_shards * sizeof *m->shards);
}

/* fd's header without the mapping: reading it cannot fault */
static bool
read_header(int fd, struct mph_header *h, struct err *e)
{
    struct stat st;
    ssize_t got;

    if (fstat(fd, &st) < 0)
        return err_sys(e, "fstat");
    if (!S_ISREG(st.st_mode))
        return err_set(e, "not a regular file");
    got = pread(fd, h, sizeof *h, 0);
    if (got < 0)
        return err_sys(e, "read");
    if ((size_t)got < sizeof *h)
        return err_set(e, "too short");
    return check_header(h, (uint64_t)st.st_size, e);
}

bool
mph_open(struct mph *m, struct arena *a, const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct err why;
    bool ok;

    *m = (struct mph){.map = {NULL, 0}};
    if (fd < 0)
        return err_sys(e, "%s", path);
    ok = read_header(fd, &m->header, &why) &&
         mapping_open(&m->map, fd, (size_t)m->header.size, &why);
    close(fd);
    errno = EINVAL; /* whatever it was, not ENOENT */
    if (!ok)
        return err_set(e, "%s: %s", path, why.text);
    remember(m, a);
    return true;
}

void
mph_close(struct mph *m)
{
    mapping_close(&m->map);
}

bool
mph_view(struct mph *m, struct arena *a, const uint8_t *p, size_t n, bool trusted, struct err *e)
{
    *m = (struct mph){.map = {p, n}};
    if (n < sizeof m->header)
        return err_set(e, "too short");
    memcpy(&m->header, p, sizeof m->header);
    if (!check_header(&m->header, n, e))
        return false;
    remember(m, a);
    if (trusted)
        memset(m->blocks, 0xff, m->header.sums / MPH_BLOCK / 8 + 1);
    return true;
}

/* ---- entries ---- */

/* The number at `*at`, which is advanced; all of it lies before `end`. */
static inline bool
varint(const struct mph *m, uint64_t *at, uint64_t end, uint64_t *out)
{
    if (*at < end && m->map.p[*at] < 0x80) {
        *out = m->map.p[(*at)++];
        return true;
    }
    *out = 0;
    for (unsigned int i = 0; i < VARINT_MAX && *at < end; i++) {
        uint8_t byte = m->map.p[(*at)++];

        *out |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* The entry at `at`, which ends before `next`. */
static inline bool
entry_at(const struct mph *m, uint64_t at, struct mph_entry *out, uint64_t *next)
{
    uint64_t end = m->header.entries_end, head, key, value;

    if (at < sizeof m->header || at >= end)
        return false;
    head = end - at < LENGTHS_MAX ? end - at : LENGTHS_MAX;
    out->at = at;
    if (!is_sound(m, at, head) || !varint(m, &at, end, &key) || !varint(m, &at, end, &value) ||
        key > end - at || value > end - at - key)
        return false;
    if (key + value > 0 && !is_sound(m, at, key + value))
        return false;
    out->key = (struct str){(const char *)m->map.p + at, (size_t)key};
    out->value = (struct str){out->key.p + key, (size_t)value};
    *next = at + key + value;
    return true;
}

enum mph_status
mph_next(const struct mph *m, uint64_t *at, struct mph_entry *out)
{
    uint64_t from = *at ? *at : sizeof m->header;

    if (from >= m->header.entries_end)
        return MPH_ABSENT;
    return entry_at(m, from, out, at) ? MPH_FOUND : MPH_BROKEN;
}

/* ---- looking up ---- */

static bool
lies_before(uint64_t at, uint64_t n, uint64_t size, uint64_t end)
{
    return at <= end && n <= (end - at) / size;
}

/* Check what all lookups in shard n rely on; where everything lies is then known to be right. */
static bool SELDOM
learn_shard(const struct mph *m, uint32_t n, struct mph_known *v)
{
    uint64_t at = m->header.directory + n * sizeof(struct mph_shard), end = m->header.directory;
    struct mph_shard s;

    if (!is_sound(m, at, sizeof s))
        return false;
    memcpy(&s, m->map.p + at, sizeof s);
    *v = (struct mph_known){.filter = s.filter, .filter_words = s.filter_words, .slots = s.slots};
    if (s.n_keys > 0) {
        if (!lies_before(s.function, s.function_size, 1, end) ||
            !is_sound(m, s.function, s.function_size) ||
            !bdz_parse(m->map.p + s.function, s.function_size, &v->function))
            return false;
        v->n_places = bdz_places(&v->function);
        if (s.filter_words == 0 || !lies_before(s.filter, s.filter_words, sizeof(uint64_t), end) ||
            !lies_before(s.slots, v->n_places, sizeof(uint64_t), end))
            return false;
    }
    v->known = true;
    return true;
}

static bool
word_at(const struct mph *m, uint64_t at, uint64_t *out)
{
    if (!is_sound(m, at, sizeof *out))
        return false;
    memcpy(out, m->map.p + at, sizeof *out);
    return true;
}

/* false: damaged. The slot is 0 when there is none, or the filter does not know the key. */
static bool
slot_of(const struct mph *m, const struct mph_known *v, uint64_t hash, uint64_t *slot)
{
    uint64_t bits = mph_filter_bits(hash), word;
    uint32_t place[3];

    *slot = 0;
    if (!word_at(m, v->filter + mph_filter_word(hash, v->filter_words) * sizeof word, &word))
        return false;
    if ((word & bits) != bits)
        return true;
    bdz_candidates(&v->function, hash, place);
    for (size_t i = 0; i < 3; i++) /* on their way while the function is asked which it is */
        __builtin_prefetch(m->map.p + v->slots + place[i] * sizeof *slot);
    return word_at(m, v->slots + place[bdz_choice(&v->function, place)] * sizeof *slot, slot);
}

enum mph_status
mph_find(const struct mph *m, struct str key, struct mph_entry *out)
{
    uint64_t hash, slot, at, next;
    struct mph_known *v;
    uint32_t n;

    if (m->header.n_shards == 0)
        return MPH_ABSENT;
    hash = mph_hash(m->header.seed, key.p, key.n);
    n = mph_shard_of(hash, m->header.n_shards);
    v = &m->shards[n];
    if (!v->known && !learn_shard(m, n, v))
        return MPH_BROKEN;
    if (v->n_places == 0)
        return MPH_ABSENT;
    if (!slot_of(m, v, hash, &slot))
        return MPH_BROKEN;
    at = slot & (((uint64_t)1 << MPH_OFFSET) - 1);
    if (at == 0 || slot != mph_slot(hash, at)) /* free, or of another key */
        return MPH_ABSENT;
    if (!entry_at(m, at, out, &next))
        return MPH_BROKEN;
    return out->key.n == key.n && memcmp(out->key.p, key.p, key.n) == 0 ? MPH_FOUND : MPH_ABSENT;
}
