#include "base/buf.h"

#include <stdio.h>

#define ROOM_FIRST   64
#define FORMAT_FIRST 512 /* bytes that are formatted once, and then copied */

/*
 * Make room for more bytes and the NUL; returns how many of them may be written. Nothing may follow
 * what was dropped, or the text would have a hole that no reader sees.
 */
static size_t
reserve(struct buf *b, size_t more)
{
    size_t need, room;

    if (b->overflow)
        return 0;
    if (more > b->cap - b->n) {
        b->overflow = true;
        more = b->cap - b->n;
    }
    if (more == 0)
        return 0;
    need = b->n + more + 1;
    if (need <= b->room)
        return more;
    room = b->room < ROOM_FIRST ? ROOM_FIRST : b->room * 2;
    if (room > b->cap + 1)
        room = b->cap + 1;
    if (room < need)
        room = need;
    b->p = arena_grow(b->arena, b->p, b->p ? b->n + 1 : 0, room);
    b->room = room;
    return more;
}

void
buf_init(struct buf *b, struct arena *a, size_t cap)
{
    *b = (struct buf){.arena = a, .cap = cap < SIZE_MAX / 2 ? cap : SIZE_MAX / 2 - 1};
}

void
buf_put(struct buf *b, struct str s)
{
    size_t n = reserve(b, s.n);

    if (n == 0)
        return;
    memcpy(b->p + b->n, s.p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void
buf_puts(struct buf *b, const char *z)
{
    buf_put(b, str_of(z));
}

void
buf_putc(struct buf *b, char c)
{
    buf_put(b, (struct str){&c, 1});
}

void
buf_printf(struct buf *b, const char *format, ...)
{
    char first[FORMAT_FIRST];
    va_list ap, again;
    size_t n;
    int length;

    va_start(ap, format);
    va_copy(again, ap);
    length = vsnprintf(first, sizeof first, format, again);
    va_end(again);
    if (length < 0) {
        b->overflow = true;
    } else if ((size_t)length < sizeof first) {
        buf_put(b, (struct str){first, (size_t)length});
    } else if ((n = reserve(b, (size_t)length)) > 0) {
        vsnprintf(b->p + b->n, n + 1, format, ap);
        b->n += n;
    }
    va_end(ap);
}
