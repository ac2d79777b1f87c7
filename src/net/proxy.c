#include "net/proxy.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "net/wait.h"

#define SIGNATURE   "\r\n\r\n\0\r\nQUIT\n"
#define LINE_MAX_V1 107 /* of version 1, CR LF included */
#define FIXED_V2    16  /* bytes of version 2 in front of the addresses */

static const struct str signature = {SIGNATURE, sizeof SIGNATURE - 1};

/* ---- version 1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 25 ---- */

/* Decimal, without zeros in front. */
static bool
parse_port(struct str text, int *out)
{
    uint64_t n;

    if (!str_number(text, 65535, &n) || (text.n > 1 && text.p[0] == '0'))
        return false;
    *out = (int)n;
    return true;
}

/* TCP6 may bring ::ffff:192.0.2.1: a proxy that listens for both on one socket sees IPv4 like that. */
static bool
parse_ip(struct str text, bool v4, struct ip *out)
{
    return ip_parse(text, out) && (str_find(text, ':') == text.n) == v4;
}

static bool
parse_v1(struct str line, struct proxy *out)
{
    struct str rest = line, family;
    bool v4;

    if (line.n > LINE_MAX_V1 || line.n < 2 || line.p[line.n - 1] != '\n' ||
        line.p[line.n - 2] != '\r')
        return false;
    rest.n -= 2;
    str_cut(&rest, ' ');
    family = str_cut(&rest, ' ');
    if (str_eq(family, STR("UNKNOWN")))
        return true; /* what follows is for nobody */
    v4 = str_eq(family, STR("TCP4"));
    if (!v4 && !str_eq(family, STR("TCP6")))
        return false;
    out->known = true;
    return parse_ip(str_cut(&rest, ' '), v4, &out->source) &&
           parse_ip(str_cut(&rest, ' '), v4, &out->destination) &&
           parse_port(str_cut(&rest, ' '), &out->source_port) &&
           parse_port(rest, &out->destination_port);
}

/* ---- version 2 ---- */

static unsigned
byte(struct str s, size_t i)
{
    return (unsigned char)s.p[i];
}

static unsigned
word16(struct str s, size_t i)
{
    return byte(s, i) << 8 | byte(s, i + 1);
}

static uint32_t
word32(struct str s, size_t i)
{
    return (uint32_t)word16(s, i) << 16 | word16(s, i + 2);
}

/* Castagnoli's, reflected; the four bytes of the checksum itself count as 0. */
static uint32_t
crc32c(struct str s, size_t hole)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < s.n; i++) {
        crc ^= i >= hole && i < hole + 4 ? 0 : byte(s, i);
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

/* Type, length, value: take the next one. false: it does not fit. */
static bool
take_tlv(struct str *rest, unsigned *type, struct str *value)
{
    if (rest->n < 3 || word16(*rest, 1) > rest->n - 3)
        return false;
    *type = byte(*rest, 0);
    *value = (struct str){rest->p + 3, word16(*rest, 1)};
    *rest = str_from(*rest, 3 + value->n);
    return true;
}

enum { TLV_ALPN = 1, TLV_AUTHORITY, TLV_CRC32C, TLV_NOOP, TLV_UNIQUE_ID, TLV_SSL = 0x20 };
enum { SSL_VERSION = 0x21, SSL_CN, SSL_CIPHER };
enum { CLIENT_SSL = 1, CLIENT_CERT_CONN = 2, CLIENT_CERT_SESS = 4 };

static bool
parse_ssl(struct str value, struct proxy *out)
{
    unsigned client, type;
    struct str rest, sub;

    if (value.n < 5)
        return false;
    client = byte(value, 0);
    out->tls = client & CLIENT_SSL;
    out->tls_verified = client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS) && word32(value, 1) == 0;
    for (rest = str_from(value, 5); rest.n;) {
        if (!take_tlv(&rest, &type, &sub))
            return false;
        if (type == SSL_VERSION)
            out->tls_version = sub;
        else if (type == SSL_CN)
            out->tls_name = sub;
        else if (type == SSL_CIPHER)
            out->tls_cipher = sub;
    }
    return true;
}

