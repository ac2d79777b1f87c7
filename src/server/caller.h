/*
 * server/caller - who the client is, when a super-server has accepted the connection
 *
 * Owns   reading the variables of tcp-environ(5), asking the socket when there are none, and hearing
 *        a proxy of ours, in this order
 * Uses   net/rdns, server/proxied
 * Keep   the same for a qpsmtpd that serves the session itself and for the pool that it hands the session
 *        over to
 */
#ifndef QPSMTPD_SERVER_CALLER_H
#define QPSMTPD_SERVER_CALLER_H

#include "net/connection.h"
#include "net/rdns.h"
#include "server/service.h"

/* Texts that a peer borrows: it must not move. */
struct caller {
    char remote[IP_TEXT_MAX];
    char local[IP_TEXT_MAX];
    char host[RDNS_NAME_MAX];
    struct proxied proxied;
};

/*
 * caller_find - fill what *p says of the client from p->env and p->in, which are set
 *
 * ask_names  whether DNS may be asked for the client's name, for 3 seconds at most
 * returns    false: a proxy has said it wrongly, the log says how; close the connection
 */
bool caller_find(struct caller *c, struct peer *p, const struct service *service, bool ask_names);

#endif
