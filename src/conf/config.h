/*
 * conf/config - configuration files: where they are, what they say, read once
 *
 * Owns   the search order, the syntax of the files ($Include, comments, blanks) and the cache
 * Uses   base; knows nothing of plugins: the `config` hooks are asked above this floor
 * Keep   what was read stays valid and unchanged as long as the config is open: a process serves
 *        all its sessions from one snapshot, and SIGHUP opens a new one beside it
 */
#ifndef QPSMTPD_CONF_CONFIG_H
#define QPSMTPD_CONF_CONFIG_H

#include <qpsmtpd/types.h>

#include "base/arena.h"
#include "base/err.h"

struct config;

enum config_status {
    CONFIG_OK,     /* the file is there; it may have no lines */
    CONFIG_ABSENT, /* no directory has it */
    CONFIG_BROKEN, /* it is there and cannot be read, or is larger than CONFIG_FILE_MAX: see err */
};

#define CONFIG_FILE_MAX (256UL << 20)

struct config_value {
    const struct qp_line *line; /* NULL when n is 0 */
    size_t n;
};

/*
 * config_open - nothing is read yet
 *
 * dirs     searched in this order for each file; copied, and made absolute, so that a later chdir
 *          changes nothing; NULL ends the list. A file in an earlier directory hides a later one,
 *          even when it is empty.
 */
struct config *config_open(const char *const dirs[]);
void config_close(struct config **c);

/*
 * config_get - all lines of a file, those of included files in place
 *
 * name     a file name, or a path below the config directories ("dkim/example.org"). A leading '/'
 *          or a component that is "..", "." or empty makes it absent. It may come from outside:
 *          names that no directory has cost bounded memory
 * out      written when the result is CONFIG_OK; valid until config_close
 * e        written when it is CONFIG_BROKEN, which is not remembered: the next call tries again.
 *          What else was answered once stays so, absence too
 *
 * `$Include NAME` (any case) stands for the lines of NAME, which is looked up like every file; an
 * absolute path is taken as it is; a directory means its regular files without a leading dot, in
 * byte order. A missing target and a loop are logged as critical, with file and line, and skipped;
 * one that is there and cannot be read makes the whole value CONFIG_BROKEN, as half a blocklist is
 * none. CONFIG_FILE_MAX is for the value with all that it includes.
 */
enum config_status config_get(
    struct config *c, const char *name, struct config_value *out, struct err *e);

/* config_path - path of the first NAME that exists, NULL when there is none; valid until
 * config_close. For files that are no lists of lines (cdb, mph). */
const char *config_path(struct config *c, const char *name);

/* config_list - look once which files there are: for a process that lives as long as one client, where most
 * of the files that could be there are not. What appears later is not seen */
void config_list(struct config *c);

/* config_preload - read each regular file of the search directories that is at most max bytes, so
 * that children which are forked afterwards share one snapshot; not *.cdb and *.mph. Files that cannot be
 * read are left to config_get. */
void config_preload(struct config *c, size_t max);

/*
 * config_parse - the syntax alone: trimmed lines (a CR too) without comments and blank lines
 *
 * text     may hold any byte; a line with a NUL is cut there; a UTF-8 byte order mark in front
 *          is dropped; '#' begins a comment only as first non-blank byte. $Include is a line like
 *          any other here
 * returns  lines, their texts and a copy of file, all of which live in a
 */
struct config_value config_parse(struct arena *a, const char *file, struct str text);

/*
 * config_next_line - that syntax line by line, for what is too large to be kept
 *
 * text     advanced behind the line
 * number   0 at first; then the number of the line in the file
 * returns  false: the end
 */
bool config_next_line(struct str *text, unsigned int *number, struct str *line);

#endif
