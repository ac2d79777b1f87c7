/* mail/header: every byte is kept, and whatever is added is one field. The input is a header and,
 * behind a NUL, a value to add. */
#include <assert.h>

#include "base/buf.h"
#include "mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str
written(struct arena *a, const struct header *h)
{
    struct buf b;

    buf_init(&b, a, 1 << 24);
    for (size_t i = 0; i < header_count(h); i++)
        buf_put(&b, header_at(h, i)->raw);
    assert(!b.overflow && b.n == header_size(h));
    return buf_str(&b);
}

static struct header *
parsed(struct arena *a, struct str text)
{
    struct header *h = header_new(a);

    header_parse(h, text);
    return h;
}

static void
check_fields(const struct header *h)
{
    size_t index;

    for (size_t i = 0; i < header_count(h); i++) {
        const struct header_field *f = header_at(h, i);
        const char *value = header_value(h, f);

        assert(f->raw.n > 0 && f->raw.p[f->raw.n - 1] == '\n');
        assert(f->name.n < f->raw.n);
        assert(header_text(f).n <= f->raw.n &&
               header_text(f).p + header_text(f).n == f->raw.p + f->raw.n);
        assert(strlen(value) < f->raw.n);
        if (f->name.n == 0)
            continue;
        assert(header_find(h, f->name, 0, &index) && index <= i);
        assert(header_find(h, f->name, header_count_of(h, f->name) - 1, &index) && index >= i);
        assert(!header_find(h, f->name, header_count_of(h, f->name), NULL));
    }
    assert(header_hops(h) <= header_count(h));
}

static void
check_insert(struct arena *a, struct str value)
{
    struct header *h = parsed(a, STR("A: 1\nB: 2\n"));
    struct header *again;

    assert(header_insert(h, 1, STR("New"), value));
    again = parsed(a, written(a, h));
    assert(header_count(again) == 3);
    for (size_t i = 0; i < 3; i++)
        assert(str_eq(header_at(h, i)->raw, header_at(again, i)->raw));
    assert(memmem(written(a, h).p, written(a, h).n, "\n\n", 2) == NULL);
    assert(header_replace(h, 2, value) && header_remove(h, 1) && header_remove(h, 0));
    assert(header_count(parsed(a, written(a, h))) == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_open("fuzz");
    struct str value = {(const char *)data, size};
    struct str text = str_cut(&value, '\0');
    struct header *h;

    if (text.n > 0 && text.p[text.n - 1] != '\n')
        text = str_of(arena_printf(a, "%.*s\n", STR_ARG(text)));
    h = parsed(a, text);
    if (!str_starts(text, STR("From ")))
        assert(str_eq(written(a, h), text));
    check_fields(h);
    check_insert(a, value);
    check_insert(a, text);
    arena_close(&a);
    return 0;
}
