#include "hop.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

static bool
parse_port(const char *p, size_t n, uint16_t *out)
{
    unsigned port = 0;

    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        port = 10 * port + (unsigned)(p[i] - '0');
    }
    *out = (uint16_t)port;
    return port > 0 && port <= UINT16_MAX;
}

static bool
copy(char *to, size_t room, const char *p, size_t n)
{
    if (n == 0 || n >= room || memchr(p, '\0', n))
        return false;
    memcpy(to, p, n);
    to[n] = '\0';
    return true;
}

/* "[2001:db8::1]" or "mx.example.org": what follows it is at *rest */
static bool
parse_host(const char *word, size_t n, struct hop *out, size_t *rest)
{
    struct in6_addr ignored;
    const char *end;

    if (word[0] == '[') {
        end = memchr(word, ']', n);
        *rest = end ? (size_t)(end - word) + 1 : 0;
        return end && copy(out->host, sizeof out->host, word + 1, *rest - 2) &&
               inet_pton(AF_INET6, out->host, &ignored) == 1;
    }
    end = memchr(word, ':', n);
    *rest = end ? (size_t)(end - word) : n;
    for (size_t i = 0; i < *rest; i++)
        if (!isascii((unsigned char)word[i]) ||
            !(isalnum((unsigned char)word[i]) || strchr("._-", word[i])))
            return false;
    return copy(out->host, sizeof out->host, word, *rest) && out->host[0] != '-';
}

bool
hop_parse(const char *word, size_t n, int port, struct hop *out)
{
    size_t skip = n > 5 && memcmp(word, "unix:", 5) == 0 ? 5 : 0, rest;

    *out = (struct hop){.port = (uint16_t)port};
    if (!copy(out->text, sizeof out->text, word, n))
        return false;
    if (word[skip] == '/')
        return copy(out->path, sizeof out->path, word + skip, n - skip);
    if (skip || !parse_host(word, n, out, &rest))
        return false;
    return rest == n ||
           (word[rest] == ':' && parse_port(word + rest + 1, n - rest - 1, &out->port));
}
