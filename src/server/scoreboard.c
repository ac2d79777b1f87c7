#include "server/scoreboard.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define CACHE_LINE 64

/* A place of the hash table of addresses: open addressing, count 0 is empty. */
struct address {
    struct ip ip;
    uint32_t count;
};

struct cell {
    alignas(CACHE_LINE) struct slot slot;
};

struct scoreboard {
    pthread_mutex_t lock;
    uint64_t key[5]; /* of the hash: random, so that nobody can choose addresses that collide */
    size_t bytes;    /* of the mapping */
    size_t slots;
    size_t mask; /* places - 1; there are at least twice as many places as slots */
    size_t idle;
    size_t busy;
    size_t watch_idle;
    int watch_fd;
    uint64_t finished; /* clients that were served to their end */
    uint32_t sequence; /* from a random start: another daemon on this host counts elsewhere */
    struct address *addresses;
    struct cell *cells;
};

/* What counts as one address: IPv4 as it is, IPv6 without the host part. */
static struct ip
counted(const struct ip *ip)
{
    struct ip key = *ip;

    if (!ip_is_v4(ip))
        memset(key.b + 8, 0, 8);
    return key;
}

/* Multiply-shift over four words (Dietzfelbinger 1996): universal as long as the key is secret. */
static size_t
hash(const struct scoreboard *b, const struct ip *ip)
{
    uint64_t sum = b->key[4];
    uint32_t word[4];

    memcpy(word, ip->b, sizeof word);
    for (size_t i = 0; i < 4; i++)
        sum += b->key[i] * word[i];
    return (size_t)(sum >> 32);
}

/* Where key is, or the empty place where it would go. */
static size_t
place_of(const struct scoreboard *b, const struct ip *key)
{
    size_t i = hash(b, key) & b->mask;

    while (b->addresses[i].count > 0 && !ip_eq(&b->addresses[i].ip, key))
        i = (i + 1) & b->mask;
    return i;
}

static uint32_t
address_count(const struct scoreboard *b, const struct ip *ip)
{
    struct ip key = counted(ip);

    return b->addresses[place_of(b, &key)].count;
}

static void
address_add(struct scoreboard *b, const struct ip *ip)
{
    struct ip key = counted(ip);
    struct address *a = &b->addresses[place_of(b, &key)];

    a->ip = key;
    a->count++;
}

/* Close the gap: whoever was pushed behind it by a collision moves up, so that no search ends
 * early. */
static void
close_gap(struct scoreboard *b, size_t gap)
{
    for (size_t i = (gap + 1) & b->mask; b->addresses[i].count > 0; i = (i + 1) & b->mask) {
        size_t home = hash(b, &b->addresses[i].ip) & b->mask;

        if (((i - home) & b->mask) < ((i - gap) & b->mask))
            continue; /* its search does not pass the gap */
        b->addresses[gap] = b->addresses[i];
        b->addresses[i].count = 0;
        gap = i;
    }
}

static void
address_drop(struct scoreboard *b, const struct ip *ip)
{
    struct ip key = counted(ip);
    size_t i = place_of(b, &key);

    if (b->addresses[i].count > 0 && --b->addresses[i].count == 0)
        close_gap(b, i);
}

/* What a slot in that state adds to the counts. BUSY: slot->ip was set before, and is kept until
 * after. */
static void
count_in(struct scoreboard *b, const struct slot *s)
{
    b->idle += s->state == SLOT_IDLE;
    b->busy += s->state == SLOT_BUSY;
    if (s->state == SLOT_BUSY)
        address_add(b, &s->ip);
}

static void
count_out(struct scoreboard *b, const struct slot *s)
{
    b->idle -= s->state == SLOT_IDLE;
    b->busy -= s->state == SLOT_BUSY;
    if (s->state == SLOT_BUSY)
        address_drop(b, &s->ip);
}

/* The counts may be half changed; the states are single stores and are right. */
static void
count_anew(struct scoreboard *b)
{
    memset(b->addresses, 0, (b->mask + 1) * sizeof *b->addresses);
    b->idle = b->busy = 0;
    for (size_t i = 0; i < b->slots; i++)
        count_in(b, &b->cells[i].slot);
}

static void
lock(struct scoreboard *b)
{
    if (pthread_mutex_lock(&b->lock) != EOWNERDEAD)
        return;
    count_anew(b);
    pthread_mutex_consistent(&b->lock);
}

/* The only way in which a state changes. */
static void
change(struct scoreboard *b, struct slot *s, enum slot_state to)
{
    count_out(b, s);
    s->state = to;
    count_in(b, s);
}

