/*
 * nexthop/wire - a connection to a next hop: bytes in and out, encrypted or not, never without a
 * deadline
 *
 * Owns   the socket, both buffers, the addresses of a host's name
 * Uses   nexthop/hop, nexthop/tls; knows nothing of SMTP
 * Keep   every wait ends: each call has its time limit, and none goes beyond `end`; SIGPIPE never
 *        happens
 */
#ifndef NEXTHOP_WIRE_H
#define NEXTHOP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <qpsmtpd/clock.h>

#include "hop.h"
#include "tls.h"

#define WIRE_NEVER INT64_MAX

#define WIRE_ADDRESSES 8 /* of one name; others are not tried */
#define WIRE_WHY_MAX   200

struct wire_lookup;

/* Where a hop is, as far as this process knows. All zero: not asked yet. */
struct wire_place {
    size_t n;
    struct sockaddr_storage address[WIRE_ADDRESSES];
    socklen_t length[WIRE_ADDRESSES];
    int64_t asked;              /* when the name was looked up with success */
    struct wire_lookup *lookup; /* that runs; NULL: none */
};

struct wire {
    int fd; /* -1: closed */
    struct tls tls;
    int64_t end;            /* no wait goes beyond this moment (qp_clock_ms); WIRE_NEVER */
    char why[WIRE_WHY_MAX]; /* what failed last */
    size_t in_at, in_n, out_n;
    char in[4096], out[16384];
};

/* All of these: false, and w->why, when it failed or took longer than timeout_ms. A wire that failed
 * is good for wire_close() only. */

/* wire_open - connect to hop, trying one address after the other, each for timeout_ms. *w needs no
 * content but `end`. */
bool wire_open(struct wire *w, const struct hop *hop, struct wire_place *place, int64_t timeout_ms);

/* wire_start_tls - from here on encrypted. What the other side has sent ahead of it is an attack, and
 * ends the connection (CVE-2011-0411). */
bool wire_start_tls(
    struct wire *w, const struct tls_library *lib, const struct tls_wish *wish, int64_t timeout_ms);

/* wire_put - remember bytes to be sent; wire_flush - send what was put. wire_put flushes when its
 * buffer is full. */
bool wire_put(struct wire *w, const char *p, size_t n, int64_t timeout_ms);
bool wire_flush(struct wire *w, int64_t timeout_ms);

/* wire_read - wait until there are unread bytes: w->in[in_at .. in_n). Flushes first. */
bool wire_read(struct wire *w, int64_t timeout_ms);

/* wire_quiet - is the connection open, and has the other side said nothing? It does not wait. */
bool wire_quiet(struct wire *w);

/* wire_local - is the other side on this machine, so that nobody listens in between? */
bool wire_local(const struct wire *w);

void wire_close(struct wire *w); /* may be called twice */

/* wire_forget - give up a lookup that still runs, before *place goes */
void wire_forget(struct wire_place *place);

#endif
