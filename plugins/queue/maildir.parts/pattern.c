#include "pattern.h"

#include <ctype.h>
#include <string.h>

static bool
put(struct pattern_text *t, char c)
{
    if (t->n + 1 == sizeof t->p)
        return false;
    t->p[t->n++] = c;
    t->p[t->n] = '\0';
    return true;
}

/* Outside text: it may name a directory, not choose one. */
static bool
put_value(struct pattern_text *t, const char *value, bool lower)
{
    if (*value == '\0' || *value == '.')
        return false;
    for (; *value; value++) {
        int c = (unsigned char)*value;

        if (!isascii(c) || !(isalnum(c) || strchr("-+_.,@=", c)))
            c = '_';
        if (!put(t, (char)(lower ? tolower(c) : c)))
            return false;
    }
    return true;
}

static bool
put_address(struct pattern_text *t, char what, const char *user, const char *host)
{
    switch (what) {
    case 'l':
        return put_value(t, user, false);
    case 'd':
        return put_value(t, host, true);
    case 'u':
        return put_value(t, user, false) && put(t, '@') && put_value(t, host, true);
    default:
        return false;
    }
}

static bool
components_safe(const char *path)
{
    for (;; path++) {
        size_t n = strcspn(path, "/");

        if (n == 0 || n > NAME_MAX || (n <= 2 && strspn(path, ".") == n))
            return false;
        path += n;
        if (*path == '\0')
            return true;
    }
}

bool
pattern_expand(struct pattern_text *t, const char *pattern, const char *user, const char *host)
{
    t->n = 0;
    for (; *pattern; pattern++)
        if (*pattern != '%' ? !put(t, *pattern) : !put_address(t, *++pattern, user, host))
            return false;
    return components_safe(t->p);
}
