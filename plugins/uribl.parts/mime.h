/*
 * uribl mime - the text of a message, its parts decoded
 *
 * Owns   multipart, message/rfc822, quoted-printable and base64 (RFC 2045, 2046)
 * Uses   nothing; knows nothing of URLs. Allocates nothing
 * Keep   what is not understood is text, as mail readers show it: better read too much than too
 *        little. Parts that say they are something else than text are left out
 */
#ifndef URIBL_MIME_H
#define URIBL_MIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIME_DEPTH    20 /* multipart in multipart; what is deeper is read as text */
#define MIME_BOUNDARY 200
#define MIME_FIELD    1000 /* of a field of a part's header */

/* Set put and data, and all else to 0. */
struct mime {
    void (*put)(void *data, char c); /* a byte of text; between parts there is an LF */
    void *data;

    char boundary[MIME_DEPTH][MIME_BOUNDARY + 1]; /* of the parts that we are in */
    size_t depth;
    enum { SKIP, HEADER, BODY } state;
    char field[MIME_FIELD + 1];
    size_t field_n;
    struct part {
        enum { TEXT, MULTIPART, MESSAGE, OTHER } type;
        enum { IDENTITY, QUOTED_PRINTABLE, BASE64 } encoding;
        char boundary[MIME_BOUNDARY + 1];
    } part;
    uint32_t bits; /* of base64 that wait for more */
    int n_bits;
};

/* mime_begin - a message with these fields Content-Type and Content-Transfer-Encoding; NULL: without */
void mime_begin(struct mime *m, const char *type, const char *encoding);

/*
 * mime_line - the next line of its body
 *
 * line     n bytes, not 0, any; its LF included
 * fresh    it is the beginning of a line; false: more of the last one, which had no LF
 */
void mime_line(struct mime *m, const char *line, size_t n, bool fresh);

#endif
