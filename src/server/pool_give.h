/*
 * server/pool_give - hand this process's session over to a pool
 *
 * Owns   qpsmtpd's end of server/pool: asking for a child, giving 0, 1 and the environment away, and
 *        staying until the session is over, so that who has started this process can count it
 * Uses   server/pool
 * Keep   no configuration, no plugin, no memory: what the start of a process costs is all there is
 */
#ifndef QPSMTPD_SERVER_POOL_GIVE_H
#define QPSMTPD_SERVER_POOL_GIVE_H

#include "base/err.h"

/*
 * pool_give - descriptors 0 and 1 with all variables of this process to the pool at path
 *
 * returns  -1: nobody has taken them, after one second at most, see e: they are as they were. Else the
 *          exit status, when the session is over; 1 when the child that served it was killed. SIGTERM
 *          is passed on meanwhile
 */
int pool_give(const char *path, struct err *e);

#endif
