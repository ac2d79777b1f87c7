#include "base/arena.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * Under AddressSanitizer what was not given out is poisoned and a gap follows each piece, so that a
 * write past a piece's end is found although its neighbour belongs to the same malloc block.
 */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISON 1
#endif
#endif

#ifdef ARENA_POISON
#include <sanitizer/asan_interface.h>
#define GAP        16
#define TEXT_ALIGN ALIGN /* the shadow describes whole groups of 8 bytes */
#define hide(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define show(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define GAP        0
#define TEXT_ALIGN 1
#define hide(p, n) ((void)(p), (void)(n))
#define show(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN alignof(max_align_t)

#define FORMAT_FIRST 512 /* texts that are shorter are formatted once */

/* A session of ordinary mail fits into the first block; a list of a million lines takes few. */
#define BLOCK_FIRST ((size_t)16 << 10)
#define BLOCK_MAX   ((size_t)256 << 10)

struct block {
    struct block *next;
    size_t room;
    bool borrowed; /* somebody else frees it */
    size_t used;
    alignas(max_align_t) unsigned char bytes[];
};

struct cleanup {
    struct cleanup *next;
    void (*fn)(void *data);
    void *data;
};

struct arena {
    const char *name;
    struct cleanup *cleanups; /* newest first */
    struct block *blocks;     /* newest first: small pieces come from this one; the last is kept */
    struct block *large;      /* one piece each */
    size_t used;
    bool borrowed; /* it lies in memory of somebody else */
};

/* The only process-wide state here: set once, at start-up and at the end. */
static struct {
    void (*fn)(void);
} exhausted;
static bool process_ends;

static void __attribute__((noreturn)) give_up(const char *name)
{
    char line[128];
    int n = snprintf(line, sizeof line, "out of memory: %.80s\n", name);

    if (exhausted.fn)
        exhausted.fn();
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(111); /* nobody listens: it makes no difference */
    _exit(111);
}

static struct block *
block_open(const struct arena *a, size_t room)
{
    struct block *b = NULL;

    if (room <= SIZE_MAX / 2)
        b = malloc(sizeof *b + room); /* what nobody uses is never touched */
    if (b == NULL)
        give_up(a->name);
    *b = (struct block){.room = room};
    hide(b->bytes, b->room);
    return b;
}

/* explicit_bzero: a memset just before free() may be optimised away */
static void
block_wipe(struct block *b)
{
    show(b->bytes, b->room);
    explicit_bzero(b->bytes, b->used);
    b->used = 0;
}

static void
block_close(struct block *b)
{
    if (process_ends)
        return;
    block_wipe(b);
    if (!b->borrowed)
        free(b);
}

static size_t
round_up(size_t n, size_t align)
{
    return (n + align - 1) & ~(align - 1);
}

/* A fresh block twice the size of the one before, so that a big list does not become a long chain.
 */
