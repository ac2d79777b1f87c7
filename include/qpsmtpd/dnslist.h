/*
 * qpsmtpd/dnslist.h - lists that are kept in the DNS (RFC 5782): dnsbl, rhsbl, dns_whitelist_soft
 *
 * A name below a zone has an address in 127.0.0.0/8 when it is listed. Any other address means that
 * the zone is no list (any more), and 127.255.255.0/24 that its servers refuse to tell: neither is a
 * listing, because otherwise a list that dies would list everybody.
 */
#ifndef QPSMTPD_DNSLIST_H
#define QPSMTPD_DNSLIST_H

#include <qpsmtpd/dns.h>

/* One line of dnsbl_zones, rhsbl_zones or whitelist_zones. */
struct qp_dnslist_zone {
    const char *name; /* lower case, no final dot; nibbles of an IPv6 address fit in front of it */
    const char *text; /* what followed the name; "": nothing */
};

struct qp_dnslist {
    size_t n;
    const struct qp_dnslist_zone *zone;
};

/*
 * qp_dnslist_open - in init only: read such a file
 *
 * between  the characters that end a zone's name: ":" or " \t"
 * returns  NULL: a line without a good name, qp_fail_at() was called: return false. An absent file
 *          is an empty list. Lives as long as the instance.
 */
const struct qp_dnslist *qp_dnslist_open(struct qp *q, const char *file, const char *between);

/* qp_dnslist_code - the address that means "listed", "127.0.0.2"; NULL: this answer is no listing */
const char *qp_dnslist_code(const struct qp_dns_answer *a);

/*
 * qp_dnslist_start - ask all lists for an address, and do not wait
 *
 * returns  the names asked for, one for each zone, for qp_dnslist_first(); NULL when ip is no address
 *          or there is no zone. Lives as long as the connection.
 */
const char **qp_dnslist_start(struct qp *q, const struct qp_dnslist *list, const char *ip);

/*
 * qp_dnslist_first - which of these names is listed?
 *
 * Asks for the A records of all of them at once, unless qp_dns_start() has, and ends with the first
 * one that is listed, or when all have answered; it waits at most *left_ms, which the time is taken
 * from, and inside of the hook's budget. When none is listed, a log line tells of each server that gave no good answer.
 *
 * names    NULL among them is passed over
 * returns  an index into names; of several that are there already the lowest. n: none, as far as
 *          is known
 */
size_t qp_dnslist_first(struct qp *q, const char *const names[], size_t n, int64_t *left_ms);

/* qp_dns_within - qp_dns_wait() for several questions under one limit: takes the time from *left_ms */
const struct qp_dns_answer *qp_dns_within(
    struct qp *q, enum qp_dns_type type, const char *name, int64_t *left_ms);

#endif
