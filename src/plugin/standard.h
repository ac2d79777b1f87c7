/*
 * plugin/standard - the usual plugins in one object, for a process that serves one client
 *
 * Opening a dozen objects is a tenth of what such a session costs. So plugins/standard.so has the code of
 * the usual ones a second time. Which file a line of `plugins` means stays a matter of plugin_dirs alone:
 * a plugin is taken from standard.so only when the build id of the file that was found is the one
 * standard.so was made with, and another file of that name is loaded as ever.
 *
 * Owns   the format of standard.so, which the Makefile writes
 */
#ifndef QPSMTPD_PLUGIN_STANDARD_H
#define QPSMTPD_PLUGIN_STANDARD_H

#include <qpsmtpd/plugin.h>

#include "base/arena.h"
#include "base/str.h"

/* What standard.so exports as qp_standard: an array of these; an empty id ends it. */
struct standard_plugin {
    const char *id; /* build id of the plugin's own object, in hexadecimal */
    const struct qp_plugin *plugin;
};

/* How far the process has got with it: all zero at first. */
struct standard {
    const char *dir;                     /* whose standard.so this is; NULL: nowhere looked yet */
    const struct standard_plugin *table; /* NULL: it has none */
};

/*
 * standard_find - what the object at that path would export, without loading it
 *
 * dir      plugin directory that it was found in; lives as long as s
 * returns  NULL: load it. Otherwise valid to the end of the process
 */
const struct qp_plugin *standard_find(
    struct standard *s, struct arena *scratch, const char *dir, const char *path);

/* standard_build_id - the build id in the first bytes of an ELF object, a part of them; empty: there is none.
 * They may be anybody's bytes */
struct str standard_build_id(struct str head);

#endif
