/*
 * server/listener - the sockets on which clients arrive
 *
 * Owns   resolving --listen-address and --port, and opening all sockets or none; the pool's socket is
 *        one of them
 * Keep   close-on-exec, non-blocking; open while the daemon lives: a reload never closes them
 */
#ifndef QPSMTPD_SERVER_LISTENER_H
#define QPSMTPD_SERVER_LISTENER_H

#include "base/err.h"
#include "net/ip.h"
#include "server/options.h"
#include "server/pool.h"

#define LISTENERS_MAX 128

struct listener {
    int fd;
    struct ip ip;
    int port;  /* the kernel's choice when 0 was asked for */
    bool tls;  /* who arrives there begins with a handshake */
    bool any;  /* a wildcard: only the accepted socket knows the local address */
    bool pool; /* who connects there hands over a session; the four fields above say nothing */
};

struct listeners {
    struct listener v[LISTENERS_MAX + 1];
    size_t n;
    struct pool pool;
};

#define LISTENER_TEXT_MAX (IP_TEXT_MAX + 10)

/* listeners_open - the TCP sockets; as root, where ports need that. false: see e; nothing is left open */
bool listeners_open(struct listeners *l, const struct options *o, struct err *e);

/* listeners_open_pool - the socket of --pool, if it was given; as the user who serves. false: see e */
bool listeners_open_pool(struct listeners *l, const struct options *o, struct err *e);

/* listeners_close - this process no longer listens, and the pool's socket loses its name */
void listeners_close(struct listeners *l);

/* listeners_end - nobody listens any more, in whatever process the sockets are open; then close */
void listeners_end(struct listeners *l);

/* listener_text - 192.0.2.1:25, [2001:db8::1]:25, [::]:25 */
void listener_text(const struct ip *ip, int port, char out[LISTENER_TEXT_MAX]);

#endif
