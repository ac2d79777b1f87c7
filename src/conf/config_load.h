/*
 * conf/config_load - what a configuration file says, with what it includes; for conf/config alone
 *
 * Owns   the syntax of the files ($Include, comments, blanks)
 * Uses   base; conf/config to find what is included
 * Keep   lines that were read never change
 */
#ifndef QPSMTPD_CONF_CONFIG_LOAD_H
#define QPSMTPD_CONF_CONFIG_LOAD_H

#include <limits.h>
#include <sys/stat.h>

#include "conf/config.h"

/*
 * config_load - the lines of a file
 *
 * keep     they live as long as this arena
 * path     absolute; lives as long as well
 * regular  it is known to be a regular file
 * returns  as config_get(); CONFIG_ABSENT: the file has gone meanwhile
 */
enum config_status config_load(const struct config *c, struct arena *keep, const char *path,
    bool regular, struct config_value *out, struct err *e);

/* config_search_included - the path that `$Include NAME` means, NAME being relative; NULL when there is
 * none. path is where it may be written */
const char *config_search_included(const struct config *c, const char *name, char path[PATH_MAX]);

/* config_means_absent - does an errno of open(2) or stat(2) say that there is no such file? */
bool config_means_absent(int error);

#endif
