/*
 * qpsmtpd/dns.h - ask the DNS while the dialogue goes on
 *
 * A question is started as soon as it is known (connect: the client's address; mail: the sender's
 * domain) and its answer is taken where the verdict is due. Between the two the plugin waits for
 * nothing: answers arrive while the client talks. The same question twice in a session is one query.
 *
 *     on_connect:  qp_dns_start(q, QP_DNS_A, qp_dns_reverse(q, qp_remote_ip(q), "zen.example.org"));
 *     on_rcpt:     a = qp_dns_get(q, QP_DNS_A, name);   if (a->status == QP_DNS_OK) …
 *
 * Text out of the DNS is bounded, and its control and 8-bit bytes are '?', before a plugin sees it.
 */
#ifndef QPSMTPD_DNS_H
#define QPSMTPD_DNS_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/* The numbers are the DNS's own. */
enum qp_dns_type {
    QP_DNS_A = 1,
    QP_DNS_NS = 2,
    QP_DNS_SOA = 6,
    QP_DNS_PTR = 12,
    QP_DNS_MX = 15,
    QP_DNS_TXT = 16,
    QP_DNS_AAAA = 28,
};

enum qp_dns_status {
    QP_DNS_OK,        /* at least one record of the type asked for */
    QP_DNS_NODATA,    /* the name exists, without such records */
    QP_DNS_NXDOMAIN,  /* no such name */
    QP_DNS_SERVFAIL,  /* the servers have trouble: try again later */
    QP_DNS_REFUSED,   /* they do not want to answer */
    QP_DNS_TIMEOUT,   /* nobody answered within the deadline */
    QP_DNS_MALFORMED, /* what came is no answer: loops, cut records, names that are none */
    QP_DNS_BUDGET,    /* this session has asked too much: not asked */
    QP_DNS_BAD_NAME,  /* the name cannot be asked for: empty, a label over 63, over 253 bytes */
};

struct qp_dns_record {
    uint32_t ttl; /* seconds */
    const char
        *text; /* A, AAAA: the address; MX, NS, PTR, SOA: a name, lower case, no final dot ("" is
                        * the root: null MX); TXT: its strings concatenated */
    int preference; /* MX */
    uint8_t ip[16]; /* A, AAAA: network order, IPv4 as ::ffff:a.b.c.d */
};

struct qp_dns_answer {
    enum qp_dns_status status;
    const char *name; /* the name that has the records: behind CNAMEs; as asked otherwise */
    size_t n;         /* records; 0 unless QP_DNS_OK; at most 100, MX sorted by preference */
    const struct qp_dns_record *record;
};

/* qp_dns_start - ask, and do not wait. Name without the final dot, in any case; absolute: no search list. */
void qp_dns_start(struct qp *q, enum qp_dns_type type, const char *name);

/*
 * qp_dns_get - the answer; asks first when nobody has
 *
 * Waits until it is there, at most until the hook's budget is used up (config dns_hook_timeout, for all
 * questions of one hook together): then the status is QP_DNS_TIMEOUT. Never NULL; valid until the
 * session ends.
 */
const struct qp_dns_answer *qp_dns_get(struct qp *q, enum qp_dns_type type, const char *name);

/* qp_dns_wait - the same with an own bound for this one question, inside of the hook's budget */
const struct qp_dns_answer *qp_dns_wait(
    struct qp *q, enum qp_dns_type type, const char *name, int64_t timeout_ms);

/* qp_dns_peek - the answer if it is there already; NULL otherwise. Never waits, never asks. */
const struct qp_dns_answer *qp_dns_peek(struct qp *q, enum qp_dns_type type, const char *name);

/* qp_dns_temporary - is it worth trying again later? SERVFAIL, REFUSED, TIMEOUT, MALFORMED, BUDGET */
bool qp_dns_temporary(enum qp_dns_status status);

/*
 * qp_dns_reverse - the name under which an address is listed: "1.2.0.192.zone", nibbles for IPv6
 *
 * zone     "in-addr.arpa" and "ip6.arpa" for PTR: NULL chooses the right one
 * returns  lives as long as the connection; NULL when ip is no address
 */
const char *qp_dns_reverse(struct qp *q, const char *ip, const char *zone);

#endif
