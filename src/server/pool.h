/*
 * server/pool - a session that changes hands: what qpsmtpd and a child of qpsmtpd-prefork say to each other
 *
 * Owns   the socket on which the pool waits, the message, and who may be at the other end
 * Uses   base; knows nothing of SMTP
 * Keep   qpsmtpd gives its descriptors away only to a child that has said that it is waiting for them: so
 *        nobody ever serves a client twice, and none lies in a queue. Only the same user and root give,
 *        and only to them is given; nothing of one session reaches the next
 *
 * The order, over one SOCK_SEQPACKET connection for each session:
 *
 *     child    accepts, checks the user, sends POOL_READY
 *     qpsmtpd  checks the user, sends POOL_GREETING and its variables, NAME=value and NUL each, with the two
 *              descriptors beside them (SCM_RIGHTS)
 *     qpsmtpd  later, if it got SIGTERM: POOL_TERM; if it dies: the connection ends, and so does the session
 *     child    one byte, the exit status, when the session is over
 */
#ifndef QPSMTPD_SERVER_POOL_H
#define QPSMTPD_SERVER_POOL_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"

#define POOL_READY       '1' /* also the version of all this */
#define POOL_TERM        'T'
#define POOL_GREETING    "qpsmtpd 1" /* its NUL is sent, too */
#define POOL_MESSAGE_MAX 65536 /* bytes of greeting and variables; who has more serves itself */
#define POOL_PATH_MAX    107   /* bytes of a name that fit into a socket's address */

/* The socket of a daemon. */
struct pool {
    const char *path;
    struct stat seen; /* what was made there */
};

/*
 * pool_listen - make the socket, in the place of one that a dead daemon has left behind
 *
 * path     at most POOL_PATH_MAX bytes; borrowed as long as *p
 * fd       written when the result is true: close-on-exec, non-blocking; only this user can connect (0600)
 * returns  false: see e; somebody serves there, or something else is there
 */
bool pool_listen(struct pool *p, const char *path, int *fd, struct err *e);

/* pool_remove - take the name away, if it is still the socket that pool_listen() has made */
void pool_remove(const struct pool *p);

/* pool_connect - without waiting. -1 with errno: nobody listens, or too many stand in the queue. */
int pool_connect(const char *path);

/* pool_user - who is at the other end of a connection, which since its beginning has not changed. false: errno */
bool pool_user(int fd, uid_t *out);

#endif
