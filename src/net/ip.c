#include "net/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static void
set_v4(struct ip *ip, const struct in_addr *v4)
{
    memcpy(ip->b, v4_mapped, sizeof v4_mapped);
    memcpy(ip->b + 12, v4, 4);
}

bool
ip_parse(struct str text, struct ip *out)
{
    char z[IP_TEXT_MAX];
    struct in_addr v4;
    struct in6_addr v6;

    if (text.n == 0 || text.n >= sizeof z || str_find(text, '\0') < text.n)
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (inet_pton(AF_INET, z, &v4) == 1) {
        set_v4(out, &v4);
        return true;
    }
    if (inet_pton(AF_INET6, z, &v6) == 1) {
        memcpy(out->b, &v6, sizeof out->b);
        return true;
    }
    return false;
}

void
ip_format(const struct ip *ip, char out[IP_TEXT_MAX])
{
    if (ip_is_v4(ip))
        inet_ntop(AF_INET, ip->b + 12, out, IP_TEXT_MAX);
    else
        inet_ntop(AF_INET6, ip->b, out, IP_TEXT_MAX);
}

bool
ip_from_sockaddr(const struct sockaddr *sa, struct ip *out, int *port)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    /* copied: sa may point into a buffer that is not aligned for either */
    switch (sa->sa_family) {
    case AF_INET:
        memcpy(&v4, sa, sizeof v4);
        set_v4(out, &v4.sin_addr);
        *port = ntohs(v4.sin_port);
        return true;
    case AF_INET6:
        memcpy(&v6, sa, sizeof v6);
        memcpy(out->b, &v6.sin6_addr, sizeof out->b);
        *port = ntohs(v6.sin6_port);
        return true;
    default:
        return false;
    }
}

bool
ip_is_v4(const struct ip *ip)
{
    return memcmp(ip->b, v4_mapped, sizeof v4_mapped) == 0;
}

bool
ip_eq(const struct ip *a, const struct ip *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

void
ip_reverse(const struct ip *ip, char out[IP_REVERSED_MAX])
{
    const uint8_t *b = ip->b;
    size_t n = 0;

    if (ip_is_v4(ip)) {
        snprintf(out, IP_REVERSED_MAX, "%d.%d.%d.%d", b[15], b[14], b[13], b[12]);
        return;
    }
    for (int i = 15; i >= 0; i--) {
        out[n++] = "0123456789abcdef"[b[i] & 15];
        out[n++] = '.';
        out[n++] = "0123456789abcdef"[b[i] >> 4];
        out[n++] = '.';
    }
    out[n - 1] = '\0';
}

bool
ip_is_loopback(const struct ip *ip)
{
    static const struct ip one = {{[15] = 1}};

    return ip_is_v4(ip) ? ip->b[12] == 127 : ip_eq(ip, &one);
}
