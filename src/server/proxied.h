/*
 * server/proxied - clients that come through a proxy of ours
 *
 * Owns   the configuration file proxy_from: whose word we take for who the client is; reading that
 *        word before anything else happens on the connection
 * Uses   net/proxy
 * Keep   a listed peer that does not say who its client is, in time and without a fault, is not served;
 *        nobody else is ever believed
 */
#ifndef QPSMTPD_SERVER_PROXIED_H
#define QPSMTPD_SERVER_PROXIED_H

#include "base/err.h"
#include "conf/config.h"
#include "net/cidr.h"
#include "net/connection.h"
#include "net/proxy.h"

struct proxied_list {
    const struct cidr *v;
    size_t n;
};

/* proxied_load - read proxy_from: addresses and networks, one a line. Lives in a. false: see e */
bool proxied_load(struct proxied_list *l, struct config *c, struct arena *a, struct err *e);

bool proxied_has(const struct proxied_list *l, const struct ip *peer);

#define PROXIED_NOTES 9

/* What a proxy has said. Texts live in here: it must not move. */
struct proxied {
    struct proxy proxy;
    char remote[IP_TEXT_MAX], local[IP_TEXT_MAX];
    struct peer_note note[PROXIED_NOTES + 1];
    size_t n_notes;
    char header[PROXY_MAX], texts[PROXY_MAX];
};

/* proxied_read - the header from fd; peer is who sends it, for the log. false: the log says why, close
 * the connection. proxy.known false: the proxy itself is the client. */
bool proxied_read(int fd, const char *peer, struct proxied *out);

/* proxied_fill - make the client of a known proxy the peer; p borrows from x */
void proxied_fill(struct peer *p, const struct proxied *x);

#endif