static struct block *
block_for(struct arena *a, size_t n)
{
    size_t room = a->blocks && a->blocks->room >= BLOCK_FIRST ? a->blocks->room * 2 : BLOCK_FIRST;
    struct block *b;

    if (n > BLOCK_FIRST / 2) {
        b = block_open(a, n);
        b->next = a->large;
        a->large = b;
        return b;
    }
    b = block_open(a, room < BLOCK_MAX ? room : BLOCK_MAX);
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

static void *
take(struct arena *a, size_t n, size_t align)
{
    struct block *b = a->blocks;
    size_t start = b ? round_up(b->used, align) : 0;

    if (n > SIZE_MAX / 2)
        give_up(a->name);
    if (b == NULL || start > b->room || n + GAP > b->room - start) {
        b = block_for(a, n + GAP);
        start = 0;
    }
    b->used = start + n + GAP;
    a->used += n;
    show(b->bytes + start, n);
    return b->bytes + start;
}

struct arena *
arena_open(const char *name)
{
    struct arena *a = calloc(1, sizeof *a);

    if (a == NULL)
        give_up(name);
    a->name = name;
    return a;
}

struct arena *
arena_open_small(const char *name, size_t room)
{
    struct arena *a = arena_open(name);

    a->blocks = block_open(a, room < BLOCK_FIRST ? room : BLOCK_FIRST);
    return a;
}

struct arena *
arena_open_in(const char *name, void *memory, size_t room)
{
    struct arena *a = memory;
    struct block *b = (struct block *)(void *)((char *)memory + round_up(sizeof *a, ALIGN));

    *b = (struct block){.room = room - round_up(sizeof *a, ALIGN) - sizeof *b, .borrowed = true};
    *a = (struct arena){.name = name, .blocks = b, .borrowed = true};
    hide(b->bytes, b->room);
    return a;
}

void
arena_close(struct arena **a)
{
    if (*a == NULL)
        return;
    arena_reset(*a);
    if ((*a)->blocks)
        block_close((*a)->blocks);
    if (!(*a)->borrowed)
        free(*a);
    *a = NULL;
}

void
arena_reset(struct arena *a)
{
    /* popped one by one: a function that runs here may still allocate, and even tie another one */
    while (a->cleanups) {
        struct cleanup *c = a->cleanups;

        a->cleanups = c->next;
        c->fn(c->data);
    }
    while (a->large) {
        struct block *b = a->large;

        a->large = b->next;
        block_close(b);
    }
    while (a->blocks && a->blocks->next) {
        struct block *b = a->blocks;

        a->blocks = b->next;
        block_close(b);
    }
    if (a->blocks && !process_ends) {
        block_wipe(a->blocks);
        hide(a->blocks->bytes, a->blocks->room);
    }
    a->used = 0;
}

void *
arena_alloc(struct arena *a, size_t n)
{
    return memset(take(a, n, ALIGN), 0, n);
}

void *
arena_grow(struct arena *a, void *p, size_t old, size_t n)
{
    struct block *b = a->blocks;
    void *copy;

    if (p && GAP == 0 && b && (unsigned char *)p + old == b->bytes + b->used && n >= old &&
        n - old <= b->room - b->used) {
        b->used += n - old;
        a->used += n - old;
        memset((char *)p + old, 0, n - old);
        return p;
    }
    copy = take(a, n, ALIGN);
    if (!p)
        old = 0;
    if (old > 0)
        memcpy(copy, p, old < n ? old : n);
    if (old < n)
        memset((char *)copy + old, 0, n - old);
    return copy;
}

char *
arena_dup(struct arena *a, struct str s)
{
    char *copy;

    if (s.n == SIZE_MAX)
        give_up(a->name);
    copy = take(a, s.n + 1, TEXT_ALIGN);
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

char *
arena_concat(struct arena *a, const char *const parts[])
{
    size_t n = 0;
    char *all, *end;

    for (size_t i = 0; parts[i]; i++)
        n += strlen(parts[i]);
    all = end = take(a, n + 1, TEXT_ALIGN);
    for (size_t i = 0; parts[i]; i++)
        end = mempcpy(end, parts[i], strlen(parts[i]));
    *end = '\0';
    return all;
}

char *
arena_vprintf(struct arena *a, const char *format, va_list ap)
{
    char first[FORMAT_FIRST];
    va_list again;
    char *text;
    int n;

    va_copy(again, ap);
    n = vsnprintf(first, sizeof first, format, again);
    va_end(again);
    if (n < 0) /* longer than INT_MAX */
        give_up(a->name);
    text = take(a, (size_t)n + 1, TEXT_ALIGN);
    if ((size_t)n < sizeof first)
        memcpy(text, first, (size_t)n + 1);
    else
        vsnprintf(text, (size_t)n + 1, format, ap);
    return text;
}

char *
arena_printf(struct arena *a, const char *format, ...)
{
    va_list ap;
    char *text;

    va_start(ap, format);
    text = arena_vprintf(a, format, ap);
    va_end(ap);
    return text;
}

void
arena_at_reset(struct arena *a, void (*fn)(void *data), void *data)
{
    struct cleanup *c = arena_alloc(a, sizeof *c);

    *c = (struct cleanup){a->cleanups, fn, data};
    a->cleanups = c;
}

size_t
arena_used(const struct arena *a)
{
    return a->used;
}

void
arena_when_exhausted(void (*fn)(void))
{
    exhausted.fn = fn;
}

/* A leak checker looks behind what has ended: for it, everything is freed. */
void
arena_process_ends(void)
{
#ifndef ARENA_POISON
    process_ends = true;
#endif
}
