/*
 * server/privileges - who the daemon is, once it no longer needs to be root
 *
 * Owns   the choice of the user, and the only calls that change user and groups
 * Keep   after privileges_drop nothing can make this process root again (unless it was told to
 *        stay)
 */
#ifndef QPSMTPD_SERVER_PRIVILEGES_H
#define QPSMTPD_SERVER_PRIVILEGES_H

#include <sys/types.h>

#include "base/err.h"

struct identity {
    char user[64];
    char group[64];
    uid_t uid;
    gid_t gid;
};

/*
 * privileges_choose - the user named, else smtpd when we are root, else ourselves
 *
 * user     of --user, or NULL
 * returns  false: there is no such user, or we are not root and it is another than ours; see e
 */
bool privileges_choose(const char *user, struct identity *out, struct err *e);

/* privileges_drop - become it, with its supplementary groups. Not as root: only checks. false: see
 * e; the process may be half changed and must end. */
bool privileges_drop(const struct identity *id, struct err *e);

#endif
