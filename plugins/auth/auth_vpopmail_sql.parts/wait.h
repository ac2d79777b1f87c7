/*
 * auth_vpopmail_sql wait - until a socket is ready, or a moment has come
 *
 * Both client libraries leave the waiting to whoever uses them, so that all of it has one deadline.
 */
#ifndef AUTH_VPOPMAIL_SQL_WAIT_H
#define AUTH_VPOPMAIL_SQL_WAIT_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>

#include <qpsmtpd/clock.h>

/* wait_socket - which of the events have come; 0: none before the deadline. A socket that is ready
 * after it comes too late as well. */
static inline short
wait_socket(int fd, short events, int64_t deadline)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline - qp_clock_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;

        if (ready > 0)
            return p.revents;
        if (ready == 0 || errno != EINTR)
            return 0;
    }
}

#endif
