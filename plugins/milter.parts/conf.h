/*
 * milter conf - the line of config/plugins
 *
 * Owns   the arguments, their ranges and defaults, the spellings of a place
 * Uses   <qpsmtpd/args.h>, <qpsmtpd/peer.h>
 */
#ifndef MILTER_CONF_H
#define MILTER_CONF_H

#include <qpsmtpd/peer.h>

#include "dialogue.h"

enum milter_on_error { ON_ERROR_TEMPFAIL, ON_ERROR_REJECT, ON_ERROR_ACCEPT };
enum milter_on_quarantine { ON_QUARANTINE_TEMPFAIL, ON_QUARANTINE_REJECT, ON_QUARANTINE_MARK };

/* A connection that waits for the next client of this process; of a child alone, though the memory is
 * the instance's: nobody writes it before fork(2). */
struct milter_kept {
    int fd; /* -1: none */
    struct milter_agreed agreed;
};

struct milter_conf {
    const char *name;
    struct qp_peer_at place;
    struct milter_times times;
    int on_error, on_quarantine; /* of the enums above */
    const char *daemon_name;     /* NULL: as the server is called */
    struct milter_kept *kept;    /* NULL: not wanted */
};

/* milter_conf_init - the hook init: a struct milter_conf is the instance */
bool milter_conf_init(struct qp *q, int argc, const char *const argv[]);

#endif
