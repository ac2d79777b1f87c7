/*
 * nexthop/hop - where messages go next, as the administrator writes it
 *
 * Owns   the notation: host, host:port, 192.0.2.1:port, [2001:db8::1], [2001:db8::1]:port,
 *        /path/of/socket, unix:/path/of/socket
 * Keep   pure; what is no next hop is refused whole
 */
#ifndef NEXTHOP_HOP_H
#define NEXTHOP_HOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define HOP_HOST_MAX 255
#define HOP_TEXT_MAX (HOP_HOST_MAX + 10)

struct hop {
    char text[HOP_TEXT_MAX + 1]; /* as configured: for the log */
    char host[HOP_HOST_MAX +
              1]; /* name or address without brackets; "" for a socket of this machine */
    uint16_t port;
    char path[sizeof((struct sockaddr_un *)0)->sun_path]; /* "" for a host */
};

/*
 * hop_parse - n bytes of one word
 *
 * port     where none is written
 * returns  false: that is none; *out is not to be used
 */
bool hop_parse(const char *word, size_t n, int port, struct hop *out);

#endif
