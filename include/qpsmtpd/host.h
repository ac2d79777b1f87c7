/*
 * qpsmtpd/host.h - what a plugin may ask of the process that it lives in
 */
#ifndef QPSMTPD_HOST_H
#define QPSMTPD_HOST_H

#include <qpsmtpd/hooks.h>

/*
 * qp_serves_many - in init: will this process, or its children, serve one session after the other?
 *
 * True in qpsmtpd-prefork, and with --check: work that is done now is done once for all of them, and
 * what is wrong is told at start. False in qpsmtpd, which is started for each client: leave to the
 * hooks what this client may not need.
 */
bool qp_serves_many(struct qp *q);

/*
 * qp_open_secret - open a regular file for reading with the rights that the daemon was started with
 *
 * A private key of root's: qpsmtpd-prefork gives up its rights before it loads plugins, but keeps a
 * process that may open the files that stand in config/plugins, and those in the subdirectories ssl
 * and tls_certs of a configuration directory, as long as nobody but root can write there.
 *
 * path     absolute
 * returns  a descriptor that the caller closes, close-on-exec; -1 with errno
 */
int qp_open_secret(struct qp *q, const char *path);

/* qp_config_path - path of the file NAME of the configuration directories, or of what lies below
 * them ("ssl/x.crt"); NULL: there is none. Lives as long as the instance's configuration. */
const char *qp_config_path(struct qp *q, const char *name);

/*
 * qp_late - the part of this plugin that is loaded when it is needed: NAME.late/ in the sources,
 * NAME.late.so beside NAME.so. What links a large library belongs there.
 *
 * returns  the address of its exported constant `qp_late_part`; NULL, and *why is one line: it is not
 *          there or cannot be loaded. It stays loaded as long as the instance; asking again is cheap.
 */
const void *qp_late(struct qp *q, const char **why);

#define QP_LATE_PART(type, ...)                                                                    \
    __attribute__((visibility("default"))) const type qp_late_part = {__VA_ARGS__}

/*
 * qp_shared - in init: memory that the listening process and all its children see alike
 *
 * size     bytes, zeroed at first; the same ones after SIGHUP, for an instance of the same name
 * returns  never NULL; lives as long as the process. Use atomics or a process-shared lock.
 */
void *qp_shared(struct qp *q, size_t size);

#endif
