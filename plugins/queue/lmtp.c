/*
 * queue/lmtp - hand the message to an LMTP server: Dovecot, Cyrus, a mailing list
 *
 *   plugins file: queue/lmtp HOP[,HOP...] [PORT] [option value ...]
 *     as queue/smtp-forward; PORT is 24 by default
 *   hook queue:   QP_OK "Queued! TEXT" when the server has taken it for every recipient. Otherwise
 *                 the first 4xx of all its answers or, without one, the first 5xx, with the names of
 *                 those who have not got it
 *
 * All of it is in nexthop.parts. Source: RFC 2033.
 */
#include "nexthop.parts/nexthop.h"

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    return nexthop_init(q, NEXTHOP_LMTP, argc, argv);
}

QP_PLUGIN(.name = "queue/lmtp", .init = on_init, .queue = nexthop_queue);
