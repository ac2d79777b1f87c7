/*
 * plugins/queue/nexthop.parts/text: no message ends DATA before its end, and every byte arrives
 *
 * The first byte of the input is the length of the pieces that it is cut into the second time.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/queue/nexthop.parts/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All of it as it is sent, in pieces of n bytes; gives its length. */
static size_t
convert(const char *p, size_t size, size_t n, char *out, struct text_survey *survey)
{
    struct text_stuffing state = {0};
    size_t done = 0;

    *survey = (struct text_survey){0};
    for (size_t at = 0; at < size; at += n) {
        size_t part = size - at < n ? size - at : n, made;

        text_survey(survey, p + at, part);
        made = text_stuff(&state, p + at, part, out + done);
        assert(made <= 2 * part);
        done += made;
    }
    text_survey_end(survey);
    return done + text_end(&state, out + done);
}

/* What the other side makes of it: CR LF . CR LF is the end, doubled dots are undone. Gives the bytes of
 * the message, line ends as LF again. */
static size_t
receive(const char *p, size_t size, char *out, size_t *wire)
{
    size_t n = 0;

    *wire = 0;
    for (const char *end = p + size; p < end;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));

        assert(lf && lf > p && lf[-1] == '\r' && !memchr(p, '\r', (size_t)(lf - 1 - p)));
        if (*p == '.' && lf == p + 2) {
            assert(lf + 1 == end); /* nothing follows the end */
            return n;
        }
        p += *p == '.';
        *wire += (size_t)(lf + 1 - p);
        memcpy(out + n, p, (size_t)(lf - 1 - p));
        n += (size_t)(lf - 1 - p);
        out[n++] = '\n';
        p = lf + 1;
    }
    abort(); /* it has no end */
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t n = size ? *data % 16 + 1U : 1, whole, cut, got, wire;
    struct text_survey survey, again;
    char *a, *b, *back;

    if (size) {
        data++;
        size--;
    }
    a = malloc(2 * size + 5);
    b = malloc(2 * size + 5);
    back = malloc(2 * size + 5);
    assert(a && b && back);
    whole = convert((const char *)data, size, size + 1, a, &survey);
    cut = convert((const char *)data, size, n, b, &again);
    assert(whole == cut && memcmp(a, b, whole) == 0);
    assert(survey.size == again.size && survey.eight_bit == again.eight_bit);
    got = receive(a, whole, back, &wire);
    assert(wire == survey.size);
    assert(got == size + (size && data[size - 1] != '\n'));
    for (size_t i = 0; i < size; i++)
        assert(back[i] == (char)(data[i] == '\r' ? ' ' : data[i]));
    free(a);
    free(b);
    free(back);
    return 0;
}
