/*
 * net/rdns - what is the name of this address?
 *
 * Owns   the PTR question, its deadline, and what counts as a name
 * Uses   c-ares, base, net/ip
 * Keep   the answer is a stranger's text: only A-Z a-z 0-9 . - _ pass, everything else is no name;
 *        it never waits longer than RDNS_MAX_MS; no question is left open behind it
 *
 * The name is not proven: whoever owns the address may write any name there.
 */
#ifndef QPSMTPD_NET_RDNS_H
#define QPSMTPD_NET_RDNS_H

#include "net/ip.h"

#define RDNS_NAME_MAX 256 /* with the NUL */
#define RDNS_MAX_MS   3000

struct rdns {
    struct ares_channeldata *channel; /* NULL until the first question */
    const char *servers;
};

/* rdns_init - servers: "192.0.2.1,[2001:db8::1]:53", borrowed as long as r; NULL or "": those of
 * the system */
void rdns_init(struct rdns *r, const char *servers);

/* rdns_close - *r may be asked again */
void rdns_close(struct rdns *r);

/*
 * rdns_name - ask
 *
 * out      lower case, NUL-terminated, written when the result is true
 * returns  false: it has none, or nobody knew in time. 127.0.0.1 and ::1 are "localhost" without a
 *          question; the rest of 127.0.0.0/8 is delegated to nobody and has no name.
 */
bool rdns_name(struct rdns *r, const struct ip *ip, char out[RDNS_NAME_MAX]);

#endif
