/*
 * net/rdns - what is the name of this address?
 *
 * Owns   the PTR question, its deadline, and what counts as a name
 * Uses   net/dns, net/wait
 * Keep   the answer is a stranger's text: only A-Z a-z 0-9 . - _ pass, everything else is no name;
 *        it never waits longer than RDNS_MAX_MS
 *
 * The name is not proven: whoever owns the address may write any name there. The answer belongs to the
 * session that begins: who asks again gets it without a query.
 */
#ifndef QPSMTPD_NET_RDNS_H
#define QPSMTPD_NET_RDNS_H

#include "net/dns.h"

#define RDNS_NAME_MAX 256 /* with the NUL */
#define RDNS_MAX_MS   3000

/*
 * rdns_name - ask
 *
 * out      lower case, NUL-terminated, written when the result is true
 * returns  false: it has none, or nobody knew in time. 127.0.0.1 and ::1 are "localhost" without a
 *          question; the rest of 127.0.0.0/8 is delegated to nobody and has no name, unless servers
 *          were configured (dns_has_servers): then these may know
 */
bool rdns_name(struct dns *d, const struct ip *ip, char out[RDNS_NAME_MAX]);

#endif
