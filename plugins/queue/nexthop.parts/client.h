/*
 * nexthop/client - what XCLIENT and XFORWARD tell the next hop of our client (Postfix XCLIENT_README,
 * XFORWARD_README)
 *
 * Owns   names, order and encoding (xtext, RFC 3461, 4) of the attributes
 * Keep   pure; whatever the client calls itself, the lines are printable ASCII of at most
 *        CLIENT_LINE_MAX bytes
 */
#ifndef NEXTHOP_CLIENT_H
#define NEXTHOP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#define CLIENT_LINE_MAX 500 /* RFC 5321 has 512, CR LF included */
#define CLIENT_TEXT_MAX 3000

enum client_attribute {
    CLIENT_NAME,
    CLIENT_ADDR,
    CLIENT_PORT,
    CLIENT_PROTO,
    CLIENT_HELO,
    CLIENT_LOGIN,
    CLIENT_IDENT,
    CLIENT_SOURCE,
    CLIENT_ATTRIBUTES
};

/* Values as they are; NULL or "": not available. */
struct client {
    const char *value[CLIENT_ATTRIBUTES];
};

/* client_offered - the attributes that an EHLO line ("XCLIENT NAME ADDR") lists, one bit each */
unsigned client_offered(const char *words);

/*
 * client_lines - the commands, each "VERB NAME=value …" and LF
 *
 * out      CLIENT_TEXT_MAX bytes
 * returns  how many commands there are
 */
size_t client_lines(const struct client *c, const char *verb, unsigned offered, char *out);

#endif
