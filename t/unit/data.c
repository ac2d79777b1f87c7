/* smtp/data: what ends DATA, in each mode, however the input is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/data.h"

enum { ROOM = 4096 };

struct result {
    enum data_status status;
    size_t taken, n;
    char out[ROOM + 16];
};

/* The state table, a byte at a time: slow and plain, to compare with. */
enum ref { BOL, BOLX, TXT, CR, DOT, DOTX, DOTCR, DOTXCR };

static bool
ref_text(enum data_newlines mode, enum ref *state, char b, struct result *r)
{
    if (b == '\r') {
        *state = CR;
        return true;
    }
    if (b == '\n' && mode == DATA_REJECT)
        return false;
    r->out[r->n++] = b;
    *state = b == '\n' ? BOLX : TXT;
    return true;
}

static bool
ref_bare_cr(enum data_newlines mode, struct result *r)
{
    if (mode == DATA_REJECT)
        return false;
    r->out[r->n++] = mode == DATA_NORMALIZE ? ' ' : '\r';
    return true;
}

static enum data_status
ref_byte(enum data_newlines mode, enum ref *state, char b, struct result *r)
{
    bool fine = true;

    switch (*state) {
    case BOL:
    case BOLX:
        if (b == '.')
            *state = *state == BOL ? DOT : DOTX;
        else
            fine = ref_text(mode, state, b, r);
        break;
    case TXT:
        fine = ref_text(mode, state, b, r);
        break;
    case CR:
        if (b == '\n') {
            r->out[r->n++] = '\n';
            *state = BOL;
        } else {
            fine = ref_bare_cr(mode, r) && ref_text(mode, state, b, r);
        }
        break;
    case DOT:
    case DOTX:
        if (b == '\n')
            fine = false;
        else if (b == '\r')
            *state = *state == DOT ? DOTCR : DOTXCR;
        else
            fine = ref_text(mode, state, b, r);
        break;
    case DOTCR:
    case DOTXCR:
        if (b == '\n')
            return *state == DOTCR ? DATA_END : DATA_BARE;
        fine = ref_bare_cr(mode, r) && ref_text(mode, state, b, r);
        break;
    }
    return fine ? DATA_MORE : DATA_BARE;
}

static struct result
reference(enum data_newlines mode, struct str in)
{
    struct result r = {.status = DATA_MORE};
    enum ref state = BOL;

    while (r.taken < in.n && r.status == DATA_MORE)
        r.status = ref_byte(mode, &state, in.p[r.taken++], &r);
    return r;
}

static void
feed(struct data *d, struct str piece, struct result *r)
{
    size_t taken, n;

    if (r->status != DATA_MORE || piece.n == 0)
        return;
    r->status = data_decode(d, piece.p, piece.n, &taken, r->out + r->n, &n);
    assert_true(n <= piece.n + 2);
    assert_true(taken <= piece.n);
    r->taken += taken;
    r->n += n;
}

static struct result
decoded(enum data_newlines mode, struct str in, size_t cut1, size_t cut2)
{
    struct result r = {.status = DATA_MORE};
    struct data d;

    data_begin(&d, mode);
    feed(&d, (struct str){in.p, cut1}, &r);
    feed(&d, (struct str){in.p + cut1, cut2 - cut1}, &r);
    feed(&d, str_from(in, cut2), &r);
    return r;
}

static void
expect_same(const struct result *got, const struct result *want)
{
    assert_int_equal(got->status, want->status);
    assert_int_equal(got->taken, want->taken);
    assert_int_equal(got->n, want->n);
    assert_memory_equal(got->out, want->out, want->n);
}

static void
compare_all_cuts(struct str in)
{
    for (unsigned mode = DATA_REJECT; mode <= DATA_LEGACY; mode++) {
        struct result want = reference((enum data_newlines)mode, in);

        for (size_t i = 0; i <= in.n; i++)
            for (size_t j = i; j <= in.n; j++) {
                struct result got = decoded((enum data_newlines)mode, in, i, j);

                expect_same(&got, &want);
            }
    }
}

#define TEXT(literal)                                                                              \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    } /* STR is no constant expression */

