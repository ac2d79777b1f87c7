/* The build id of an object that may be anything: what is found lies in the bytes that were there. */
#include "plugin/standard.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str head = {(const char *)data, n}, id = standard_build_id(head);

    if (id.n > 0 && (id.p < head.p || id.p + id.n > head.p + head.n))
        abort();
    return 0;
}
