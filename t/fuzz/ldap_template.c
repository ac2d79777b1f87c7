/*
 * t/fuzz/ldap_template - any name of a user, in a filter and in a distinguished name: what surrounds it
 * stays, nothing of it has a meaning there, and it can be read back
 *
 * The first line is a template of the administrator's, the rest is the client's name.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/auth/auth_ldap_bind.parts/template.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t n);

static unsigned
digit(char c)
{
    assert((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* What stands between prefix and suffix is the name, and nothing but letters, digits, -._ and \XX. */
static void
check_name(const char *made, const char *prefix, const char *suffix, const char *name)
{
    size_t n = strlen(made), front = strlen(prefix), back = strlen(suffix);

    assert(n >= front + back && memcmp(made, prefix, front) == 0);
    assert(strcmp(made + n - back, suffix) == 0);
    for (const char *p = made + front; p < made + n - back; p++, name++) {
        unsigned char c = (unsigned char)*p;

        if (*p == '\\') {
            c = (unsigned char)(digit(p[1]) << 4 | digit(p[2]));
            p += 2;
        } else {
            assert(c < 0x80 && (strchr("-._", *p) || (*p >= '0' && *p <= '9') ||
                                   ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z')));
        }
        assert(c == (unsigned char)*name);
    }
    assert(*name == '\0');
}

static void
check_user(const char *user)
{
    char out[TEMPLATE_MAX];
    const char *at = strrchr(user, '@');
    bool good = *user && at != user && strlen(user) <= TEMPLATE_NAME_MAX;

    assert(template_fill("(mail=%m)", user, out) == good);
    if (good)
        check_name(out, "(mail=", ")", user);
    assert(template_fill("uid=%u,o=%d", user, out) == (good && at && at[1]));
    assert((*out == '\0') == !(good && at && at[1]));
    if (*out)
        check_name(strstr(out, ",o="), ",o=", "", at + 1);
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t n)
{
    char *text = malloc(n + 1), *user, out[TEMPLATE_MAX];

    assert(text);
    if (n)
        memcpy(text, data, n);
    text[n] = '\0';
    user = strchr(text, '\n');
    if (user)
        *user++ = '\0';
    else
        user = text;
    check_user(user);
    if (template_check(text) && template_fill(text, user, out))
        assert(strlen(out) < TEMPLATE_MAX && *out);
    free(text);
    return 0;
}
