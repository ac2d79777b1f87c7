/*
 * conf/list - a list by its name: compiled, as text, or as a constant database
 *
 * Owns   which of NAME.mph, NAME and NAME.cdb is asked, and what is logged of a NAME.mph that is not
 * Keep   the text is what counts: a compiled list is used when it was made of the very text that is
 *        there now, and otherwise passed over with a warning. The text is only stat'ed to know that
 */
#ifndef QPSMTPD_CONF_LIST_H
#define QPSMTPD_CONF_LIST_H

#include "conf/table.h"

#define LIST_MPH ".mph"
#define LIST_CDB ".cdb"

enum list_use {
    LIST_ANY,
    LIST_NO_MPH, /* it turned out to be damaged */
};

enum list_status {
    LIST_TABLE,  /* *out is open */
    LIST_TEXT,   /* read the lines of list_base(); the file may be absent */
    LIST_BROKEN, /* it is there and cannot be read: see err */
};

/*
 * list_open - find a list, and open it unless it is text
 *
 * name     NAME: NAME.mph, else NAME, else NAME.cdb. With the ending ".cdb", for lists that qmail keeps
 *          so: NAME.mph, else NAME.cdb, else, if there is a NAME.mph that cannot be used, NAME.
 *          Each is taken from the first directory that has it; none of them is an empty list
 */
enum list_status list_open(struct config *c, struct arena *a, enum table_match kind,
    const char *name, enum list_use use, struct table **out, struct err *e);

/* list_text - the lines of LIST_TEXT. An absent file has none; with LIST_NO_MPH it was there before,
 * so its absence is a failure: false, see e */
bool list_text(struct config *c, struct arena *a, const char *name, enum list_use use,
    struct config_value *out, struct err *e);

/* list_base - name without an ending ".cdb" */
struct str list_base(const char *name);

#endif
