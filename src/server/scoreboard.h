/*
 * server/scoreboard - what every child is doing, and how many clients each address has
 *
 * Owns   the memory that listener and children share, and the limit per address
 * Uses   net/ip, plugin/activity, base
 * Keep   counts are exact at any moment, also when a child is killed at any instruction; they cost
 *        the same however many children there are (t/unit/scoreboard)
 *
 * How: one lock guards states and counts; it is held for a few stores and never during a system
 * call. It is robust: who gets it from a dead holder counts anew from the slots, which are the
 * truth. The limit of all clients needs no counting: it is the number of slots.
 *
 * IPv6 addresses are counted by /64, because one customer has at least that many.
 */
#ifndef QPSMTPD_SERVER_SCOREBOARD_H
#define QPSMTPD_SERVER_SCOREBOARD_H

#include "base/err.h"
#include "net/ip.h"
#include "plugin/activity.h"

enum slot_state {
    SLOT_FREE,    /* no child */
    SLOT_IDLE,    /* it waits for a client, or is about to */
    SLOT_BUSY,    /* it serves one */
    SLOT_LEAVING, /* it will take no more */
};

/* What the listener reads of a child; only the activity is written without the lock. */
struct slot {
    enum slot_state state;
    struct ip ip; /* BUSY: the client */
    int port;
    uint32_t served; /* clients so far, this one included */
    struct activity activity;
};

struct scoreboard;

/* scoreboard_open - for that many children; before the first fork. NULL: see e. */
struct scoreboard *scoreboard_open(size_t children, struct err *e);
void scoreboard_close(struct scoreboard **b);

/* ---- the listener ---- */

/* scoreboard_assign - a free slot for the child about to be forked, IDLE from now on; false: all
 * are taken */
bool scoreboard_assign(struct scoreboard *b, size_t *slot);

/* scoreboard_free - that child is dead, however it died. last: NULL, or what the slot held. Its
 * texts are the child's, which may have died while writing them: do not rely on their NUL. */
void scoreboard_free(struct scoreboard *b, size_t slot, struct slot *last);

/*
 * scoreboard_watch - tell the listener when fewer than `idle` are idle; 0: do not
 *
 * fd       eventfd that is written to, once: whoever wants to be told again watches again, so that under
 *          load no session pays for it
 * returns  true: so it is already, and nobody will tell
 */
bool scoreboard_watch(struct scoreboard *b, int fd, size_t idle);

/* scoreboard_idle - how many children wait for a client */
size_t scoreboard_idle(struct scoreboard *b);

/* scoreboard_finished - how many clients have been served to their end since scoreboard_open() */
uint64_t scoreboard_finished(struct scoreboard *b);

/* ---- its children ---- */

struct claim {
    bool admitted; /* false: the address has its limit; nothing was counted, the child is still IDLE
                    */
    uint32_t sequence; /* differs from that of the connections before */
    int from_ip;       /* clients of that address now, this one included */
    size_t busy;       /* children that serve somebody, this one included */
};

/*
 * scoreboard_claim - this child serves that client now
 *
 * from_ip_max  clients that one address may have; 0: as many as it likes
 *
 * scoreboard_release ends it, when it was admitted.
 */
struct claim scoreboard_claim(
    struct scoreboard *b, size_t slot, const struct ip *ip, int port, int from_ip_max);
void scoreboard_release(struct scoreboard *b, size_t slot);

/* scoreboard_leave - an idle child takes no more clients */
void scoreboard_leave(struct scoreboard *b, size_t slot);

/* scoreboard_activity - where this child's host notes what runs; lives as long as the board */
struct activity *scoreboard_activity(struct scoreboard *b, size_t slot);

#endif
