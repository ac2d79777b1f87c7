/*
 * server/supervisor - the listening process: keep children, obey signals, end cleanly
 *
 * Owns   forking and reaping, the number of idle children, reload, drain and end
 * Uses   child, scoreboard, listener, service, pidfile
 * Keep   it never reads a byte of a client; it never forks in a tight loop; when it has returned,
 *        no child is left; a reload that fails changes nothing
 *
 * Signals: HUP reads configuration and plugins anew; TERM stops listening and lets clients finish
 * for SUPERVISOR_DRAIN_MS, a second TERM or INT ends at once.
 */
#ifndef QPSMTPD_SERVER_SUPERVISOR_H
#define QPSMTPD_SERVER_SUPERVISOR_H

#include "server/keeper.h"
#include "server/listener.h"
#include "server/options.h"
#include "server/pidfile.h"
#include "server/scoreboard.h"
#include "server/service.h"
#include "server/tcprules.h"

#define SUPERVISOR_DRAIN_MS 30000

struct supervised {
    const struct options *options;
    const struct service_load *load; /* activity is shared memory */
    struct keeper *keeper;
    struct listeners *listeners;
    struct scoreboard *board;
    struct service *service;
    struct tcprules *tcprules; /* NULL: without */
    struct pidfile *pidfile;
    int nice; /* by how much we are ahead of what the children shall have */
};

/* supervisor_run - serve until a signal ends it. false: see e; nothing was
 * forked. It returns in the listening process only. */
bool supervisor_run(const struct supervised *what, struct err *e);

#endif
