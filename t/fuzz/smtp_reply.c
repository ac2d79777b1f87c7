/*
 * plugins/queue/nexthop.parts/reply: whatever a server answers becomes a code and a clean text, however
 * the bytes were cut
 *
 * The first byte of the input is the length of the pieces that it is cut into the second time.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "../../plugins/queue/nexthop.parts/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const char *text, size_t max)
{
    assert(strlen(text) <= max);
    for (; *text; text++)
        assert(*text >= ' ' && *text <= '~');
}

static void
check(const struct reply *r)
{
    assert(r->code >= 200 && r->code <= 599);
    assert(r->lines >= 1 && r->lines <= REPLY_LINES_MAX);
    check_text(r->text, REPLY_TEXT_MAX);
    check_text(r->line, REPLY_LINE_MAX);
    check_text(r->enhanced, REPLY_STATUS - 1);
    assert(!r->enhanced[0] || r->enhanced[0] == '0' + r->code / 100);
}

/* One reply out of pieces of n bytes; *used: how many bytes it took */
static enum reply_status
read_reply(struct reply *r, const char *p, size_t size, size_t n, size_t *used)
{
    enum reply_status status = REPLY_MORE;

    reply_begin(r);
    for (*used = 0; *used < size && status != REPLY_DONE && status != REPLY_BAD;) {
        size_t part = size - *used < n ? size - *used : n, taken;

        status = reply_feed(r, p + *used, part, &taken);
        assert(taken <= part && (taken > 0 || status == REPLY_BAD));
        assert(status != REPLY_MORE || taken == part);
        *used += taken;
        if (status == REPLY_LINE || status == REPLY_DONE)
            check(r);
    }
    return status == REPLY_LINE ? REPLY_MORE : status;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reply whole, cut;
    const char *p = (const char *)data;
    size_t n = size ? *data % 16 + 1U : 1;

    if (size) {
        p++;
        size--;
    }
    for (size_t used, again;; p += used, size -= used) {
        enum reply_status status = read_reply(&whole, p, size, size + 1, &used);

        assert(read_reply(&cut, p, size, n, &again) == status);
        if (status != REPLY_DONE)
            return 0;
        assert(used == again && whole.code == cut.code && whole.lines == cut.lines);
        assert(strcmp(whole.text, cut.text) == 0 && strcmp(whole.enhanced, cut.enhanced) == 0);
    }
}
