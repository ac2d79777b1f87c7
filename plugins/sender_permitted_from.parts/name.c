#include "name.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#define NAME_BYTES_MAX  253
#define LABEL_BYTES_MAX 63

size_t
spf_name_labels(const char *name)
{
    size_t labels = 0;

    if (strlen(name) > NAME_BYTES_MAX)
        return 0;
    while (true) {
        size_t n = strcspn(name, ".");

        if (n == 0 || n > LABEL_BYTES_MAX)
            return 0;
        labels++;
        if (name[n] == '\0')
            return labels;
        name += n + 1;
    }
}

bool
spf_name_is_domain(const char *name)
{
    return name[0] != '[' && spf_name_labels(name) > 1;
}

bool
spf_name_is_within(const char *name, const char *domain)
{
    size_t n = strlen(name), d = strlen(domain);

    return n >= d && strcasecmp(name + n - d, domain) == 0 && (n == d || name[n - d - 1] == '.');
}

const char *
spf_name_fit(char *name)
{
    size_t n = strlen(name);

    if (n > 0 && name[n - 1] == '.')
        name[--n] = '\0';
    while (n > NAME_BYTES_MAX) {
        size_t cut = strcspn(name, ".");

        cut += name[cut] == '.';
        name += cut;
        n -= cut;
    }
    return name;
}

bool
spf_ip_parse(const char *text, uint8_t out[16])
{
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    return inet_pton(AF_INET, text, out + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

bool
spf_ip_is_v4(const uint8_t ip[16])
{
    struct in6_addr a;

    memcpy(&a, ip, sizeof a);
    return IN6_IS_ADDR_V4MAPPED(&a);
}

bool
spf_ip_same_prefix(const uint8_t a[16], const uint8_t b[16], int bits)
{
    size_t whole = (size_t)bits / 8;
    int rest = bits % 8;

    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}
