/*
 * plugins/uribl: a message, from its bytes to the hosts that it names
 *
 * The first line is its Content-Type; the rest is the body.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/uribl.parts/links.h"
#include "../../plugins/uribl.parts/mime.h"

static void
on_found(void *data, const char *host, bool ip)
{
    size_t labels = 1, length = 0;
    uint8_t address[16];

    (void)data;
    if (ip) {
        assert(inet_pton(strchr(host, ':') ? AF_INET6 : AF_INET, host, address) == 1);
        return;
    }
    assert(strlen(host) <= LINKS_HOST_MAX);
    for (const char *p = host; *p; p++) {
        assert((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || strchr("-_.", *p));
        assert(*p != '.' || length > 0);
        length = *p == '.' ? 0 : length + 1;
        labels += *p == '.';
    }
    assert(labels > 1 && length > 0);
}

static void
on_text(void *data, char c)
{
    links_put(data, c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct links links = {.found = on_found};
    struct mime mime = {.put = on_text, .data = &links};
    char *text = malloc(size + 1), *line, *end = text + size;
    bool fresh = true;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    line = memchr(text, '\n', size);
    if (line)
        *line++ = '\0';
    mime_begin(&mime, text, NULL);
    while (line && line < end) {
        char *lf = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((lf ? lf + 1 : end) - line);

        if (n > 300) { /* what does not fit into a buffer comes in pieces */
            n = 300;
            lf = NULL;
        }
        mime_line(&mime, line, n, fresh);
        assert(mime.depth <= MIME_DEPTH && links.n < LINKS_ROOM);
        fresh = lf != NULL;
        line += n;
    }
    links_put(&links, '\n');
    assert(links.n == 0);
    free(text);
    return 0;
}
