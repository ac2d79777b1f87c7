/*
 * net/cidr - is this address inside that network?
 *
 * Owns   the notations that configuration files use: 192.0.2.0/24, 192.0.2., 192.0.2.1,
 *        2001:db8::/32, 2001:db8: (whole groups and a colon; but 2001:db8:: is a single address)
 * Uses   base/str, net/ip; knows nothing of sockets, of files or of mail
 * Keep   a bad pattern matches nothing, it never matches everything (t/unit/cidr)
 * Change how the functions compare, and the order of the fields
 */
#ifndef QPSMTPD_NET_CIDR_H
#define QPSMTPD_NET_CIDR_H

#include "net/ip.h"

struct cidr {
    struct ip net; /* host bits are 0 */
    uint8_t bits;  /* 0..128, of the 16-byte form: 192.0.2.0/24 has 120 */
};

/*
 * cidr_parse - read one pattern
 *
 * text     borrowed for the call; no blanks around it. Host bits may be set: they are cleared
 * out      written when, and only when, the result is true
 * returns  false: text is no pattern. The caller knows file and line, so the caller logs
 */
bool cidr_parse(struct str text, struct cidr *out);

/*
 * cidr_has - does net hold addr? Cannot fail.
 *
 * 0.0.0.0/0 holds every IPv4 address and no other; ::/0 every other one: a network that is shorter
 * than 96 bits was meant for IPv6, although IPv4 lies inside ::/0 in the 16-byte form.
 */
bool cidr_has(const struct cidr *net, const struct ip *addr);

/* cidr_mask - clear what follows the first bits (0..128) of ip */
void cidr_mask(struct ip *ip, uint8_t bits);

#endif
