/*
 * server/keeper - root's private keys, for a daemon that is no longer root
 *
 * Owns   a process that keeps root's rights and does nothing but open files for reading: those named
 *        by a word of config/plugins, and those in ssl/ and tls_certs/ of the configuration
 *        directories
 * Keep   only where nobody but root could have named or placed the file; only the listening process
 *        can ask, never one that serves clients. So keys are read when the daemon starts and after
 *        each SIGHUP, and a certificate that was renewed needs no rights of the daemon's user. A daemon
 *        that needs no such file has no such process
 */
#ifndef QPSMTPD_SERVER_KEEPER_H
#define QPSMTPD_SERVER_KEEPER_H

#include <sys/types.h>

#include "base/err.h"

struct keeper {
    int fd; /* -1: there is none */
    pid_t pid;
    bool used; /* it was asked, and had to */
};

/* keeper_open - as root, before the rights are given up; else nothing happens. config_dirs are
 * absolute, NULL ends the list; copied by fork. It ends when every copy of its descriptor is closed.
 * false: see e */
bool keeper_open(struct keeper *k, const char *const config_dirs[], struct err *e);

/* keeper_ask - a descriptor for reading; -1 with errno: EACCES when the keeper must not. data is the
 * struct keeper. Fits struct host_options. */
int keeper_ask(void *data, const char *path);

/* keeper_end - nobody will ask any more: the process is gone when this returns */
void keeper_end(struct keeper *k);

/* keeper_leave - this process may not ask any more */
void keeper_leave(struct keeper *k);

#endif
