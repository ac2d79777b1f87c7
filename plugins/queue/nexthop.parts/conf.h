/*
 * nexthop/conf - what the line in config/plugins says
 *
 * Owns   the arguments that queue/smtp-forward and queue/lmtp have, their ranges and defaults, and
 *        the file with passwords
 * Keep   read once, in init, and the same for all children
 */
#ifndef NEXTHOP_CONF_H
#define NEXTHOP_CONF_H

#include <qpsmtpd/plugin.h>

#include "hop.h"
#include "sasl.h"

enum nexthop_protocol { NEXTHOP_SMTP, NEXTHOP_LMTP };
enum nexthop_tls { NEXTHOP_TLS_OFF, NEXTHOP_TLS_MAY, NEXTHOP_TLS_MUST, NEXTHOP_TLS_VERIFY };
enum nexthop_xclient { NEXTHOP_XCLIENT_OFF, NEXTHOP_XCLIENT_MAY, NEXTHOP_XCLIENT_MUST };
enum nexthop_no8bit { NEXTHOP_NO8BIT_SEND, NEXTHOP_NO8BIT_REFUSE };

/* Milliseconds; RFC 5321, 4.5.3.2, except for connect and total. */
struct nexthop_times {
    int64_t connect;  /* for each address */
    int64_t greeting; /* and the TLS handshake */
    int64_t command;  /* each reply to a command */
    int64_t data;     /* the reply to DATA */
    int64_t block;    /* each piece of the message */
    int64_t end;      /* the replies to the final dot */
    int64_t total;    /* all of it together, up to the dot */
    int64_t idle;     /* how long an unused connection is good for */
    int64_t down;     /* how long a next hop that failed is only the second choice */
};

struct nexthop_conf {
    enum nexthop_protocol protocol;
    struct hop *hop;
    struct sasl_credentials *login; /* of each hop; .user NULL: none */
    size_t hops;
    struct nexthop_times time;
    int tls, xclient, no8bit;
    bool xforward, fallback;
    int reuse; /* messages on one connection */
    const char *tls_ca, *tls_name;
};

/* conf_read - false: qp_fail() was called */
bool conf_read(struct qp *q, struct nexthop_conf *c, int argc, const char *const argv[]);

#endif
