#include "client.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VALUE_MAX 255 /* Postfix keeps no more */

static const char *const names[CLIENT_ATTRIBUTES] = {
    "NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "IDENT", "SOURCE"};

unsigned
client_offered(const char *words)
{
    unsigned offered = 0;

    while (*words) {
        size_t n = strcspn(words, " ");

        for (size_t i = 0; i < CLIENT_ATTRIBUTES; i++)
            if (strlen(names[i]) == n && strncasecmp(names[i], words, n) == 0)
                offered |= 1U << i;
        words += n;
        words += strspn(words, " ");
    }
    return offered;
}

/* " NAME=value", the value in xtext; gives its length */
static size_t
attribute(size_t which, const char *value, char *out, size_t room)
{
    size_t n;

    if (!value || !*value)
        value = "[UNAVAILABLE]";
    n = (size_t)snprintf(out, room, " %s=%s", names[which],
        which == CLIENT_ADDR && strchr(value, ':') ? "IPV6:" : "");
    for (size_t end = n + VALUE_MAX; *value && n + 3 <= end; value++) {
        unsigned char c = (unsigned char)*value;

        if (c > ' ' && c <= '~' && c != '+' && c != '=')
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, room - n, "+%02X", c);
    }
    out[n] = '\0';
    return n;
}

size_t
client_lines(const struct client *c, const char *verb, unsigned offered, char *out)
{
    size_t n = 0, line = 0, lines = 0;

    out[0] = '\0';
    for (size_t i = 0; i < CLIENT_ATTRIBUTES; i++) {
        char text[VALUE_MAX + 32];
        size_t length;

        if (!(offered & 1U << i))
            continue;
        length = attribute(i, c->value[i], text, sizeof text);
        if (n + length + strlen(verb) + 3 > CLIENT_TEXT_MAX)
            break;
        if (lines == 0 || n - line + length > CLIENT_LINE_MAX) {
            if (lines++ > 0)
                out[n++] = '\n';
            line = n;
            n += (size_t)snprintf(out + n, CLIENT_TEXT_MAX - n, "%s", verb);
        }
        memcpy(out + n, text, length);
        n += length;
    }
    if (lines)
        out[n++] = '\n';
    out[n] = '\0';
    return lines;
}
