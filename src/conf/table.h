/*
 * conf/table - is this key in that list, and with what value?
 *
 * Owns   the ways in which lists match: exact, addresses, qmail's domains, addresses and networks
 * Uses   conf/mph, conf/cdb, net/cidr, base/map; the public names are those of <qpsmtpd/config.h>
 * Keep   a table that was opened never changes; a lookup allocates in the caller's arena only; text
 *        and compiled lists are asked by the same code, so they cannot differ (t/unit/mph)
 *
 * Matching (keys and patterns fold ASCII case; the dot behind a host name is ignored; of equal
 * entries the first line wins; a word that cannot be what its table holds is refused, not ignored):
 *   exact    the whole key
 *   address  user@host, else @host
 *   domain   host, else each suffix that starts with a dot, longest first (qmail's rcpthosts): the
 *            entry .example.com matches a.example.com and not example.com. An entry may also be an
 *            address literal, [192.0.2.1]
 *   ip       the longest network that holds it; in a cdb the address, then its prefixes that end in
 *            '.' or ':', longest first
 *   bad      plugin/badlist asks for entries itself, by table_get()
 */
#ifndef QPSMTPD_CONF_TABLE_H
#define QPSMTPD_CONF_TABLE_H

#include <qpsmtpd/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "conf/config.h"

enum table_match { TABLE_EXACT, TABLE_ADDRESS, TABLE_DOMAIN, TABLE_IP, TABLE_BAD };
enum table_status { TABLE_ABSENT, TABLE_FOUND, TABLE_BROKEN };

struct table;
struct mph_header;

/*
 * table_new - from the lines of a file: key, blanks, value
 *
 * lines    borrowed as long as the table
 * bad      when the result is NULL: the line that is no address or network; e says why. What is no
 *          domain in a list of domains is logged and matches nothing, as in qmail's
 */
struct table *table_new(struct arena *a, enum table_match kind, struct config_value lines,
    const struct qp_line **bad, struct err *e);

/* table_open_cdb - from a cdb; path NULL: an empty table. NULL: see e. Closed with the arena. */
struct table *table_open_cdb(
    struct arena *a, enum table_match kind, const char *path, struct err *e);

/* table_open_mph - from a compiled list of that kind. NULL: see e. Closed with the arena. */
struct table *table_open_mph(
    struct arena *a, enum table_match kind, const char *path, struct err *e);

/* table_header - of a compiled list: what it was made of; NULL for any other */
const struct mph_header *table_header(const struct table *t);

/*
 * table_find - look key up
 *
 * value    NULL, or set: to a NUL-terminated text of the table or of scratch; to NULL unless found
 * scratch  for folded keys and for values out of a file
 */
enum table_status table_find(
    const struct table *t, const char *key, struct arena *scratch, const char **value);

struct table_record {
    const char *value; /* as in table_find */
    uint64_t at;       /* in a compiled list: what stood earlier has less; else 0 */
};

/* table_get - the record of an entry, without matching: key as table_entry() makes it */
enum table_status table_get(
    const struct table *t, struct str key, struct arena *scratch, struct table_record *out);

/* table_count - entries of a list, equal ones once; 0 for a cdb */
size_t table_count(const struct table *t);

/* ---- what a list stores, for who compiles it and prints it back ---- */

struct table_entry {
    struct str key, value;
    int bits; /* ip: of the network, else -1 */
};

#define TABLE_ROOM(line) ((line).n + 32) /* for the key of a line */

/*
 * table_entry - one line of a list
 *
 * line     as conf/config gives it
 * room     for the key, which is folded, and no text in a table of networks
 * returns  false: the word is not what such a table holds; e says why
 */
bool table_entry(
    enum table_match kind, struct str line, char *room, struct table_entry *out, struct err *e);

/* table_entry_text - the word that stands for a stored key; room as above */
struct str table_entry_text(enum table_match kind, struct str key, char *room);

#endif
