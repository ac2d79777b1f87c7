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
 * Types, statuses, answers and records stand in types.h.
 *
 * There is no search list, and no cache that outlives the session. Config: dns_servers, dns_timeout,
 * dns_tries, dns_hook_timeout, dns_queries_max. In init and child_init nothing can be asked.
 */
#ifndef QPSMTPD_DNS_H
#define QPSMTPD_DNS_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/*
 * qp_dns_start - ask, and do not wait
 *
 * name     without the final dot, in any case; NULL is QP_DNS_BAD_NAME, so that what qp_dns_reverse()
 *          gives can be handed on
 */
void qp_dns_start(struct qp *q, enum qp_dns_type type, const char *name);

/*
 * qp_dns_get - the answer; asks first when nobody has
 *
 * Waits until it is there, at most until the hook's budget is used up (config dns_hook_timeout, for all
 * waiting of all plugins in one hook together): then the status is QP_DNS_TIMEOUT, while the question
 * stays open for a later hook. Never NULL; valid until the session ends.
 */
const struct qp_dns_answer *qp_dns_get(struct qp *q, enum qp_dns_type type, const char *name);

/* qp_dns_wait - the same with an own bound for this one question, inside of the hook's budget */
const struct qp_dns_answer *qp_dns_wait(
    struct qp *q, enum qp_dns_type type, const char *name, int64_t timeout_ms);

/* qp_dns_peek - the answer if it is there already; NULL otherwise. Never waits, never asks. */
const struct qp_dns_answer *qp_dns_peek(struct qp *q, enum qp_dns_type type, const char *name);

/* qp_dns_budget - how many different questions one session may ask, dns_queries_max; a plugin that has many
 * for one message shares it. What is asked to connect to a daemon (peer.h) does not count. */
unsigned int qp_dns_budget(struct qp *q);

/* qp_dns_temporary - is it worth trying again later? SERVFAIL, REFUSED, TIMEOUT, MALFORMED, BUDGET */
bool qp_dns_temporary(enum qp_dns_status status);

/* qp_dns_status_text - "NXDOMAIN", for logs and replies */
const char *qp_dns_status_text(enum qp_dns_status status);

/*
 * qp_dns_reverse - the name under which an address is listed: "1.2.0.192.zone", nibbles for IPv6
 *
 * zone     NULL: "in-addr.arpa" or "ip6.arpa", for PTR
 * returns  lives as long as the connection; NULL when ip is no address
 */
const char *qp_dns_reverse(struct qp *q, const char *ip, const char *zone);

#endif
