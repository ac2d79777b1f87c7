/*
 * net/dns_packet - what does this answer say?
 *
 * Owns   the wire format of RFC 1035 as far as answers need it: names, compression, CNAME chains, and
 *        the typed records A AAAA MX TXT PTR NS SOA
 * Uses   base, net/ip; knows nothing of sockets, servers or time
 * Keep   the bytes are a stranger's: every length is checked, a pointer only leads backwards, text is
 *        bounded and cleaned; a message that is wrong where it matters is no answer at all
 *        (t/unit/dns_packet, t/fuzz/dns_packet)
 */
#ifndef QPSMTPD_NET_DNS_PACKET_H
#define QPSMTPD_NET_DNS_PACKET_H

#include <qpsmtpd/types.h>

#include "base/arena.h"

#define DNS_NAME_MAX    254 /* of a name as text, with the NUL */
#define DNS_RECORDS_MAX 100 /* of the answer section; those behind them are not looked at */
#define DNS_CHAIN_MAX   16  /* CNAMEs; a longer chain, or a loop, is malformed */

/*
 * dns_name_parse - a name as text, as it can be asked for
 *
 * name     printable ASCII and space, labels of 1 to 63 bytes, at most 253 in all; one final dot does not
 *          count
 * out      lower case, without the final dot, NUL-terminated; written when the result is true
 */
bool dns_name_parse(struct str name, char out[DNS_NAME_MAX]);

/*
 * dns_packet_parse - read the answer to one question
 *
 * p, n     the message, from its id on; the id is not looked at
 * name     what was asked, as dns_name_parse() gives it; borrowed as long as *out
 * out      status is one of OK NODATA NXDOMAIN SERVFAIL REFUSED MALFORMED; what it points to lives in a
 *
 * Malformed: no response, another question, cut records, and bytes that are no record of their type
 * among those that would be used. A referral (no answer, and the server offers no recursion) is
 * SERVFAIL: that server is of no use for us. In names and texts each byte that is not printable is '?'.
 */
void dns_packet_parse(struct arena *a, const uint8_t *p, size_t n, enum qp_dns_type type,
    const char *name, struct qp_dns_answer *out);

#endif
