#include "base/map.h"

#include <assert.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"

#define SLOTS_FIRST 16

struct slot {
    const char *key; /* NULL: free */
    void *value;
    uint32_t hash;
    uint32_t n;
};

struct map {
    struct arena *arena;
    struct slot *slots;
    size_t room; /* a power of two, or 0 */
    size_t count;
};

/* The only process-wide state here: drawn at the first map_new, the same for all maps. */
static struct {
    bool drawn;
    uint64_t k[2];
} secret;

static uint64_t
rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

/* In registers: as a call it would cost three times as much. */
static inline __attribute__((always_inline)) void
sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 (Aumasson, Bernstein 2012), which hash tables elsewhere use against chosen keys */
static uint32_t
hash_of(struct str s)
{
    uint64_t v[4] = {secret.k[0] ^ 0x736f6d6570736575U, secret.k[1] ^ 0x646f72616e646f6dU,
        secret.k[0] ^ 0x6c7967656e657261U, secret.k[1] ^ 0x7465646279746573U};
    uint64_t last = (uint64_t)s.n << 56;
    size_t i = 0;

    for (; s.n - i >= 8; i += 8) {
        uint64_t m;

        memcpy(&m, s.p + i, 8);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    for (int shift = 0; i < s.n; i++, shift += 8)
        last |= (uint64_t)(uint8_t)s.p[i] << shift;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    last = v[0] ^ v[1] ^ v[2] ^ v[3];
    return (uint32_t)(last ^ last >> 32);
}

static void
draw_secret(void)
{
    if (secret.drawn)
        return;
    if (getrandom(secret.k, sizeof secret.k, GRND_NONBLOCK) != (ssize_t)sizeof secret.k) {
        /* early at boot or in a sandbox: hard to guess is better than not starting */
        secret.k[0] = (uint64_t)clock_ms() << 20 ^ (uint64_t)getpid();
        secret.k[1] = (uint64_t)(uintptr_t)&secret ^ (uint64_t)(uintptr_t)&clock_ms << 16;
    }
    secret.drawn = true;
}

/* The slot of that key, or the free one where it belongs. There is always a free one. */
static struct slot *
probe(const struct map *m, struct str key, uint32_t hash)
{
    for (size_t i = hash;; i++) {
        struct slot *s = &m->slots[i & (m->room - 1)];

        if (s->key == NULL)
            return s;
        if (s->hash == hash && str_eq((struct str){s->key, s->n}, key))
            return s;
    }
}

static void
resize(struct map *m, size_t room)
{
    struct slot *old = m->slots;
    size_t n = m->room;

    m->slots = arena_alloc(m->arena, room * sizeof *m->slots);
    m->room = room;
    for (size_t i = 0; i < n; i++)
        if (old[i].key)
            *probe(m, (struct str){old[i].key, old[i].n}, old[i].hash) = old[i];
}

struct map *
map_new(struct arena *a)
{
    struct map *m = arena_alloc(a, sizeof *m);

    draw_secret();
    m->arena = a;
    return m;
}

void
map_reserve(struct map *m, size_t count)
{
    size_t room = m->room ? m->room : SLOTS_FIRST;

    assert(count <= UINT32_MAX);
    while (room / 4 * 3 < count)
        room *= 2;
    if (room > m->room)
        resize(m, room);
}

void
map_set(struct map *m, struct str key, void *value)
{
    uint32_t hash = hash_of(key);
    struct slot *s;

    assert(key.n <= UINT32_MAX);
    map_reserve(m, m->count + 1);
    s = probe(m, key, hash);
    if (s->key == NULL) {
        *s = (struct slot){arena_dup(m->arena, key), NULL, hash, (uint32_t)key.n};
        m->count++;
    }
    s->value = value;
}

void *
map_get(const struct map *m, struct str key)
{
    return m->count > 0 ? probe(m, key, hash_of(key))->value : NULL;
}

size_t
map_count(const struct map *m)
{
    return m->count;
}
