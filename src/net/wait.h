/*
 * net/wait - the one place that waits for a client while the resolver works
 *
 * Owns   poll(2) over a client's descriptor and those of the resolver, by the monotonic clock
 * Keep   without open questions it is one poll(2) of one descriptor, as if there were no resolver;
 *        with some, answers are read whenever the client is awaited. Nobody waits past a deadline.
 *        Signals that the process holds back are let in here and nowhere else, so none is lost
 *        between a look at what its handler has noted and the wait
 */
#ifndef QPSMTPD_NET_WAIT_H
#define QPSMTPD_NET_WAIT_H

#include "net/dns.h"

/*
 * wait_fd - until fd is ready, or the deadline (clock_ms()) has come
 *
 * d        NULL: no resolver
 * events   POLLIN or POLLOUT
 * returns  as poll(2) does: 1 ready (POLLHUP and POLLERR count), 0 deadline, -1 with errno; EINTR too
 */
int wait_fd(struct dns *d, int fd, short events, int64_t deadline);

/* wait_fd_or - the same, but when `wake` (-1: none) can be read it is as if a signal had come: -1 and
 * EINTR */
int wait_fd_or(struct dns *d, int fd, short events, int wake, int64_t deadline);

/*
 * wait_answer - until the question is answered, or the deadline has come
 *
 * returns  never NULL; QP_DNS_TIMEOUT at the deadline, and then the question stays open
 */
const struct qp_dns_answer *wait_answer(
    struct dns *d, const struct dns_lookup *l, int64_t deadline);

#endif
