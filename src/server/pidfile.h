/*
 * server/pidfile - one daemon for one file
 *
 * Owns   the file of --pid-file: its lock proves that a daemon lives, its text is the process id
 *        and LF
 * Keep   a number left behind by a daemon that died hinders nobody; a symbolic link is never
 *        followed
 */
#ifndef QPSMTPD_SERVER_PIDFILE_H
#define QPSMTPD_SERVER_PIDFILE_H

#include <sys/types.h>

#include "base/err.h"

struct pidfile {
    const char *path; /* NULL: there is none */
    int fd;           /* the lock lives as long as some process has this open */
};

/*
 * pidfile_open - create or take over, and lock
 *
 * path     absolute, borrowed; NULL: every call does nothing
 * returns  false: another daemon lives, or the file cannot be made; see e
 */
bool pidfile_open(struct pidfile *f, const char *path, struct err *e);

/* pidfile_write - put that process's id in; false: see e */
bool pidfile_write(const struct pidfile *f, pid_t pid, struct err *e);

/* pidfile_leave - for a child: give up our share of the lock, touch nothing */
void pidfile_leave(struct pidfile *f);

/* pidfile_remove - unlink it, or empty it where the directory does not let us; then unlock */
void pidfile_remove(struct pidfile *f);

#endif
