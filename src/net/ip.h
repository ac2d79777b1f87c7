/*
 * net/ip - an address of either family as 16 bytes
 *
 * Owns   the one form in which addresses are compared: network order, IPv4 as ::ffff:a.b.c.d
 */
#ifndef QPSMTPD_NET_IP_H
#define QPSMTPD_NET_IP_H

#include <sys/socket.h>

#include "base/str.h"

#define IP_TEXT_MAX 46 /* INET6_ADDRSTRLEN */

struct ip {
    uint8_t b[16];
};

/* ip_parse - "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"; no brackets, no zone; false: none */
bool ip_parse(struct str text, struct ip *out);

/* ip_format - canonical text (RFC 5952; IPv4-mapped as plain IPv4); out has room for IP_TEXT_MAX */
void ip_format(const struct ip *ip, char out[IP_TEXT_MAX]);

/* ip_from_sockaddr - address and port (0 for families without); false: not AF_INET, AF_INET6 */
bool ip_from_sockaddr(const struct sockaddr *sa, struct ip *out, int *port);

bool ip_is_v4(const struct ip *ip);
bool ip_eq(const struct ip *a, const struct ip *b);

#define IP_REVERSED_MAX 64 /* 32 nibbles with dots between */

/* ip_reverse - as the DNS lists it: "1.2.0.192", or 32 nibbles for IPv6; no dot at the end */
void ip_reverse(const struct ip *ip, char out[IP_REVERSED_MAX]);

/* ip_is_loopback - 127.0.0.0/8 or ::1 */
bool ip_is_loopback(const struct ip *ip);

#endif
