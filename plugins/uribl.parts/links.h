/*
 * uribl links - the hosts that a text names
 *
 * Owns   what a browser, or a mail reader that makes links of plain text, takes for a host: names
 *        anywhere, addresses in URLs, in all their disguises
 * Uses   nothing; knows nothing of MIME, of lists or of the DNS. Allocates nothing
 * Keep   a host is given out only in the form told below (t/fuzz/links)
 */
#ifndef URIBL_LINKS_H
#define URIBL_LINKS_H

#include <stdbool.h>
#include <stddef.h>

#define LINKS_HOST_MAX 253
#define LINKS_ROOM     8192 /* so much of a line is seen at once */

/* Set found and data, and all else to 0. */
struct links {
    /*
     * host     ip: an address as inet_ntop(3) writes it. Otherwise at least two labels of a-z 0-9 - _
     *          with single dots between, at most LINKS_HOST_MAX bytes; whether its top level domain
     *          exists is not looked at. Borrowed for the call. The same host may come many times
     */
    void (*found)(void *data, const char *host, bool ip);
    void *data;

    size_t seen; /* bytes that were searched */
    size_t n;
    char text[LINKS_ROOM + 1];
};

/* links_put - the next byte of the text. A line is searched when its LF comes: end the text with one. */
void links_put(struct links *l, char c);

#endif
