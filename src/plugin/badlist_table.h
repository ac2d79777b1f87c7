/*
 * plugin/badlist_table - lists like badmailfrom out of a table: compiled, or a cdb
 *
 * Owns   how a list that has patterns is stored: each address under itself, each pattern, with its
 *        reason, under a key that no address can be: \001 and its number, from 0 on. A word that is
 *        both (a+b@c) has both entries
 * Keep   what matches is what the text would give: the first line, address or pattern
 */
#ifndef QPSMTPD_PLUGIN_BADLIST_TABLE_H
#define QPSMTPD_PLUGIN_BADLIST_TABLE_H

#include <qpsmtpd/badlist.h>

#include "conf/table.h"

#define BADLIST_KEY 32

/* badlist_is_pattern - is this first word of a line a pattern? (see <qpsmtpd/badlist.h>) */
bool badlist_is_pattern(struct str word);

/* badlist_pattern_key - where pattern n stands */
struct str badlist_pattern_key(size_t n, char room[BADLIST_KEY]);

/* badlist_is_pattern_key - does a pattern stand there, or an address? */
bool badlist_is_pattern_key(struct str key);

struct badlist_table;

/* badlist_table_new - t is borrowed as long as a. badlist_table_add_patterns: those that stand in it;
 * false: see e. Without it addresses match alone. */
struct badlist_table *badlist_table_new(struct arena *a, const struct table *t);
bool badlist_table_add_patterns(struct badlist_table *b, struct arena *a, struct err *e);

/*
 * badlist_table_find - the first line that matches
 *
 * address  user@host, as the client wrote it; user bytes of it stand before the @
 * out      lives as long as scratch
 */
enum table_status badlist_table_find(const struct badlist_table *b, struct arena *scratch,
    const char *address, size_t user, struct qp_badlist_entry *out);

#endif