static bool
parse_tlvs(struct str header, struct str rest, struct proxy *out)
{
    unsigned type;
    struct str value;

    while (rest.n) {
        if (!take_tlv(&rest, &type, &value))
            return false;
        if (type == TLV_ALPN)
            out->alpn = value;
        else if (type == TLV_AUTHORITY)
            out->authority = value;
        else if (type == TLV_UNIQUE_ID)
            out->unique_id = value;
        else if (type == TLV_SSL && !parse_ssl(value, out))
            return false;
        else if (type == TLV_CRC32C &&
                 (value.n != 4 || word32(value, 0) != crc32c(header, (size_t)(value.p - header.p))))
            return false;
    }
    return true;
}

static void
take_ip(struct str s, size_t at, bool v4, struct ip *out)
{
    *out = (struct ip){{[10] = 0xff, [11] = 0xff}};
    memcpy(out->b + (v4 ? 12 : 0), s.p + at, v4 ? 4 : 16);
}

static bool
parse_v2(struct str header, struct proxy *out)
{
    unsigned command = byte(header, 12), family = byte(header, 13);
    struct str body = str_from(header, FIXED_V2);
    bool v4 = family == 0x11;
    size_t n = v4 ? 4 : 16;

    if (body.n != word16(header, 14) || (command != 0x20 && command != 0x21))
        return false;
    if (command == 0x20 || family == 0) /* its own health check */
        return true;
    if ((!v4 && family != 0x21) || body.n < 2 * n + 4) /* TCP over IPv4 or IPv6 */
        return false;
    out->known = true;
    take_ip(body, 0, v4, &out->source);
    take_ip(body, n, v4, &out->destination);
    out->source_port = (int)word16(body, 2 * n);
    out->destination_port = (int)word16(body, 2 * n + 2);
    return parse_tlvs(header, str_from(body, 2 * n + 4), out);
}

bool
proxy_parse(struct str header, struct proxy *out)
{
    *out = (struct proxy){.known = false};
    if (header.n >= FIXED_V2 && str_starts(header, signature))
        return parse_v2(header, out);
    return str_starts(header, STR("PROXY ")) && parse_v1(header, out);
}

/* ---- the socket ---- */

/* Exactly n bytes behind *have. */
static bool
read_exactly(int fd, int64_t deadline, char *header, size_t *have, size_t n)
{
    size_t end = *have + n;

    while (*have < end) {
        ssize_t got;

        if (wait_fd(NULL, fd, POLLIN, deadline) == 0)
            return false;
        got = recv(fd, header + *have, end - *have, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN))
            return false;
        if (got > 0)
            *have += (size_t)got;
    }
    return true;
}

/* One byte after the other: there are at most 95 of them, and what follows is not ours. */
static bool
read_line(int fd, int64_t deadline, char *header, size_t *have)
{
    while (header[*have - 1] != '\n')
        if (*have == LINE_MAX_V1 || !read_exactly(fd, deadline, header, have, 1))
            return false;
    return true;
}

bool
proxy_read(int fd, int64_t deadline, char header[PROXY_MAX], struct proxy *out, const char **why)
{
    size_t have = 0, n;

    *why = "no header came";
    if (!read_exactly(fd, deadline, header, &have, signature.n))
        return false;
    *why = "the header is not whole";
    if (memcmp(header, signature.p, signature.n) == 0) {
        if (!read_exactly(fd, deadline, header, &have, FIXED_V2 - signature.n))
            return false;
        n = word16((struct str){header, have}, 14);
        *why = "the header is not whole, or too long";
        if (n > PROXY_MAX - FIXED_V2 || !read_exactly(fd, deadline, header, &have, n))
            return false;
    } else if (memcmp(header, "PROXY ", 6) != 0 || !read_line(fd, deadline, header, &have)) {
        *why = "no PROXY header";
        return false;
    }
    *why = "the header is malformed";
    return proxy_parse((struct str){header, have}, out);
}

bool
proxy_begins(struct str line)
{
    /* Version 2, as lines: two that are empty, then a NUL. */
    return str_starts(line, STR("PROXY TCP")) || str_starts(line, STR("PROXY UNKNOWN")) ||
           (line.n == 1 && line.p[0] == '\0');
}
