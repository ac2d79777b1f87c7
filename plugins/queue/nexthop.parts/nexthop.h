/*
 * nexthop/nexthop - the engine of queue/smtp-forward and queue/lmtp: which next hop, and what the
 * client is told
 *
 * Owns   the connections that a process keeps, one for each next hop; fail-over; the reply
 * Uses   nexthop/conf, peer, deliver
 * Keep   250 only when the next hop has taken the message for every recipient; a message that a next
 *        hop may have taken is offered to no other
 */
#ifndef NEXTHOP_NEXTHOP_H
#define NEXTHOP_NEXTHOP_H

#include "conf.h"

bool nexthop_init(struct qp *q, enum nexthop_protocol protocol, int argc, const char *const argv[]);

enum qp_rc nexthop_queue(struct qp *q);

#endif
