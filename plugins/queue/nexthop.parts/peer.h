/*
 * nexthop/peer - a session with a next hop, up to the point where mail can be handed over
 *
 * Owns   greeting, EHLO or LHLO, STARTTLS, AUTH, XCLIENT; what the other side can do; and the one
 *        way to read a reply
 * Uses   nexthop/wire, reply, sasl, client, conf
 * Keep   nothing here concerns a message: whatever goes wrong means that this next hop cannot be
 *        used now, not that the message is bad
 */
#ifndef NEXTHOP_PEER_H
#define NEXTHOP_PEER_H

#include "client.h"
#include "conf.h"
#include "reply.h"
#include "wire.h"

#define RESULT_TEXT_MAX 900 /* lines separated by LF, each shorter than a reply's line may be */

enum result_kind {
    RESULT_ANSWER, /* code and text are what the client is to hear */
    RESULT_LOST,   /* this next hop is of no use now; it has not got the message */
    RESULT_UNSURE, /* it may have the message, and nobody can tell */
};

struct result {
    enum result_kind kind;
    int code;                    /* 250, 4xx or 5xx; 451 unless RESULT_ANSWER */
    char enhanced[REPLY_STATUS]; /* "" when there is none */
    char text[RESULT_TEXT_MAX + 1];
    const char *step; /* in which it happened: a literal */
    bool partial;     /* some recipients may have it although code is not 250 */
};

enum peer_capability {
    PEER_PIPELINING = 1,
    PEER_8BITMIME = 2,
    PEER_STARTTLS = 4,
    PEER_SIZE = 8,
};

/* Libraries that were loaded in this process. */
struct peer_libraries {
    struct tls_library tls;
    struct sasl_library sasl;
};

/* What a peer needs of outside; borrowed as long as the peer is. */
struct peer_world {
    const struct nexthop_conf *conf;
    struct peer_libraries *libraries;
};

/* One next hop, and the connection to it, if there is one. */
struct peer {
    struct wire wire;
    struct wire_place place;
    const struct hop *hop;
    const struct sasl_credentials *login;
    struct reply reply;   /* the last one that was read */
    struct result result; /* what went wrong, after a false */
    int64_t down_until;   /* second choice until then (qp_clock_ms) */
    int64_t plain_until;  /* its TLS does not work: `may` does without until then */

    /* of the connection */
    unsigned capabilities, xclient, xforward;
    uint64_t size_max;              /* 0: no limit is known */
    char mechanisms[SASL_LIST_MAX]; /* that it offers and we speak */
    unsigned introduced;            /* attributes that XCLIENT told; 0: it was not used */
    char identity[CLIENT_TEXT_MAX]; /* the commands that told them */
    int messages;                   /* begun on it */
    int64_t idle_since;
};

/* peer_ready - a connection on which MAIL can be sent: the one there is, when it is quiet and young
 * enough and may be used again, or a new one. client: for XCLIENT. me: our name for EHLO.
 *
 * false: see p->result; the connection is closed */
bool peer_ready(
    struct peer *p, const struct peer_world *w, const char *me, const struct client *client);

/* peer_put - remember one command, without its CR LF, to be sent with the next peer_read() */
bool peer_put(struct peer *p, const char *step, const char *line, int64_t timeout_ms);

/* peer_read - the next reply as a whole within timeout_ms; false: there is none, see p->result */
bool peer_read(struct peer *p, const char *step, int64_t timeout_ms);

/* peer_fault - note that this next hop is of no use; gives false */
bool peer_fault(struct peer *p, const char *step, const char *enhanced, const char *why);

/* peer_fault_reply - the same, because of the reply that was read last */
bool peer_fault_reply(struct peer *p, const char *step);

/* peer_close - with a QUIT whose answer nobody waits for, when polite; may be called twice */
void peer_close(struct peer *p, bool polite);

#endif
