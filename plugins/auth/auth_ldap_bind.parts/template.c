#include "template.h"

#include <string.h>

struct text {
    char *out;
    size_t n; /* TEMPLATE_MAX: there was no room */
};

bool
template_check(const char *template)
{
    bool user = false;

    for (const char *p = template; (p = strchr(p, '%')) != NULL; p += 2) {
        if (p[1] == '\0' || !strchr("udm%", p[1]))
            return false;
        user = user || p[1] == 'u' || p[1] == 'm';
    }
    return user;
}

static void
put(struct text *t, char c)
{
    if (t->n < TEMPLATE_MAX - 1)
        t->out[t->n++] = c;
    else
        t->n = TEMPLATE_MAX;
}

static bool
is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

static void
put_escaped(struct text *t, const char *value, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value[i];

        if (is_plain(value[i])) {
            put(t, value[i]);
            continue;
        }
        put(t, '\\');
        put(t, digits[c >> 4]);
        put(t, digits[c & 15]);
    }
}

bool
template_fill(const char *template, const char *user, char out[TEMPLATE_MAX])
{
    const char *at = strrchr(user, '@');
    size_t n = strlen(user), local = at ? (size_t)(at - user) : n;
    struct text t = {out, 0};
    bool good = local > 0 && n <= TEMPLATE_NAME_MAX;

    for (const char *p = template; good && *p; p++) {
        if (*p != '%') {
            put(&t, *p);
            continue;
        }
        p++;
        if (*p == 'd')
            good = at && at[1];
        if (*p == '%')
            put(&t, '%');
        else if (*p == 'd' && good)
            put_escaped(&t, at + 1, strlen(at + 1));
        else if (*p != 'd')
            put_escaped(&t, user, *p == 'u' ? local : n);
    }
    good = good && t.n < TEMPLATE_MAX;
    out[good ? t.n : 0] = '\0';
    return good;
}
