/*
 * net/proxy - who the client is, as the proxy in front of us tells it: the PROXY protocol of HAProxy
 *
 * Owns   both forms of the header, version 1 (a line) and 2 (binary), and reading it from a socket
 * Uses   net/ip, net/wait
 * Keep   not one byte behind the header is read; a header that is wrong anywhere is no header: its
 *        length, each of its fields and its checksum are checked (t/unit/proxy, t/fuzz/proxy)
 * Source "The PROXY protocol, versions 1 & 2", haproxy.org, sections 2.1 and 2.2
 */
#ifndef QPSMTPD_NET_PROXY_H
#define QPSMTPD_NET_PROXY_H

#include "net/ip.h"

#define PROXY_MAX 4096 /* bytes of a header; one with all certificate names has some hundred */

/* What a header says; texts lie in it, and may hold any byte. p NULL: it does not say. */
struct proxy {
    bool known; /* false: the proxy speaks for itself (LOCAL, UNKNOWN): nothing below is set */
    struct ip source, destination;
    int source_port, destination_port;
    struct str alpn, authority, unique_id;
    bool tls;          /* the client has encrypted the connection to the proxy */
    bool tls_verified; /* and has shown a certificate that the proxy trusts */
    struct str tls_version, tls_cipher, tls_name;
};

/* proxy_parse - a whole header. false: it is none; *out is not to be used */
bool proxy_parse(struct str header, struct proxy *out);

/*
 * proxy_read - read the header that must come first on a connection
 *
 * fd        a socket
 * deadline  clock_ms() by which it must be there
 * header    room for it; out's texts lie there
 * why       one line when the result is false: no header, too late, gone
 */
bool proxy_read(
    int fd, int64_t deadline, char header[PROXY_MAX], struct proxy *out, const char **why);

#define PROXY_LINES 3 /* of version 2: two that are empty, and one that is a NUL */

/* proxy_begins - does this line, one of the first PROXY_LINES of a client, show that it sends a header of
 * either version? Its caller refuses: only a peer that is known as a proxy is read with proxy_read(). */
bool proxy_begins(struct str line);

#endif
