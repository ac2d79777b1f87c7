/*
 * t/fuzz/proxy - any bytes as a PROXY header: nothing outside of them is read, what it says lies
 * within them
 */
#include <assert.h>
#include <stdlib.h>

#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_within(struct str part, const char *begin, size_t n)
{
    assert(!part.p || (part.p >= begin && part.n <= n && part.p + part.n <= begin + n));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *copy = malloc(n + !n); /* its end is the end of the block */
    struct proxy p;

    if (n)
        memcpy(copy, data, n);
    if (proxy_parse((struct str){copy, n}, &p) && p.known) {
        const struct str parts[] = {
            p.alpn, p.authority, p.unique_id, p.tls_version, p.tls_cipher, p.tls_name};

        assert(p.source_port >= 0 && p.source_port <= 65535);
        assert(p.destination_port >= 0 && p.destination_port <= 65535);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            check_within(parts[i], copy, n);
    }
    proxy_begins((struct str){copy, n});
    free(copy);
    return 0;
}
