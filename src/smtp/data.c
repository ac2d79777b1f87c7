#include "smtp/data.h"

/* The X marks a line that began behind a bare LF: no such line can end the message. */
enum state { BOL, BOLX, TXT, CR, DOT, DOTX, DOTCR, DOTXCR };

struct cursor {
    const char *p, *end;
    const char *lf; /* the first LF at or behind p, or end; before p: to be searched again */
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

    if (c->lf < c->p) /* one search per LF of the block, however many CR stand before it */
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
    c.lf = find(in, c.end, '\n');
    while (c.p < c.end && status == DATA_MORE)
        status = step(d, &c);
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
