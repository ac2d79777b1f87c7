/* plugins/rspamd: an answer is understood as a whole or not at all, and what is kept of it is usable. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/rspamd.late/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const struct reply *r)
{
    assert(r->action_name && r->n_edits <= REPLY_EDITS_MAX);
    assert(strlen(r->symbols) < REPLY_SYMBOLS_MAX);
    assert(isfinite(r->score) && isfinite(r->required));
    for (size_t i = 0; i < r->n_edits; i++) {
        const struct reply_edit *e = &r->edit[i];

        assert(abs(e->number) <= REPLY_NUMBER_MAX);
        assert((e->kind <= REPLY_HEADER_INSERT) == (e->name != NULL));
        assert((e->kind == REPLY_HEADER_REMOVE) == (e->value == NULL));
        for (const char *p = e->name; p && *p; p++)
            assert(*p > ' ' && *p < 0x7f && *p != ':');
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct reply r;
    const char *why;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    why = reply_parse(text, size, &r);
    if (why) {
        assert(*why && !r.root);
    } else {
        check(&r);
        reply_close(&r);
    }
    free(text);
    return 0;
}
