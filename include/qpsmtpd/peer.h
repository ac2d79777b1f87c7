/*
 * qpsmtpd/peer.h - ask a daemon: TCP or a local socket, lines of bounded length, no wait without an end
 *
 *     struct qp_peer *p = qp_peer_open(q, c->host, c->port, c->timeout_ms);
 *     const char *line;
 *
 *     qp_peer_write(p, "PING\n", 5);
 *     line = qp_peer_line(p, 512);
 *     if (!line)
 *         qp_log(q, QP_LOG_ERROR, "no answer error=\"%s\"", qp_peer_error(p));
 *     ...
 *     qp_peer_close(&p);
 *
 * The first failure stays: all calls behind it do nothing and fail, so that one test at the end is
 * enough. What the daemon says is hostile text like a client's: any byte but NUL and LF.
 */
#ifndef QPSMTPD_PEER_H
#define QPSMTPD_PEER_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

#define QP_PEER_LINE_MAX 16384 /* bytes, without the line end */

struct qp_peer;

/* Where a daemon listens. */
struct qp_peer_at {
    const char *where; /* as for qp_peer_open(), without brackets */
    int port;          /* 0 for a local socket */
};

/*
 * qp_peer_arg - in init: "/path", "host", "host:port", "[2001:db8::1]:port"
 *
 * port     of a word without one
 * returns  false: qp_fail() was called. The texts live as long as the instance
 */
bool qp_peer_arg(struct qp *q, const char *word, int port, struct qp_peer_at *out);

/*
 * qp_peer_open - connect
 *
 * where       an absolute path: a local stream socket; else an address ("192.0.2.1", "2001:db8::1", with or
 *             without brackets) or a name, which is looked for in /etc/hosts, then in the DNS; its
 *             addresses are tried one after the other
 * port        of TCP
 *             where must come from the configuration: such questions are outside of dns_queries_max and
 *             of dns_hook_timeout
 * timeout_ms  for all that follows together, the DNS and qp_peer_line() included
 * returns     never NULL: whether it failed, qp_peer_error() tells. Not in init and child_init. What the
 *             plugin does not close ends with the SMTP command.
 */
struct qp_peer *qp_peer_open(struct qp *q, const char *where, int port, int64_t timeout_ms);

/* qp_peer_close - everything that was read is wiped; *p becomes NULL */
void qp_peer_close(struct qp_peer **p);

/* qp_peer_detach - instead of closing it: the socket is the caller's, non-blocking, and may outlive the
 * command; for protocols without lines and with deadlines of their own. -1: it has failed. *p becomes
 * NULL. */
int qp_peer_detach(struct qp_peer **p);

/* qp_peer_write - all n bytes. Nothing of them is kept: the caller wipes what is secret. */
bool qp_peer_write(struct qp_peer *p, const char *bytes, size_t n);

/*
 * qp_peer_offer - the same for a long text, of which the daemon may have had enough before its end
 *
 * returns  false: a failure; or it has said something or has closed, and did not get all: read its
 *          answer, qp_peer_line() fails when there is none
 */
bool qp_peer_offer(struct qp_peer *p, const char *bytes, size_t n);

/* qp_peer_finish - that was all: close our direction */
bool qp_peer_finish(struct qp_peer *p);

/* qp_peer_limit - from now on so much time for all that follows, whatever was left of the old one */
void qp_peer_limit(struct qp_peer *p, int64_t timeout_ms);

/*
 * qp_peer_line - the next line, without its LF or CR LF
 *
 * max      longest line accepted, at most QP_PEER_LINE_MAX; more is a failure
 * returns  NULL: none came whole and in time, or it holds a NUL. Valid until the next call.
 */
const char *qp_peer_line(struct qp_peer *p, size_t max);

/* qp_peer_until - the same for a text that ends with another byte, NUL for example */
const char *qp_peer_until(struct qp_peer *p, char end, size_t max);

/* qp_peer_cut - the next line where only its beginning matters: bytes beyond max are read and dropped,
 * a NUL becomes '?' */
const char *qp_peer_cut(struct qp_peer *p, size_t max);

/* qp_peer_rest - all that comes until the daemon closes; more than max is a failure, NUL becomes '?' */
const char *qp_peer_rest(struct qp_peer *p, size_t max);

/* qp_peer_fail - what came is not what it should be: like a failure of its own; `why` is kept, a
 * literal */
void qp_peer_fail(struct qp_peer *p, const char *why);

/* qp_peer_error - the first failure, for the log; NULL: none. Lives as long as the SMTP command. */
const char *qp_peer_error(const struct qp_peer *p);

#endif
