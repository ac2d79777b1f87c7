/*
 * auth_vpopmail_sql dsn - where the database is, as Perl's DBI writes it
 *
 * Owns   the drivers and the words that each knows: dbi:mysql:dbname=vpopmail;host=127.0.0.1
 * Uses   the back ends, to name them
 * Keep   a word that is not known is an error, not ignored: it may be what was to protect the password
 */
#ifndef AUTH_VPOPMAIL_SQL_DSN_H
#define AUTH_VPOPMAIL_SQL_DSN_H

#include "backend.h"

/*
 * sql_dsn_parse - read one
 *
 * dsn      changed: the texts of *place are parts of it
 * place    what the DSN does not name stays as it is
 * returns  NULL: *why says what is wrong, and *what is the word that it is about
 */
const struct sql_backend *sql_dsn_parse(
    char *dsn, struct sql_place *place, const char **why, const char **what);

#endif
