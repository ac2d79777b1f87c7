/*
 * server/tcprules - may this client in, and with which variables?
 *
 * Owns   the order in which tcpserver looks a client up in a file made by tcprules(1), and what
 *        its records mean
 * Uses   conf/cdb, base
 * Keep   the first key found is the only one used; the file is opened anew when it was replaced,
 *        so tcprules' atomic rename takes effect with the next client
 *
 * Source: tcprules(1), tcpserver's rules.c. IPv6: the key is the canonical text, prefixes end in
 * ':'.
 */
#ifndef QPSMTPD_SERVER_TCPRULES_H
#define QPSMTPD_SERVER_TCPRULES_H

#include <sys/stat.h>

#include "base/arena.h"
#include "conf/cdb.h"

struct tcprules {
    const char *path;
    struct cdb cdb;
    struct stat seen;    /* the file that cdb maps */
    struct arena *arena; /* of the variables */
};

enum tcprules_verdict {
    TCPRULES_ALLOW,
    TCPRULES_DENY,
    TCPRULES_BROKEN, /* the file is missing or broken: see err */
};

struct tcprules_client {
    const char *ip;   /* canonical text */
    const char *host; /* NULL: not known */
    const char *info; /* NULL: not known; what ident said */
};

/* tcprules_open - path is borrowed. false: see e; nothing is left open. */
bool tcprules_open(struct tcprules *t, const char *path, struct err *e);
void tcprules_close(struct tcprules *t);

/*
 * tcprules_ask - judge one client
 *
 * env      set to NAME=value texts with NULL at the end, possibly none; valid until the next
 * tcprules_ call
 */
enum tcprules_verdict tcprules_ask(struct tcprules *t, const struct tcprules_client *client,
    const char *const **env, struct err *e);

#endif
