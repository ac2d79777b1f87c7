/*
 * server/listener - the sockets on which clients arrive
 *
 * Owns   resolving --listen-address and --port, and opening all sockets or none
 * Keep   close-on-exec, non-blocking; open while the daemon lives: a reload never closes them
 */
#ifndef QPSMTPD_SERVER_LISTENER_H
#define QPSMTPD_SERVER_LISTENER_H

#include "base/err.h"
#include "net/ip.h"
#include "server/options.h"

#define LISTENERS_MAX 128

struct listener {
    int fd;
    struct ip ip;
    int port; /* the kernel's choice when 0 was asked for */
    bool tls; /* who arrives there begins with a handshake */
    bool any; /* a wildcard: only the accepted socket knows the local address */
};

struct listeners {
    struct listener v[LISTENERS_MAX];
    size_t n;
};

#define LISTENER_TEXT_MAX (IP_TEXT_MAX + 10)

/* listeners_open - false: see e; nothing is left open */
bool listeners_open(struct listeners *l, const struct options *o, struct err *e);

/* listeners_close - this process no longer listens */
void listeners_close(struct listeners *l);

/* listeners_end - nobody listens any more, in whatever process the sockets are open; then close */
void listeners_end(struct listeners *l);

/* listener_text - 192.0.2.1:25, [2001:db8::1]:25, [::]:25 */
void listener_text(const struct ip *ip, int port, char out[LISTENER_TEXT_MAX]);

#endif
