/*
 * smtp/data: the same result as the state table a byte at a time, however the input is cut. The
 * first byte chooses the mode, the second how long the pieces are.
 */
#include <assert.h>
#include <stdlib.h>

#include "smtp/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum ref { BOL, BOLX, TXT, CR, DOT, DOTX, DOTCR, DOTXCR };

struct result {
    enum data_newlines mode;
    enum ref state; /* of the reference */
    enum data_status status;
    size_t taken, n;
    char *out;
};

static bool
ref_text(struct result *r, char b)
{
    if (b == '\n' && r->mode == DATA_REJECT)
        return false;
    r->state = b == '\r' ? CR : b == '\n' ? BOLX : TXT;
    if (b != '\r')
        r->out[r->n++] = b;
    return true;
}

static bool
ref_after_bare_cr(struct result *r, char b)
{
    if (r->mode == DATA_REJECT)
        return false;
    r->out[r->n++] = r->mode == DATA_NORMALIZE ? ' ' : '\r';
    return ref_text(r, b);
}

static enum data_status
ref_byte(struct result *r, char b)
{
    bool at_dot = r->state == DOT || r->state == DOTX;
    bool at_cr = r->state == CR || r->state == DOTCR || r->state == DOTXCR;
    bool fine = true;

    if (r->state == DOTCR && b == '\n')
        return DATA_END;
    if ((at_dot || r->state == DOTXCR) && b == '\n')
        return DATA_BARE;
    if ((r->state == BOL || r->state == BOLX) && b == '.') {
        r->state = r->state == BOL ? DOT : DOTX;
    } else if (at_dot && b == '\r') {
        r->state = r->state == DOT ? DOTCR : DOTXCR;
    } else if (r->state == CR && b == '\n') {
        r->out[r->n++] = '\n';
        r->state = BOL;
    } else {
        fine = at_cr ? ref_after_bare_cr(r, b) : ref_text(r, b);
    }
    return fine ? DATA_MORE : DATA_BARE;
}

static void
decode(struct result *r, const char *in, size_t size, size_t piece)
{
    struct data d;

    data_begin(&d, r->mode);
    while (r->taken < size && r->status == DATA_MORE) {
        size_t n = size - r->taken < piece ? size - r->taken : piece;
        char *out = malloc(n + 2); /* of that size, so that a byte more is seen */
        size_t taken, out_n;

        r->status = data_decode(&d, in + r->taken, n, &taken, out, &out_n);
        assert(out_n <= n + 2 && taken <= n && (taken == n || r->status != DATA_MORE));
        memcpy(r->out + r->n, out, out_n);
        r->taken += taken;
        r->n += out_n;
        free(out);
    }
}

static void
check_chunk(const char *in, size_t size, size_t piece, char *out)
{
    struct data d;
    size_t n = 0, want = 0;

    data_begin(&d, DATA_REJECT);
    for (size_t at = 0; at < size; at += piece) {
        size_t len = size - at < piece ? size - at : piece, part_n;
        char *part = malloc(len + 1);

        data_chunk(&d, in + at, len, part, &part_n);
        memcpy(out + n, part, part_n);
        n += part_n;
        free(part);
    }
    n += data_chunk_end(&d, out + n);
    for (size_t i = 0; i < size; i++)
        if (in[i] != '\r' || i + 1 == size || in[i + 1] != '\n')
            assert(want < n && out[want++] == in[i]);
    assert(want == n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *in = (const char *)data + 2;
    struct result want, got;
    size_t piece;

    if (size < 2)
        return 0;
    piece = (size_t)data[1] + 1;
    size -= 2;
    want = (struct result){.mode = data[0] % 3, .status = DATA_MORE, .out = malloc(2 * size + 2)};
    got = (struct result){.mode = data[0] % 3, .status = DATA_MORE, .out = malloc(2 * size + 2)};
    while (want.taken < size && want.status == DATA_MORE)
        want.status = ref_byte(&want, in[want.taken++]);
    decode(&got, in, size, piece);
    assert(got.status == want.status && got.taken == want.taken && got.n == want.n);
    assert(memcmp(got.out, want.out, got.n) == 0);
    check_chunk(in, size, piece, got.out);
    free(want.out);
    free(got.out);
    return 0;
}
