/* plugins/http.parts/url: no text is taken for a URL that it is none, and no password gets into the log. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/http.parts/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), shown[URL_MAX + 1];
    struct url url, again;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    assert(url_public(text, shown, sizeof shown) == shown && strlen(shown) <= strlen(text));
    if (url_parse(text, &url)) {
        assert(
            strlen(text) <= URL_MAX && strncmp(text, url.secure ? "https://" : "http://", 7) == 0);
        /* what is shown is the same server */
        assert(url_parse(shown, &again));
        assert(again.secure == url.secure && again.loopback == url.loopback);
        assert(!memchr(strstr(shown, "://") + 3, '@', strcspn(strstr(shown, "://") + 3, "/?#")));
    }
    free(text);
    return 0;
}
