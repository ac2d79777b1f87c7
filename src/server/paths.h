/*
 * server/paths - where configuration and plugins are looked for
 *
 * Owns   the search order and the directory that the program itself lies in
 * Uses   base
 * Keep   every path is absolute after paths_find: a later chdir changes nothing
 *
 * Configuration: with -C DIR: DIR, $QMAIL/control. Else $QPSMTPD_CONFIG, PROGRAM/config, the
 * directory compiled in, $QMAIL/control. Plugins without -P: config plugin_dirs, else
 * PROGRAM/plugins, the directory compiled in. PROGRAM is the program's own directory; $QMAIL is
 * /var/qmail when unset or empty.
 */
#ifndef QPSMTPD_SERVER_PATHS_H
#define QPSMTPD_SERVER_PATHS_H

#include "base/arena.h"
#include "base/err.h"
#include "server/options.h"

struct paths {
    const char *config_dirs[5];                    /* NULL ends each list */
    const char *plugin_dirs[OPTIONS_LIST_MAX + 1]; /* of -P; may be empty */
    const char *default_plugin_dirs[3];            /* those that exist */
    bool qmail_defaults; /* only qmail's control directory exists: serve as qmail-smtpd would */
};

/*
 * paths_find - resolve them all
 *
 * argv0    as the program got it: with a slash it names the program's place, links in its directory
 *          resolved, but not a link that it is itself; without one /proc/self/exe does
 * returns  false: a directory given by -C or -P is none; see e
 */
bool paths_find(
    struct paths *p, struct arena *a, const char *argv0, const struct options *o, struct err *e);

#endif
