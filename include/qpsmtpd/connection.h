/*
 * qpsmtpd/connection.h - who is at the other end
 *
 * Texts live as long as the connection. Outside of one (in init) they are empty, numbers are 0.
 * Included by plugin.h.
 */
#ifndef QPSMTPD_CONNECTION_H
#define QPSMTPD_CONNECTION_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

const char *qp_remote_ip(struct qp *q); /* textual; "unknown" when the client is no network peer */
const char *qp_remote_host(struct qp *q); /* PTR name, else [ip]; only A-Z a-z 0-9 . - [ ] : */
const char *qp_remote_info(
    struct qp *q);                /* info@host when ident answered, else the host; safe to print */
int qp_remote_port(struct qp *q); /* 0: unknown */
const char *qp_local_ip(struct qp *q);   /* "": unknown */
int qp_local_port(struct qp *q);         /* 0: unknown */
const char *qp_local_host(struct qp *q); /* TCPLOCALHOST; "": unknown */

/* qp_env - an environment variable of this connection (tcprules: RELAYCLIENT, RBLSMTPD …), else of
 * the server (QMAIL …); NULL: unset. qp_env_unset: from now on, for all plugins and for programs they start */
const char *qp_env(struct qp *q, const char *name);
void qp_env_unset(struct qp *q, const char *name);

/* qp_connections - how many connections this client's address has open now, this one included, in
 * qpsmtpd-prefork; 0 where nobody counts. qp_connections_max: --max-from-ip, 0 for no limit */
int qp_connections(struct qp *q);
int qp_connections_max(struct qp *q);

/* qp_relay_client - may this connection relay? Set by a plugin (check_relay) and by AUTH. */
bool qp_relay_client(struct qp *q);
void qp_relay_client_set(struct qp *q, bool allowed);

/* qp_immune - shall checks be skipped for this client? True for relay clients, and when a note
 * whitelisthost, whitelistclient (connection) or whitelistsender (transaction) is true (1.00
 * is_immune). An empty one of these notes tells that its list cannot be read: then it is false, and what
 * the handler refuses is refused for now, with 4xx */
bool qp_immune(struct qp *q);
/* qp_immune_hello - the same for checks of the greeting: note whitelisthelo (connection) */
bool qp_immune_hello(struct qp *q);
/* qp_immune_rcpt - the same for checks of this recipient, when the plugin whitelist was asked before */
bool qp_immune_rcpt(struct qp *q, const struct qp_address *to);

const char *qp_hello(struct qp *q);      /* "helo", "ehlo" or, before an accepted greeting, "" */
const char *qp_hello_host(struct qp *q); /* as sent; "" before; valid until the next one */
unsigned int qp_command_count(struct qp *q); /* that the client has sent, this one included */

/* qp_command_args - what followed the verb of the command that is being run; "" when nothing did */
const char *qp_command_args(struct qp *q);

/* qp_capability_add - in the ehlo hook: announce one more line ("XCLIENT NAME ADDR"). Its first
 * word is then accepted as a parameter of MAIL and RCPT. */
void qp_capability_add(struct qp *q, const char *line);

#endif
