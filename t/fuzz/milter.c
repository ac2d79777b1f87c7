/*
 * plugins/milter: an answer of a milter, and what is read out of it
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/milter.parts/packet.h"

static void
check_code(const char *text)
{
    struct milter_code code;
    size_t n;

    if (!milter_code_parse(text, &code))
        return;
    assert(code.code >= 400 && code.code <= 559);
    n = strlen(code.enhanced);
    assert(n == 0 || (n >= 5 && n < sizeof code.enhanced && code.enhanced[0] == text[0]));
    assert(strlen(code.text) <= MILTER_TEXT_MAX && !strchr(code.text, '\r'));
}

/* What comes out goes into a packet of ours again. */
static void
check_text(const char *text)
{
    uint8_t room[64];
    struct milter_writer w;
    size_t n = strlen(text);
    bool cut;

    milter_begin(&w, room, sizeof room, 'L');
    cut = milter_put_text_cut(&w, text, n);
    assert(!w.overflow && cut == (n > sizeof room - MILTER_FRAME - 1));
    assert(w.p[w.n - 1] == '\0' && milter_end(&w) <= sizeof room);
    milter_put_text(&w, text, n + 1);
    assert(w.n <= w.room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *packet = malloc(size + !size); /* of just that size: nobody may look further */
    struct milter_packet p;

    assert(packet);
    memcpy(packet, data, size);
    if (!milter_packet_parse(packet, size, &p)) {
        assert(p.letter == packet[0]);
        if (p.name)
            check_text(p.name);
        if (p.value)
            check_text(p.value);
        if (p.letter == MILTER_REPLY_CODE)
            check_code(p.name);
        if (p.letter == MILTER_OFFER) {
            const uint8_t *at = p.bytes;
            size_t left = p.n, before = p.n;
            const char *names;
            uint32_t stage;

            while (milter_macro_list(&at, &left, &stage, &names)) {
                assert(left < before);
                before = left;
                check_text(names);
            }
        }
    }
    free(packet);
    return 0;
}
