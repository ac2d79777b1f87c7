/* smtp/path: what is given out is clean, and put together again it gives the same. */
#include <assert.h>

#include "base/buf.h"
#include "mail/address.h"
#include "smtp/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str
rebuilt(struct arena *a, const struct path *path)
{
    struct buf b;

    buf_init(&b, a, 1 << 24);
    buf_printf(&b, "TO:%s", path->text);
    for (size_t i = 0; i < path->n_params; i++)
        buf_printf(&b, " %s%s%s", path->params[i].name, *path->params[i].value ? "=" : "",
            path->params[i].value);
    return buf_str(&b);
}

static void
check_clean(const char *text)
{
    for (; *text; text++)
        assert(!ascii_control(*text));
}

static void
check(struct arena *a, const struct path *path)
{
    struct path again;
    uint64_t size;

    assert(path->n_params <= PATH_PARAMS_MAX);
    assert(*path->text && path->bracketed == (*path->text == '<'));
    check_clean(path->text);
    for (size_t i = 0; i < path->n_params; i++) {
        check_clean(path->params[i].name);
        check_clean(path->params[i].value);
        path_size(path->params[i].value, &size);
    }
    assert(path_parse(a, rebuilt(a, path), STR("TO:"), &again) == PATH_OK);
    assert(strcmp(again.text, path->text) == 0 && again.n_params == path->n_params);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_open("fuzz");
    struct str args = {(const char *)data, size};
    struct path path;

    if (path_parse(a, args, STR("TO:"), &path) == PATH_OK)
        check(a, &path);
    /* an address in its canonical form is one path, whatever stands in its local part */
    if (size > 0 && data[0] == '<') {
        const struct qp_address *address = address_parse(a, args, ADDRESS_LENIENT);

        if (address) {
            struct str line = str_of(arena_printf(a, "TO:%s X=1", address->format));

            assert(path_parse(a, line, STR("TO:"), &path) == PATH_OK);
            assert(strcmp(path.text, address->format) == 0 && path.n_params == 1);
        }
    }
    arena_close(&a);
    return 0;
}