static const struct {
    struct str in;
    struct {
        enum data_status status;
        struct str out;
    } want[3]; /* reject, normalize, legacy */
} cases[] = {
#define ALL(status, out)                                                                           \
    {                                                                                              \
        {status, TEXT(out)}, {status, TEXT(out)},                                                  \
        {                                                                                          \
            status, TEXT(out)                                                                      \
        }                                                                                          \
    }
#define BARE(normalized, legacy)                                                                   \
    {                                                                                              \
        {DATA_BARE, TEXT("*")}, {DATA_END, TEXT(normalized)},                                      \
        {                                                                                          \
            DATA_END, TEXT(legacy)                                                                 \
        }                                                                                          \
    }
    {TEXT(".\r\n"), ALL(DATA_END, "")},
    {TEXT("\r\n.\r\n"), ALL(DATA_END, "\n")},
    {TEXT("a\r\n.\r\n"), ALL(DATA_END, "a\n")},
    {TEXT("a\r\n..\r\n.\r\n"), ALL(DATA_END, "a\n.\n")},
    {TEXT(".a\r\n..b\r\n...c\r\n.\r\n"), ALL(DATA_END, "a\n.b\n..c\n")},
    {TEXT("a.\r\n.\r\n"), ALL(DATA_END, "a.\n")},
    {TEXT("a\0b\377\r\n.\r\n"), ALL(DATA_END, "a\0b\377\n")},
    {TEXT("a\r\n"), ALL(DATA_MORE, "a\n")},
    {TEXT("a\r"), ALL(DATA_MORE, "a")},
    {TEXT("a\r\n.\r"), ALL(DATA_MORE, "a\n")},
    {TEXT("a\r\n. \r\n.\r\n"), ALL(DATA_END, "a\n \n")},
    /* a lone dot that is not CR LF . CR LF, in every mode */
    {TEXT(".\n"), ALL(DATA_BARE, "")},
    {TEXT("a\r\n.\n"), ALL(DATA_BARE, "a\n")},
    {TEXT("a\n.\r\n"), ALL(DATA_BARE, "*")},
    {TEXT("a\n.\n"), ALL(DATA_BARE, "*")},
    {TEXT("\n.\r\n"), ALL(DATA_BARE, "*")},
    /* the mode decides */
    {TEXT("a\nb\r\n.\r\n"), BARE("a\nb\n", "a\nb\n")},
    {TEXT("a\n..b\r\n.\r\n"), BARE("a\n.b\n", "a\n.b\n")},
    {TEXT("a\n\r\n.\r\n"), BARE("a\n\n", "a\n\n")},
    {TEXT("a\rb\r\n.\r\n"), BARE("a b\n", "a\rb\n")},
    {TEXT("a\r\r\n.\r\n"), BARE("a \n", "a\r\n")},
    {TEXT("a\r\n.\rb\r\n.\r\n"), BARE("a\n b\n", "a\n\rb\n")},
    {TEXT("a\r\n.\r\r\n.\r\n"), BARE("a\n \n", "a\n\r\n")},
    {TEXT("a\r\n\r.\r\n.\r\n"), BARE("a\n .\n", "a\n\r.\n")},
    {TEXT("a\r.\r\r\n.\r\n"), BARE("a . \n", "a\r.\r\n")},
    {TEXT("a\n.\r\r\n.\r\n"), BARE("a\n \n", "a\n\r\n")},
    {TEXT(".\r.\r\n.\r\n"), BARE(" .\n", "\r.\n")},
};

static void
each_mode_gives_what_the_table_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (unsigned mode = DATA_REJECT; mode <= DATA_LEGACY; mode++) {
            struct str want = cases[i].want[mode].out;
            struct result r = decoded((enum data_newlines)mode, cases[i].in, 0, 0);

            if (r.status != cases[i].want[mode].status)
                fail_msg("case %zu, mode %u: status %d", i, mode, (int)r.status);
            if (r.status == DATA_END)
                assert_int_equal(r.taken, cases[i].in.n);
            if (str_eq(want, STR("*"))) /* refused: what came before it does not matter */
                continue;
            assert_int_equal(r.n, want.n);
            assert_memory_equal(r.out, want.p, want.n);
        }
}

static void
how_the_input_is_cut_does_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare_all_cuts(cases[i].in);
}

/* All strings of six bytes over the alphabet that matters. */
static void
all_short_inputs_agree_with_the_state_table(void **state)
{
    static const char bytes[] = {'.', '\r', '\n', 'x'};
    char in[6];

    (void)state;
    for (unsigned n = 0; n < 1 << 12; n++) {
        for (size_t i = 0; i < sizeof in; i++)
            in[i] = bytes[n >> 2 * i & 3];
        for (unsigned mode = DATA_REJECT; mode <= DATA_LEGACY; mode++) {
            struct str text = {in, sizeof in};
            struct result want = reference((enum data_newlines)mode, text);

            for (size_t cut = 0; cut <= sizeof in; cut++) {
                struct result got = decoded((enum data_newlines)mode, text, cut, cut);

                expect_same(&got, &want);
            }
        }
    }
}

static void
what_follows_the_end_is_not_taken(void **state)
{
    struct str in = STR("a\r\n.\r\nQUIT\r\n");
    struct result r = decoded(DATA_REJECT, in, 0, 0);

    (void)state;
    assert_int_equal(r.status, DATA_END);
    assert_true(str_eq(str_from(in, r.taken), STR("QUIT\r\n")));
}

static struct result
chunked(struct str in, size_t cut)
{
    struct result r = {.taken = in.n};
    struct data d;
    size_t n;

    data_begin(&d, DATA_REJECT);
    data_chunk(&d, in.p, cut, r.out, &n);
    assert_true(n <= cut + 1);
    r.n = n;
    data_chunk(&d, in.p + cut, in.n - cut, r.out + r.n, &n);
    assert_true(n <= in.n - cut + 1);
    r.n += n;
    r.n += data_chunk_end(&d, r.out + r.n);
    return r;
}

static void
chunks_keep_every_byte_but_the_cr_of_a_line_end(void **state)
{
    static const struct {
        struct str in, out;
    } chunks[] = {
        {TEXT(""), TEXT("")},
        {TEXT("a\r\nb\r\n"), TEXT("a\nb\n")},
        {TEXT(".\r\n"), TEXT(".\n")},
        {TEXT("..a\r\n.\r\nb"), TEXT("..a\n.\nb")},
        {TEXT("a\nb\rc\r\r\nd"), TEXT("a\nb\rc\r\nd")},
        {TEXT("\r\r\r"), TEXT("\r\r\r")},
        {TEXT("\0\r\n\377\r"), TEXT("\0\n\377\r")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
        for (size_t cut = 0; cut <= chunks[i].in.n; cut++) {
            struct result r = chunked(chunks[i].in, cut);

            assert_int_equal(r.n, chunks[i].out.n);
            assert_memory_equal(r.out, chunks[i].out.p, r.n);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mode_gives_what_the_table_says),
        cmocka_unit_test(how_the_input_is_cut_does_not_matter),
        cmocka_unit_test(all_short_inputs_agree_with_the_state_table),
        cmocka_unit_test(what_follows_the_end_is_not_taken),
        cmocka_unit_test(chunks_keep_every_byte_but_the_cr_of_a_line_end),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
