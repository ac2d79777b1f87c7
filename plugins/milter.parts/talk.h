/*
 * milter talk - one connection to a milter: packets out, packets in, none without a deadline
 *
 * Owns   the socket, its two buffers, and what was agreed on
 * Uses   packet, <qpsmtpd/peer.h> to connect; knows nothing of a message
 * Keep   the first failure closes the connection and stays in `error`; an answer is at most
 *        MILTER_DATA_MAX bytes and has to arrive whole in its time
 */
#ifndef MILTER_TALK_H
#define MILTER_TALK_H

#include "packet.h"

struct qp;
struct qp_peer_at;

#define MILTER_LIST_MAX 512 /* bytes of the names of one macro list */

struct milter_agreed {
    struct milter_offer offer;
    bool own_list[MILTER_STAGES];                  /* it has said which macros it wants there: */
    char list[MILTER_STAGES][MILTER_LIST_MAX + 1]; /* names separated by blanks */
};

struct milter_talk {
    int fd;            /* -1: closed */
    const char *error; /* NULL: none; one line, lives as long as the connection to the client */
    struct milter_agreed agreed;
    struct milter_writer out; /* the packet in the making */
    int64_t write_ms;         /* for one packet */
    int64_t deadline;         /* qp_clock_ms() when every wait ends, be it for writing; 0: none */
    uint8_t *buffer;          /* of out, and behind it of what comes in */
};

/* What of memory the buffers need. */
#define MILTER_BUFFER ((size_t)2 * (MILTER_FRAME + MILTER_DATA_MAX))

/* talk_open - connect and agree, all of it in connect_ms; false: t->error */
bool talk_open(struct qp *q, struct milter_talk *t, const struct qp_peer_at *p, int64_t connect_ms);

/* talk_close - without a word; the error stays */
void talk_close(struct milter_talk *t);

/* talk_fail - close it, and this is why; a literal, or as long as the connection. false. */
bool talk_fail(struct milter_talk *t, const char *why);

/* talk_begin - a new packet in t->out; talk_send - send it; false: t->error */
void talk_begin(struct milter_talk *t, char letter);
bool talk_send(struct milter_talk *t);

/* talk_word - a packet that is only a letter */
bool talk_word(struct milter_talk *t, char letter);

/* talk_read - the next packet, within wait_ms; its texts are valid until the next one. false: t->error */
bool talk_read(struct milter_talk *t, int64_t wait_ms, struct milter_packet *out);

/* talk_is_quiet - is the connection there, and has the milter nothing to say? So must it be between two
 * clients. */
bool talk_is_quiet(const struct milter_talk *t);

#endif
