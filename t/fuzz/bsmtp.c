/*
 * plugins/queue/exim-bsmtp: what Exim answers, and the bytes that go to it
 *
 * The input is both: an answer, and a message.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/queue/exim-bsmtp.parts/answer.h"
#include "../../plugins/queue/exim-bsmtp.parts/stuffing.h"

static void
check_answer(const char *text, size_t n)
{
    struct answer a = {.code = 0};

    if (!answer_parse(text, n, &a)) {
        assert(a.code == 0);
        return;
    }
    assert(a.code >= 400 && a.code <= 599 && a.text[0] != '\0');
    assert(strlen(a.text) <= ANSWER_TEXT);
    for (const char *p = a.text; *p; p++)
        assert(*p >= 0x20 && *p <= 0x7e);
}

/* In pieces, because a line may begin in one block and end in the next. */
static size_t
stuff(const char *text, size_t n, char *out, bool *ended)
{
    struct stuffing s = STUFFING_BEGIN;
    size_t length = 0, piece = n > 0 ? (unsigned char)text[0] % 7 + 1 : 1;

    for (size_t at = 0; at < n; at += piece)
        length += stuffing_put(&s, text + at, n - at < piece ? n - at : piece, out + length);
    *ended = s.line_start;
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *out = malloc(2 * size + 1);
    bool start = true, ended;
    size_t n, from = 0;

    assert(text && out);
    memcpy(text, data, size);
    check_answer(text, size);
    n = stuff(text, size, out, &ended);
    assert(n >= size && n <= 2 * size);
    assert(ended == (n == 0 || out[n - 1] == '\n'));
    for (size_t i = 0; i < n; i++) {
        assert(out[i] != '\r');
        if (start && out[i] == '.') {
            assert(i + 1 < n && out[i + 1] == '.'); /* so no line is a dot alone */
            i++;
        }
        assert(out[i] == (text[from] == '\r' ? '\n' : text[from]));
        start = out[i] == '\n';
        from++;
    }
    assert(from == size);
    free(text);
    free(out);
    return 0;
}
