/*
 * t/fuzz/cdb - any bytes as a constant database: what is found lies inside of it, behind its key
 *
 * Input: the length of the key in one byte, the key, the file.
 */
#include <assert.h>

#include "conf/cdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str key, value = {NULL, 0};
    struct cdb c;

    if (n == 0 || n - 1 < data[0])
        return 0;
    key = (struct str){(const char *)data + 1, data[0]};
    c = (struct cdb){data + 1 + key.n, n - 1 - key.n};
    if (cdb_find(&c, key, &value) != CDB_FOUND) {
        assert(value.p == NULL);
        return 0;
    }
    assert(value.p >= (const char *)c.p + 2048 + 8 + key.n);
    assert(value.p + value.n <= (const char *)c.p + c.n);
    assert(str_eq((struct str){value.p - key.n, key.n}, key));
    return 0;
}
