#include "url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Behind the host, "[::1]" or "name.test"; NULL: there is none. host gets it, without brackets. */
static const char *
read_host(const char *p, char host[256])
{
    const char *name = *p == '[' ? p + 1 : p;
    size_t n = *p == '[' ? strspn(name, "0123456789abcdefABCDEF:.") : 0;
    struct in6_addr v6;

    if (*p != '[')
        while (isalnum((unsigned char)name[n]) || (name[n] && strchr("-._", name[n])))
            n++;
    if (n == 0 || n > 255)
        return NULL;
    snprintf(host, 256, "%.*s", (int)n, name);
    if (*p != '[')
        return name + n;
    return name[n] == ']' && inet_pton(AF_INET6, host, &v6) == 1 ? name + n + 1 : NULL;
}

/* Behind ":25", or p itself when no port is there; NULL: a wrong one */
static const char *
read_port(const char *p)
{
    unsigned int port = 0;
    size_t n;

    if (*p != ':')
        return p;
    p++;
    for (n = 0; n < 5 && isdigit((unsigned char)p[n]); n++)
        port = port * 10 + (unsigned int)(p[n] - '0');
    return port > 0 && port < 65536 ? p + n : NULL;
}

static bool
is_loopback(const char *host)
{
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1) /* 127.example.org is none */
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcasecmp(host, "localhost") == 0;
}

/* Behind "http://"; NULL: another scheme */
static const char *
read_scheme(const char *text, bool *secure)
{
    *secure = strncmp(text, "https://", 8) == 0;
    if (*secure)
        return text + 8;
    return strncmp(text, "http://", 7) == 0 ? text + 7 : NULL;
}

bool
url_parse(const char *text, struct url *out)
{
    char host[256];
    bool secure;
    const char *p = read_scheme(text, &secure);
    const char *at;

    if (!p || strlen(text) > URL_MAX)
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '\\')
            return false;
    at = memchr(p, '@', strcspn(p, "/?#"));
    p = read_host(at ? at + 1 : p, host);
    if (p)
        p = read_port(p);
    if (!p || !strchr("/?#", *p)) /* the NUL, too */
        return false;
    *out = (struct url){secure, is_loopback(host)};
    return true;
}

const char *
url_public(const char *url, char *out, size_t room)
{
    const char *rest = strstr(url, "://");
    const char *host = rest ? rest + 3 : url;
    const char *at = memchr(host, '@', strcspn(host, "/?#"));

    snprintf(out, room, "%.*s%s", (int)(host - url), url, at ? at + 1 : host);
    return out;
}
