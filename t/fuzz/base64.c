/*
 * fuzz/base64 - what is accepted is the one encoding of what it decodes to
 */
#include <assert.h>
#include <stdlib.h>

#include "base/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = {(const char *)data, size};
    char *decoded = malloc(BASE64_DECODED(size) + 1), *again = malloc(BASE64_ENCODED(size) + 1);
    size_t n;

    assert(decoded && again);
    if (base64_decode(in, decoded, &n)) {
        assert(n <= BASE64_DECODED(size));
        assert(base64_encode((struct str){decoded, n}, again) == size);
        assert(str_eq(in, (struct str){again, size}));
    }
    n = base64_encode((struct str){in.p, BASE64_DECODED(size)}, again);
    assert(n <= size + 3);
    free(decoded);
    free(again);
    return 0;
}
