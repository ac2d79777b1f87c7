/*
 * server/pool_take - take over a session that a qpsmtpd gives away
 *
 * Owns   the child's end of server/pool: who may give, what must come, and ending the session when the
 *        qpsmtpd that stands for it is asked to end, or is gone
 * Uses   server/pool, base/arena, base/log
 * Keep   whatever was sent and was not right is closed and forgotten; the handler of SIGIO, and the
 *        descriptors that it acts on, are process-wide
 */
#ifndef QPSMTPD_SERVER_POOL_TAKE_H
#define QPSMTPD_SERVER_POOL_TAKE_H

#include <stdbool.h>

#include "base/arena.h"

struct pool_session {
    int in, out; /* the client; need not be a socket */
    const char *const *env;
    int control; /* the connection to qpsmtpd */
    struct arena *arena;
};

/*
 * pool_take - one connection to the pool's socket
 *
 * control  becomes ours in any case
 * returns  false: there is nothing to serve. true: until pool_end(), SIGTERM to that qpsmtpd becomes one
 *          to this process, and when it dies the client's connection is cut
 */
bool pool_take(int control, struct pool_session *out);

/* pool_end - close the connection, forget the variables, and give qpsmtpd its exit status */
void pool_end(struct pool_session *p, int status);

#endif
