/*
 * net/connection - who is at the other end, and what is known of it
 *
 * Owns   the facts of one connection, cleaned of what must not reach a header, a reply or a log
 * Uses   base, net/ip, net/stream
 * Keep   nothing of a client survives it: everything lies in the connection's arena, which is
 *        reset
 */
#ifndef QPSMTPD_NET_CONNECTION_H
#define QPSMTPD_NET_CONNECTION_H

#include "base/arena.h"
#include "base/map.h"
#include "net/ip.h"
#include "net/stream.h"

struct qp_tls;

/* A text that plugins find as a note of the connection. */
struct peer_note {
    const char *name, *text;
};

/* What a server knows when a client arrives. Texts are borrowed for connection_begin(); NULL:
 * unknown. */
struct peer {
    int in, out; /* descriptors */
    const char *remote_ip;
    const char *remote_host; /* PTR name */
    const char *remote_info; /* what ident said */
    int remote_port;         /* 0: unknown */
    const char *local_ip;
    const char *local_host;
    int local_port;
    const char *const *env; /* NAME=value, NULL at the end: the variables of this connection; lives
                             * as long as it; NULL: none */
    bool env_whole; /* programs that plugins start get nothing from this process's own variables */
    bool
        env_of_proxy; /* env was made for the proxy that the client came through: the rights in it are not his */
    uint32_t sequence;  /* with the second of arrival it makes the session id unique on this host */
    int from_ip;        /* connections of this address, this one included; 0: nobody counts */
    int from_ip_max;    /* 0: no limit */
    int listening_port; /* of this host, where local_port is a proxy's; 0: the same */
    const struct peer_note *notes; /* what is known besides, for plugins; copied */
    size_t n_notes;
    int64_t receive_timeout_ms; /* SO_RCVTIMEO of `in`; 0: not set */
    int wake; /* can be read when session_leave_soon() was called; 0: signals are held back instead */
    bool tls; /* it begins with a TLS handshake */
};

#define CONNECTION_ID_LEN 11

enum connection_auth { CONNECTION_AUTH_NONE, CONNECTION_AUTH_PASSED, CONNECTION_AUTH_FAILED };

struct connection {
    struct arena *arena;
    struct stream *stream;
    char id[CONNECTION_ID_LEN + 1];
    bool has_ip; /* ip is valid: the peer has a network address */
    struct ip ip;
    const char *remote_ip;   /* "unknown" without one */
    const char *remote_host; /* only A-Z a-z 0-9 . - [ ] : */
    const char *remote_info; /* qmail's safe characters only, others are '?' */
    int remote_port;
    const char *local_ip;   /* "": unknown */
    const char *local_host; /* "": unknown */
    int local_port;
    const char *const *env; /* as in struct peer */
    bool env_whole;
    struct map *env_unset; /* names that a plugin took back */
    struct map *notes;     /* of the plugins */
    int from_ip, from_ip_max;
    const struct qp_tls *tls; /* NULL: not encrypted */
    bool relay_client;
    enum connection_auth auth; /* what the last AUTH has shown, */
    char auth_user[512];       /* for whom, up to the first CR or LF; "" before */
    char auth_mechanism[24];   /* and how: "cram-md5" */
    const char *hello;         /* "", "helo", "ehlo" */
    const char *hello_host;
    unsigned commands; /* lines dispatched so far */
    unsigned transactions;
};

/* connection_begin - fill *c from p; a is the connection's arena, stream already belongs to this
 * peer */
void connection_begin(
    struct connection *c, struct arena *a, struct stream *stream, const struct peer *p);

/* connection_env - value of a variable of this connection, or NULL; connection_env_unset hides it
 */
const char *connection_env(const struct connection *c, const char *name);
void connection_env_unset(struct connection *c, const char *name);

/* connection_safe - a copy in which each byte outside A-Z a-z 0-9 . @ % + / = : - [ ] _ is '?'
 * (qmail's set for what goes into Received), at most max bytes */
const char *connection_safe(struct arena *a, const char *text, size_t max);

#endif
