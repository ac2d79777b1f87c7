#include "smtp/data.h"

#ifdef __SSE2__
#include <emmintrin.h>
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

#ifdef __SSE2__
#define PIECE 16 /* bytes at once */

/* Copy PIECE bytes; gives where in them the first CR or LF stands, or PIECE. */
static size_t
copy_piece(const char *p, char *out)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    __m128i ends = _mm_or_si128(
        _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')));
    unsigned mask = (unsigned)_mm_movemask_epi8(ends);

    _mm_storeu_si128((__m128i *)out, bytes);
    return mask ? (size_t)__builtin_ctz(mask) : PIECE;
}
#else
#define PIECE 8

static uint64_t
has_byte(uint64_t word, unsigned char b)
{
    uint64_t x = word ^ (0x0101010101010101U * b);

    return (x - 0x0101010101010101U) & ~x & 0x8080808080808080U;
}

static size_t
copy_piece(const char *p, char *out)
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
#endif

/* Up to the next CR or LF; false: the block has too few bytes left to say. */
static bool
copy_text(struct cursor *c)
{
    while (c->end - c->p >= PIECE) {
        size_t n = copy_piece(c->p, c->out);

        c->p += n;
        c->out += n;
        if (n < PIECE)
            return true;
    }
    return false;
}

/*
 * At the start of a line: take lines as long as they are plain ones. Scanned and copied in one pass; what
 * is special (a dot in front, a bare CR or LF, the end of the block) is left to step(), in whatever
 * state it is then. out has as much room as `in` has bytes, so whole pieces fit.
 */
static void
copy_lines(struct data *d, struct cursor *c)
{
    while (c->end - c->p >= PIECE && *c->p != '.') {
        if (!copy_text(c) || *c->p != '\r' || c->p + 1 == c->end || c->p[1] != '\n') {
            d->state = TXT;
            return;
        }
        c->p += 2;
        *c->out++ = '\n';
    }
}

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
    enum data_status status = DATA_MORE;

    c.out = out;
    c.lf = NULL;
    while (c.p < c.end && status == DATA_MORE) {
        if (d->state == BOL)
            copy_lines(d, &c);
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