/* After the lock is given back: a system call must not keep the others waiting. */
static void
unlock_and_tell(struct scoreboard *b)
{
    int fd = -1;

    if (b->idle < b->watch_idle) {
        fd = b->watch_fd;
        b->watch_idle = 0;
    }
    pthread_mutex_unlock(&b->lock);
    if (fd >= 0 && eventfd_write(fd, 1) < 0)
        return; /* the counter is full: it has been told */
}

static bool
init_lock(struct scoreboard *b, struct err *e)
{
    pthread_mutexattr_t attr;
    int error = pthread_mutexattr_init(&attr);

    if (error == 0)
        error = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (error == 0)
        error = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    if (error == 0)
        error = pthread_mutex_init(&b->lock, &attr);
    errno = error;
    return error == 0 || err_sys(e, "lock of the scoreboard");
}

static bool
fill_random(void *out, size_t n, struct err *e)
{
    return getrandom(out, n, 0) == (ssize_t)n || err_sys(e, "getrandom");
}

static size_t
round_up(size_t n)
{
    return (n + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

struct scoreboard *
scoreboard_open(size_t children, struct err *e)
{
    size_t places = 16, head, table, bytes;
    struct scoreboard *b;
    void *p;

    while (places < 2 * children)
        places *= 2;
    head = round_up(sizeof *b);
    table = round_up(places * sizeof *b->addresses);
    bytes = head + table + children * sizeof *b->cells;
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        err_sys(e, "scoreboard of %zu bytes", bytes);
        return NULL;
    }
    b = p;
    b->bytes = bytes;
    b->slots = children;
    b->mask = places - 1;
    b->watch_fd = -1;
    b->addresses = (struct address *)((char *)p + head);
    b->cells = (struct cell *)((char *)p + head + table);
    if (fill_random(b->key, sizeof b->key, e) && fill_random(&b->sequence, sizeof b->sequence, e) &&
        init_lock(b, e))
        return b;
    scoreboard_close(&b);
    return NULL;
}

void
scoreboard_close(struct scoreboard **b)
{
    if (*b)
        munmap(*b, (*b)->bytes);
    *b = NULL;
}

bool
scoreboard_assign(struct scoreboard *b, size_t *slot)
{
    lock(b);
    for (size_t i = 0; i < b->slots; i++) {
        struct slot *s = &b->cells[i].slot;

        if (s->state != SLOT_FREE)
            continue;
        memset(&s->activity, 0, sizeof s->activity);
        s->served = 0;
        change(b, s, SLOT_IDLE);
        pthread_mutex_unlock(&b->lock);
        *slot = i;
        return true;
    }
    pthread_mutex_unlock(&b->lock);
    return false;
}

void
scoreboard_free(struct scoreboard *b, size_t slot, struct slot *last)
{
    struct slot *s = &b->cells[slot].slot;

    lock(b);
    if (last)
        *last = *s;
    change(b, s, SLOT_FREE);
    pthread_mutex_unlock(&b->lock);
}

bool
scoreboard_watch(struct scoreboard *b, int fd, size_t idle)
{
    bool already;

    lock(b);
    already = b->idle < idle;
    b->watch_fd = fd;
    b->watch_idle = already ? 0 : idle;
    pthread_mutex_unlock(&b->lock);
    return already;
}

uint64_t
scoreboard_finished(struct scoreboard *b)
{
    uint64_t finished;

    lock(b);
    finished = b->finished;
    pthread_mutex_unlock(&b->lock);
    return finished;
}

size_t
scoreboard_idle(struct scoreboard *b)
{
    size_t idle;

    lock(b);
    idle = b->idle;
    pthread_mutex_unlock(&b->lock);
    return idle;
}

struct claim
scoreboard_claim(struct scoreboard *b, size_t slot, const struct ip *ip, int port, int from_ip_max)
{
    struct slot *s = &b->cells[slot].slot;
    struct claim claim;

    lock(b);
    claim.from_ip = (int)address_count(b, ip) + 1;
    claim.admitted = from_ip_max == 0 || claim.from_ip <= from_ip_max;
    claim.sequence = b->sequence++;
    s->served++;
    if (claim.admitted) {
        s->ip = *ip;
        s->port = port;
        change(b, s, SLOT_BUSY);
    }
    claim.busy = b->busy;
    unlock_and_tell(b);
    return claim;
}

void
scoreboard_release(struct scoreboard *b, size_t slot)
{
    lock(b);
    b->finished++;
    change(b, &b->cells[slot].slot, SLOT_IDLE);
    pthread_mutex_unlock(&b->lock);
}

void
scoreboard_leave(struct scoreboard *b, size_t slot)
{
    lock(b);
    change(b, &b->cells[slot].slot, SLOT_LEAVING);
    unlock_and_tell(b);
}

struct activity *
scoreboard_activity(struct scoreboard *b, size_t slot)
{
    return &b->cells[slot].slot.activity;
}
