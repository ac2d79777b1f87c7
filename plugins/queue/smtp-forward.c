/*
 * queue/smtp-forward - hand the message to another SMTP server, and answer what that one answers
 *
 *   plugins file: queue/smtp-forward HOP[,HOP...] [PORT] [option value ...]
 *     HOP           host, host:port, [IPv6 address]:port, /path of a socket: tried in this order
 *     PORT          of those without one, 1..65535, default 25
 *     tls           off may must verify; default may: when offered, except on the loopback
 *     tls_ca FILE, tls_name NAME     for `verify`: authorities, name in the certificate
 *     auth FILE     configuration file with lines "HOP USER PASSWORD"; * is any
 *     xclient       off may must; default off. xforward 0|1; default 0
 *     no8bit        send refuse; default send: 8-bit messages where 8BITMIME is not offered
 *     fallback 1    temporary failures are QP_DECLINED, so that the next queue plugin is asked
 *     reuse N       messages on a connection, 1..100000, default 100
 *     idle TIME     how long an unused one is good for, 0..1d, default 60s
 *     retry TIME    how long a hop that failed is only the second choice, 0..1d, default 60s
 *     timeout_connect 30s, _greeting 5m, _command 5m, _data 2m, _block 3m, _end 10m, _total 10m:
 *                   1s..1d
 *   hook queue:     QP_OK "Queued! TEXT" after a 2xx for the final dot; a 4xx or 5xx of the next hop
 *                   with its text; 451 "Unable to queue message (STEP: WHY)" when none can be talked to
 *
 * All of it is in nexthop.parts. Source: r356 and 1.00 (which said QP_DECLINED to every refusal), RFC
 * 5321, 1870, 2920, 3207, 4954, 6152; Postfix' XCLIENT and XFORWARD.
 */
#include "nexthop.parts/nexthop.h"

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    return nexthop_init(q, NEXTHOP_SMTP, argc, argv);
}

QP_PLUGIN(.name = "queue/smtp-forward", .init = on_init, .queue = nexthop_queue);
