#include "smtp/data.h"

#ifdef __SSE2__
#include <immintrin.h>
/* What the loader has found out: to ask the processor again is dear in a virtual machine. */
#if __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#define WIDE 32
#endif
#endif

/* The X marks a line that began behind a bare LF: no such line can end the message. */
enum state { BOL, BOLX, TXT, CR, DOT, DOTX, DOTCR, DOTXCR };

struct cursor {
    const char *p, *end;
    const char *lf; /* the first LF at or behind p, or end; NULL, before p: to be searched */
    char *out;
};

static void
put(struct cursor *c, const char *p, size_t n)
{
    memcpy(c->out, p, n);
    c->out += n;
}

static const char *
find(const char *p, const char *end, char b)
{
    const char *at = memchr(p, b, (size_t)(end - p));

    return at ? at : end;
}

/* ---- whole lines, which is nearly everything ---- */

/* Copy a piece, of so many bytes at once; gives where in it the first CR or LF stands, or its size. */
typedef size_t copy_piece(const char *p, char *out);

#ifdef __SSE2__
#define PIECE 16

static inline size_t
copy_16(const char *p, char *out)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    __m128i ends = _mm_or_si128(
        _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')));
    unsigned mask = (unsigned)_mm_movemask_epi8(ends);

    _mm_storeu_si128((__m128i *)out, bytes);
    return mask ? (size_t)__builtin_ctz(mask) : PIECE;
}
#define copy_usual copy_16
#else
#define PIECE      8

static uint64_t
has_byte(uint64_t word, unsigned char b)
{
    uint64_t x = word ^ (0x0101010101010101U * b);

    return (x - 0x0101010101010101U) & ~x & 0x8080808080808080U;
}

static inline size_t
copy_8(const char *p, char *out)
{
    uint64_t word;
    size_t n = 0;

    memcpy(&word, p, sizeof word);
    memcpy(out, &word, sizeof word);
    if (!has_byte(word, '\r') && !has_byte(word, '\n'))
        return PIECE;
    while (p[n] != '\r' && p[n] != '\n')
        n++;
    return n;
}
#define copy_usual copy_8
#endif

/* Up to the next CR or LF; false: the block has too few bytes left to say. */
static inline __attribute__((always_inline)) bool
copy_text(struct cursor *c, size_t piece, copy_piece *copy)
{
    while ((size_t)(c->end - c->p) >= piece) {
        size_t n = copy(c->p, c->out);

        if (__builtin_expect(n < piece, 0)) { /* a branch: the next piece does not wait for n */
            c->p += n;
            c->out += n;
            return true;
        }
        c->p += piece;
        c->out += piece;
    }
    return false;
}

/*
 * At the start of a line: take lines as long as they are plain ones. Scanned and copied in one pass; what
 * is special (a dot in front, a bare CR or LF, the end of the block) is left to step(), in whatever
 * state it is then. out has as much room as `in` has bytes, so whole pieces fit.
 */
static inline __attribute__((always_inline)) void
copy_lines(struct data *d, struct cursor *c, size_t piece, copy_piece *copy)
{
    struct cursor here = *c; /* where the compiler can keep it in registers */

    while ((size_t)(here.end - here.p) >= piece && *here.p != '.') {
        if (!copy_text(&here, piece, copy) || *here.p != '\r' || here.p + 1 == here.end ||
            here.p[1] != '\n') {
            d->state = TXT;
            break;
        }
        here.p += 2;
        *here.out++ = '\n';
    }
    *c = here;
}

static void
copy_lines_usual(struct data *d, struct cursor *c)
{
    copy_lines(d, c, PIECE, copy_usual);
}

#ifdef WIDE
static inline __attribute__((target("avx2"))) size_t
copy_32(const char *p, char *out)
{
    __m256i bytes = _mm256_loadu_si256((const __m256i *)p);
    __m256i ends = _mm256_or_si256(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\r')),
        _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8('\n')));
    unsigned mask = (unsigned)_mm256_movemask_epi8(ends);

    _mm256_storeu_si256((__m256i *)out, bytes);
    return mask ? (size_t)__builtin_ctz(mask) : WIDE;
}

static __attribute__((target("avx2"))) void
copy_lines_wide(struct data *d, struct cursor *c)
{
    copy_lines(d, c, WIDE, copy_32);
}
#endif

