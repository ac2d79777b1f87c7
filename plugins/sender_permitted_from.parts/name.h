/*
 * spf name - names as the DNS has them, and addresses in one form
 *
 * Owns   what a domain name may look like, and which one lies below which
 * Uses   nothing; asks nobody
 *
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d.
 */
#ifndef SPF_NAME_H
#define SPF_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* spf_name_labels - how many labels; 0: no name that the DNS could have (RFC 1035, 2.3.4) */
size_t spf_name_labels(const char *name);

/* spf_name_is_domain - can a domain of that name have a record (RFC 7208, 4.3)? An address literal
 * is no domain. */
bool spf_name_is_domain(const char *name);

/* spf_name_is_within - is it the domain itself, or below it? Case is ignored. */
bool spf_name_is_within(const char *name, const char *domain);

/* spf_name_fit - without a final dot, and, when it is too long, without left-hand labels (7.3);
 * changes name and gives a part of it */
const char *spf_name_fit(char *name);

bool spf_ip_parse(const char *text, uint8_t out[16]);
bool spf_ip_is_v4(const uint8_t ip[16]);

/* spf_ip_same_prefix - are the first bits, 0..128, the same? */
bool spf_ip_same_prefix(const uint8_t a[16], const uint8_t b[16], int bits);

#endif
