/*
 * smtp/session - one client, from the greeting to the last byte
 *
 * Owns   the life of a connection: connect hooks, command loop, the one end of a transaction, the
 *        one end of a session
 * Uses   everything below src/server
 * Keep   one command, one reply; disconnect hooks run exactly once, whatever ended the session;
 *        after session_run nothing of the client is left
 */
#ifndef QPSMTPD_SMTP_SESSION_H
#define QPSMTPD_SMTP_SESSION_H

#include "conf/config.h"
#include "net/connection.h"
#include "plugin/host.h"

struct session;

enum session_end {
    SESSION_QUIT,    /* the client said so, or we closed the connection after a reply */
    SESSION_GONE,    /* it hung up */
    SESSION_TIMEOUT, /* it was silent for too long */
    SESSION_ERROR,   /* the socket failed */
};

/*
 * session_open - the storage for sessions that follow one another in this process
 *
 * config, host   borrowed
 * returns        NULL: see e. It names file, line and remedy when one of the engine's own configuration
 *                files is wrong; what is only doubtful is logged as a warning
 */
struct session *session_open(struct config *config, struct host *host, struct err *e);
void session_close(struct session **s);

/* session_receive_timeout - SO_RCVTIMEO that suits the configuration, in ms; 0: none does, because commands
 * and data have different limits */
int64_t session_receive_timeout(const struct session *s);

/* session_run - serve one client. Descriptors of p are not closed, but the socket is half closed.
 */
enum session_end session_run(struct session *s, const struct peer *p);

/* session_leave_soon - for a server that drains: a client between commands gets 421 and the session
 * ends; one inside DATA or BDAT may finish its message first. Async-signal-safe; process-wide. */
void session_leave_soon(void);

#endif