/* ---- the others ---- */

/* A CR that no LF follows. false: it is not tolerated. */
static bool
bare_cr(const struct data *d, struct cursor *c)
{
    if (d->newlines == DATA_REJECT)
        return false;
    *c->out++ = d->newlines == DATA_NORMALIZE ? ' ' : '\r';
    return true;
}

/* The line up to the next CR or LF in one piece, and that byte. false: a bare LF that is not
 * tolerated. */
static bool
text(struct data *d, struct cursor *c)
{
    const char *stop;

    if (!c->lf || c->lf < c->p) /* one search per LF, however many CR stand before it */
        c->lf = find(c->p, c->end, '\n');
    stop = find(c->p, c->lf, '\r');
    put(c, c->p, (size_t)(stop - c->p));
    c->p = stop;
    if (stop == c->end) {
        d->state = TXT;
        return true;
    }
    c->p++;
    if (stop < c->lf) {
        d->state = CR;
        return true;
    }
    if (d->newlines == DATA_REJECT)
        return false;
    *c->out++ = '\n';
    d->state = BOLX;
    return true;
}

/* Take at least one byte, or change from a line's start to its text. */
static enum data_status
step(struct data *d, struct cursor *c)
{
    char b = *c->p;

    switch ((enum state)d->state) {
    case BOL:
    case BOLX:
        if (b == '.') {
            d->state = d->state == BOL ? DOT : DOTX;
            c->p++;
            return DATA_MORE;
        }
        return text(d, c) ? DATA_MORE : DATA_BARE;
    case TXT:
        return text(d, c) ? DATA_MORE : DATA_BARE;
    case CR:
        c->p++;
        if (b == '\n') {
            *c->out++ = '\n';
            d->state = BOL;
            return DATA_MORE;
        }
        break;
    case DOT:
    case DOTX:
        if (b == '\n') {
            c->p++;
            return DATA_BARE;
        }
        if (b == '\r') {
            d->state = d->state == DOT ? DOTCR : DOTXCR;
            c->p++;
            return DATA_MORE;
        }
        return text(d, c) ? DATA_MORE : DATA_BARE;
    case DOTCR:
    case DOTXCR:
        c->p++;
        if (b == '\n')
            return d->state == DOTCR ? DATA_END : DATA_BARE;
        break;
    }
    /* Behind a CR stands something else than LF. */
    if (!bare_cr(d, c))
        return DATA_BARE;
    if (b == '\r') {
        d->state = CR;
    } else {
        *c->out++ = b;
        d->state = TXT;
    }
    return DATA_MORE;
}

void
data_begin(struct data *d, enum data_newlines newlines)
{
    *d = (struct data){newlines, BOL};
}

enum data_status
data_decode(struct data *d, const char *in, size_t n, size_t *taken, char *out, size_t *out_n)
{
    struct cursor c = {.p = in, .end = in + n};
    void (*lines)(struct data *, struct cursor *) = copy_lines_usual;
    enum data_status status = DATA_MORE;

#ifdef WIDE
    if (CPU_FEATURE_ACTIVE(AVX2))
        lines = copy_lines_wide;
#endif

    c.out = out;
    c.lf = NULL;
    while (c.p < c.end && status == DATA_MORE) {
        if (d->state == BOL)
            lines(d, &c);
        if (c.p < c.end)
            status = step(d, &c);
    }
    *taken = (size_t)(c.p - in);
    *out_n = (size_t)(c.out - out);
    return status;
}

void
data_chunk(struct data *d, const char *in, size_t n, char *out, size_t *out_n)
{
    struct cursor c = {.p = in, .end = in + n};

    c.out = out;
    while (c.p < c.end) {
        const char *cr = find(c.p, c.end, '\r');

        if (d->state == CR && *c.p != '\n')
            *c.out++ = '\r';
        put(&c, c.p, (size_t)(cr - c.p));
        d->state = cr < c.end ? CR : TXT;
        c.p = cr < c.end ? cr + 1 : cr;
    }
    *out_n = (size_t)(c.out - out);
}

size_t
data_chunk_end(struct data *d, char *out)
{
    size_t n = d->state == CR;

    if (n > 0)
        *out = '\r';
    d->state = BOL;
    return n;
}
