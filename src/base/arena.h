/*
 * base/arena - memory with a name and one end
 *
 * Owns   every byte that lives as long as a transaction, a connection, a plugin set or the process
 * Keep   arena_alloc never returns NULL; what is given out is zeroed; a reset wipes what a client
 *        left behind, and keeps the first block so that the next session allocates nothing. The
 *        function of arena_when_exhausted is all that is process-wide
 * Change the block sizes
 */
#ifndef QPSMTPD_BASE_ARENA_H
#define QPSMTPD_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/str.h"

struct arena;

/* arena_open - a new arena. name is borrowed for ever (a literal). */
struct arena *arena_open(const char *name);

/* arena_open_small - the same, for something whose size is known: about room bytes (16 KiB at most) are its
 * first block, where others begin with 16 KiB */
struct arena *arena_open_small(const char *name, size_t room);

/* arena_open_in - the same, with its first block, the one that is kept, in room bytes of memory, which is
 * borrowed until arena_close() and aligned for any type: arenas that live side by side share pages */
struct arena *arena_open_in(const char *name, void *memory, size_t room);

/* arena_close - arena_reset, then the memory goes back. *a may be NULL; it becomes NULL. */
void arena_close(struct arena **a);

/* arena_reset - run the arena_at_reset functions, newest first; then all it gave out is void */
void arena_reset(struct arena *a);

/* arena_alloc - n zeroed bytes, aligned for any type. n may be 0. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((malloc, returns_nonnull));

/*
 * arena_grow - a piece of n bytes that begins with what p holds
 *
 * p        from this arena, old bytes long; NULL with 0. Not to be used any more: it was extended
 *          where it stands if it was the newest piece, else copied
 */
void *arena_grow(struct arena *a, void *p, size_t old, size_t n) __attribute__((returns_nonnull));

/* arena_dup - a NUL-terminated copy of s */
char *arena_dup(struct arena *a, struct str s) __attribute__((returns_nonnull));

/* arena_concat - all those texts in one; NULL ends them */
char *arena_concat(struct arena *a, const char *const parts[]) __attribute__((returns_nonnull));

char *arena_printf(struct arena *a, const char *format, ...)
    __attribute__((format(printf, 2, 3), nonnull(2), returns_nonnull));
char *arena_vprintf(struct arena *a, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0), nonnull(2), returns_nonnull));

/* arena_at_reset - call fn(data) once, at the next reset or close. data may lie in the arena. */
void arena_at_reset(struct arena *a, void (*fn)(void *data), void *data);

/* arena_used - bytes given out since the last reset */
size_t arena_used(const struct arena *a);

/*
 * arena_when_exhausted - what to do when the system has no memory left
 *
 * fn must not return (it says 421 where it can, and ends the process) and must not allocate.
 * Without one the process writes a line on stderr and exits with 111, which tcpserver's and
 * daemontools' world reads as "try again later".
 */
void arena_when_exhausted(void (*fn)(void));

/* arena_process_ends - from now on, closing calls what was tied to an arena and leaves its memory to the
 * kernel, which wipes it as well */
void arena_process_ends(void);

#endif
