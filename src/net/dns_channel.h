/*
 * net/dns_channel - one name server, and what is under way to it
 *
 * Owns   c-ares: ids, sockets, TCP after truncation, EDNS0; which servers the system has; how a server is
 *        written in a configuration file
 * Keep   one question is one try: it is given back once, with a message or with the reason why there is
 *        none; while nothing is asked no socket is open. Nobody else includes ares.h
 */
#ifndef QPSMTPD_NET_DNS_CHANNEL_H
#define QPSMTPD_NET_DNS_CHANNEL_H

#include <poll.h>
#include <qpsmtpd/types.h>

#include "net/ip.h"

struct dns_server {
    struct ip ip;
    uint16_t port;
};

struct dns_channel {
    struct dns_server server;
    struct ares_channeldata *ares; /* NULL until the first question */
    bool stale;                    /* renew it when the session is over: see dns_channel_ask() */
};

enum dns_reply {
    DNS_REPLY_MESSAGE,     /* to this question, with this id; what it says is not looked at */
    DNS_REPLY_SILENCE,     /* for life_ms */
    DNS_REPLY_UNREACHABLE, /* a closed port, no route, no channel */
    DNS_REPLY_NO_NAME,     /* a name that must not be asked for: .onion (RFC 7686) */
    DNS_REPLY_DROPPED,     /* dns_channel_end() */
};

/* A question under way. It stays where it is until it has been given back. */
struct dns_request {
    /* Must not ask: c-ares is in the middle of something. message: valid during the call, NULL unless
     * DNS_REPLY_MESSAGE */
    void (*reply)(struct dns_request *r, enum dns_reply what, const uint8_t *message, size_t n);
    struct dns_channel *channel;
};

/* dns_library_load - c-ares, which is not linked: under tcpserver most processes ask nothing, and loading it is
 * a part of their start that can be felt. The first question does; who forks does it before, for all. false:
 * it cannot be loaded, which is logged, and questions fail as if no server were there */
bool dns_library_load(void);

/* dns_server_parse - "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53"; false: none */
bool dns_server_parse(struct str text, struct dns_server *out);

/* dns_servers_find - those of the system, of resolv.conf or, without one, 127.0.0.1; how many */
size_t dns_servers_find(struct dns_server out[], size_t room);

/*
 * dns_channel_ask - send one question
 *
 * name     as dns_name_parse() gives it
 * r        with reply set; reply may be called before this returns
 * life_ms  when c-ares gives up; of the first question on a channel
 *
 * c-ares takes SERVFAIL, FORMERR and NOTIMP for a server from before EDNS0: it asks again without, and
 * leaves that out on this channel for good. After a SERVFAIL that is mostly wrong, so it makes it stale.
 */
void dns_channel_ask(struct dns_channel *c, enum qp_dns_type type, const char *name,
    struct dns_request *r, int64_t life_ms);

/* dns_channel_end - all that is under way is DNS_REPLY_DROPPED */
void dns_channel_end(struct dns_channel *c);

/* dns_channel_close - the same, and the memory goes back */
void dns_channel_close(struct dns_channel *c);

/* dns_channel_poll_set - the descriptors to wait for; how many, at most room */
nfds_t dns_channel_poll_set(const struct dns_channel *c, struct pollfd set[], nfds_t room);

/* dns_channel_process - after poll(2); a descriptor of another channel means nothing to it */
void dns_channel_process(struct dns_channel *c, const struct pollfd *ready);

#endif
