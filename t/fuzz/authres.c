/* mail/authres: any field is judged without harm, and what we write is recognized as ours. */
#include <assert.h>

#include "mail/authres.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct header *
field(struct arena *a, struct str value)
{
    struct header *h = header_new(a);

    assert(header_insert(h, 0, STR("Authentication-Results"), value));
    return h;
}

static void
check_ours(struct arena *a, const char *text)
{
    const char *auth = authres_auth(a, AUTHRES_PASS, text, text);
    struct header *h;

    h = field(a, str_of(authres_value(a, "mx.example.org", auth, text)));
    assert(authres_strip(h, STR("MX.EXAMPLE.ORG")) == 1);
    assert(header_count(h) == 0);
    for (const char *p = auth; *p; p++)
        assert(*p != ';' && !ascii_control(*p));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_open("fuzz");
    const char *copy = arena_dup(a, (struct str){(const char *)data, size});
    struct str text = {copy, size};
    struct header *h = header_new(a);
    size_t count;

    if (size > 0 && copy[size - 1] == '\n')
        header_parse(h, text);
    header_insert(h, SIZE_MAX, STR("authentication-results"), text);
    count = header_count(h);
    assert(authres_strip(h, STR("mx.example.org")) + header_count(h) == count);
    assert(authres_strip(h, STR("mx.example.org")) == 0);
    /* a comment in front changes nothing */
    h = field(a, text);
    count = authres_strip(h, STR("mx.example.org"));
    h = field(a, str_of(arena_printf(a, "(x)\n %.*s", STR_ARG(text))));
    if (strlen(copy) == size)
        assert(authres_strip(h, STR("mx.example.org")) == count);
    check_ours(a, copy);
    arena_close(&a);
    return 0;
}
