/*
 * base/buf - build text up to a bound
 *
 * Owns   the growing; the memory is the arena's
 * Keep   it never holds more than cap bytes; what did not fit is cut off and remembered in
 *        `overflow`, and nothing is appended behind a cut, so a chain of appends needs one test at
 *        its end
 */
#ifndef QPSMTPD_BASE_BUF_H
#define QPSMTPD_BASE_BUF_H

#include "base/arena.h"
#include "base/str.h"

struct buf {
    char *p;  /* NULL until the first append; always NUL-terminated after it */
    size_t n; /* bytes, without the NUL */
    size_t room;
    size_t cap;
    bool overflow;
    struct arena *arena;
};

/* buf_init - empty, allocates nothing. cap in bytes. */
void buf_init(struct buf *b, struct arena *a, size_t cap);

void buf_put(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *z);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline struct str
buf_str(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}

/* buf_text - NUL-terminated; "" when nothing was appended */
static inline const char *
buf_text(const struct buf *b)
{
    return b->p ? b->p : "";
}

#endif
