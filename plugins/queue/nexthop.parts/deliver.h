/*
 * nexthop/deliver - one message over a session that is ready for it
 *
 * Owns   MAIL, RCPT, DATA, the message and its dot, and what the answers to them mean
 * Uses   nexthop/peer, tally, text
 * Keep   all recipients or none up to the dot; 250 only when every recipient was accepted by a reply
 *        that was read whole; from the first byte of the dot on nobody tries anywhere else
 */
#ifndef NEXTHOP_DELIVER_H
#define NEXTHOP_DELIVER_H

#include "peer.h"
#include "text.h"

/*
 * deliver - hand the message of q to p
 *
 * client   for XFORWARD
 * returns  whether the connection is still good; p->result tells the rest in any case
 */
bool deliver(struct qp *q, struct peer *p, const struct nexthop_conf *c,
    const struct text_survey *survey, const struct client *client);

#endif
