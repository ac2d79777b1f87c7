/*
 * server/child - serve clients, one after the other
 *
 * Owns   the life of a preforked process between fork and exit: waiting for a client, admitting
 *        it, the session, leaving
 * Uses   everything below src/server, scoreboard, listener, tcprules, fault
 * Keep   nothing of one client reaches the next; a signal to leave is never missed, and a client
 *        for whom this child was woken is served before it leaves; a failing accept neither ends
 *        the child nor makes it spin
 *
 * Signals: HUP leaves when idle, else after the current client; TERM leaves when idle, else ends
 * the session as soon as it can be ended (session_leave_soon); the default for all others.
 */
#ifndef QPSMTPD_SERVER_CHILD_H
#define QPSMTPD_SERVER_CHILD_H

#include <sys/types.h>

#include "net/rdns.h"
#include "server/listener.h"
#include "server/options.h"
#include "server/scoreboard.h"
#include "server/service.h"
#include "server/tcprules.h"

struct child {
    const struct options *options;
    const struct listeners *listeners;
    struct service *service;
    struct scoreboard *board;
    struct tcprules *tcprules; /* NULL: without */
    pid_t listener;            /* the parent; when it is gone, so are we */
    int nice;                  /* what the listener is ahead of us, to be given back */
    size_t slot;
};

/* child_run - HUP, TERM and INT are blocked when it is called. Returns the exit status. */
int child_run(struct child *c);

#endif
