#include "net/cidr.h"

static bool
one_octet(struct str text, uint8_t *out)
{
    uint64_t value;

    /* a leading zero means octal to some, so it means nothing here, as in inet_pton(3) */
    if (text.n > 3 || (text.n > 1 && text.p[0] == '0') || !str_number(text, 255, &value))
        return false;
    *out = (uint8_t)value;
    return true;
}

static bool
one_group(struct str text, uint8_t out[2])
{
    unsigned int value = 0;

    if (text.n == 0 || text.n > 4)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = ascii_lower(text.p[i]);

        if (!ascii_digit(c) && (c < 'a' || c > 'f'))
            return false;
        value = value << 4 | (unsigned int)(ascii_digit(c) ? c - '0' : c - 'a' + 10);
    }
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)(value & 0xff);
    return true;
}

/* "192.0.2." - one to three octets, a dot behind each; text ends in a dot */
static bool
parse_v4_prefix(struct str text, struct cidr *out)
{
    uint8_t bits = 96;
    struct ip net = {{[10] = 0xff, [11] = 0xff}};

    while (text.n > 0) {
        if (bits == 120 || !one_octet(str_cut(&text, '.'), &net.b[bits / 8]))
            return false;
        bits = (uint8_t)(bits + 8);
    }
    *out = (struct cidr){net, bits};
    return true;
}

/* "2001:db8:" - one to seven groups, a colon behind each; text ends in a colon */
static bool
parse_v6_prefix(struct str text, struct cidr *out)
{
    uint8_t bits = 0;
    struct ip net = {{0}};

    while (text.n > 0) {
        if (bits == 112 || !one_group(str_cut(&text, ':'), &net.b[bits / 8]))
            return false;
        bits = (uint8_t)(bits + 16);
    }
    *out = (struct cidr){net, bits};
    return true;
}

/* "192.0.2.0/24"; in "::ffff:192.0.2.0/120" the bits are those of the notation that is used */
static bool
parse_network(struct str address, struct str length, struct cidr *out)
{
    bool v4 = str_find(address, ':') == address.n;
    uint64_t bits;
    struct ip ip;

    if (!ip_parse(address, &ip) || !str_number(length, v4 ? 32 : 128, &bits))
        return false;
    bits += v4 ? 96 : 0;
    *out = (struct cidr){ip, (uint8_t)bits};
    cidr_mask(&out->net, out->bits);
    return true;
}

void
cidr_mask(struct ip *ip, uint8_t bits)
{
    size_t whole = bits / 8;

    if (whole >= sizeof ip->b)
        return;
    ip->b[whole] &= (uint8_t)(0xff00 >> bits % 8);
    memset(ip->b + whole + 1, 0, sizeof ip->b - whole - 1);
}

bool
cidr_parse(struct str text, struct cidr *out)
{
    struct str rest = text;
    struct str address = str_cut(&rest, '/');
    struct ip ip;

    if (text.n == 0)
        return false;
    if (address.n < text.n)
        return parse_network(address, rest, out);
    if (ip_parse(text, &ip)) { /* before the prefixes: "2001:db8::" is one address */
        *out = (struct cidr){ip, 128};
        return true;
    }
    if (text.p[text.n - 1] == '.')
        return parse_v4_prefix(text, out);
    return text.p[text.n - 1] == ':' && parse_v6_prefix(text, out);
}

bool
cidr_has(const struct cidr *net, const struct ip *addr)
{
    struct ip masked = *addr;

    if (net->bits < 96 && ip_is_v4(addr))
        return false;
    cidr_mask(&masked, net->bits);
    return ip_eq(&masked, &net->net);
}
