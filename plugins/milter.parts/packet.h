/*
 * milter packet - packets of the milter protocol, from and to bytes
 *
 * Owns   the shape of every answer, the reply codes in them, how our packets are put together
 * Uses   protocol; no I/O, no allocation
 * Keep   nothing is read beyond the packet; what is not exactly of its shape is refused as a whole
 *        (t/fuzz/milter); what does not fit into a packet of ours is remembered, not sent
 */
#ifndef MILTER_PACKET_H
#define MILTER_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

/* ---- what the milter says ---- */

struct milter_offer {
    uint32_t version, actions, steps;
};

/* One answer. Texts look into the packet; NULL where its shape has none. */
struct milter_packet {
    uint8_t letter;
    uint32_t index;    /* of a field; the stage of a macro list */
    const char *name;  /* of a field; an address; the only text of all others */
    const char *value; /* of a field; the ESMTP parameters of an address, "" when it has none */
    struct milter_offer offer; /* of an offer */
    const uint8_t *bytes;      /* of a body; macro lists behind an offer */
    size_t n;
};

/*
 * milter_packet_parse - letter and data, without the length in front
 *
 * returns  NULL; or what is wrong with it: out is void then
 */
const char *milter_packet_parse(const uint8_t *data, size_t n, struct milter_packet *out);

/* milter_macro_lists - the next list behind an offer; false: *left bytes at *bytes are none. *left is
 * 0 behind the last one. */
bool milter_macro_list(const uint8_t **bytes, size_t *left, uint32_t *stage, const char **names);

#define MILTER_TEXT_MAX 2000 /* bytes of a reply's text that are kept */

struct milter_code {
    int code;                       /* 400..599, as RFC 5321, 4.2 has them */
    char enhanced[12];              /* RFC 3463, of the same class; "" when none was given */
    char text[MILTER_TEXT_MAX + 1]; /* lines separated by \n */
};

/* milter_code_parse - "550 5.7.1 text", or several lines of that; false: it is no such thing */
bool milter_code_parse(const char *text, struct milter_code *out);

/* ---- what we say ---- */

/* A packet in the making, in the caller's memory. */
struct milter_writer {
    uint8_t *p;
    size_t n, room;
    bool overflow; /* something did not fit, and nothing was put behind it */
};

#define MILTER_FRAME 5 /* bytes: length and letter */

/* room of MILTER_FRAME + MILTER_DATA_MAX is enough for any packet */
void milter_begin(struct milter_writer *w, uint8_t *p, size_t room, char letter);
void milter_put_number(struct milter_writer *w, uint64_t number, size_t bytes); /* big-endian */
void milter_put_bytes(struct milter_writer *w, const void *bytes, size_t n);
/* NUL-terminated on the wire; a NUL inside becomes '?' */
void milter_put_text(struct milter_writer *w, const char *text, size_t n);
/* What would not fit is cut off; true: it was */
bool milter_put_text_cut(struct milter_writer *w, const char *text, size_t n);
/* milter_end - the length in front; bytes of the whole packet */
size_t milter_end(struct milter_writer *w);

#endif
