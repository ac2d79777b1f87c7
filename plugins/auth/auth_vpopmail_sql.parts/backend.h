/*
 * auth_vpopmail_sql backend - a database that can be asked for one user
 *
 * Owns   the two questions, and what a back end has to offer
 * Keep   names travel as parameters of a prepared statement, never as text of it; every wait ends at
 *        the deadline it was given; no password in an error
 */
#ifndef AUTH_VPOPMAIL_SQL_BACKEND_H
#define AUTH_VPOPMAIL_SQL_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qp;

#define SQL_TEXT_MAX  255 /* bytes of a column; a longer one is trouble, not a shorter password */
#define SQL_ERROR_MAX 256

enum sql_query {
    SQL_USER,   /* name, domain */
    SQL_SAMPLE, /* nothing: some user's hash, whoever it is */
    SQL_QUERIES,
};

struct sql_question {
    enum sql_query query;
    const char *parameters[2]; /* ASCII */
};

/* "" where the column is NULL. Whoever has it wipes it. */
struct sql_row {
    char crypt[SQL_TEXT_MAX + 1];
    char clear[SQL_TEXT_MAX + 1];
};

enum sql_status {
    SQL_FOUND,
    SQL_ABSENT,
    SQL_TROUBLE, /* the connection has to be closed; the error says why */
};

/* Where the database is. NULL: as the client library thinks best. */
struct sql_place {
    const char *database, *host, *port, *socket;
    const char *tls, *ca_file; /* as the driver's own words have it: sql_dsn_parse() */
    const char *user, *password;
};

struct sql_backend {
    const char *driver;  /* in the DSN; any case */
    const char *library; /* with its version */
    const char *package; /* Debian's, which has it */
    size_t size;         /* of a link: zeroed memory, of one process */

    /* load - the library, once. false: it is not there */
    bool (*load)(struct qp *q, void *link);

    /* open - connect and log in. false: error says why, and the link is closed */
    bool (*open)(
        void *link, const struct sql_place *where, int64_t deadline, char error[SQL_ERROR_MAX]);

    /* ask - row is written for SQL_FOUND only */
    enum sql_status (*ask)(void *link, const struct sql_question *question, struct sql_row *row,
        int64_t deadline, char error[SQL_ERROR_MAX]);

    /* close - also what was opened in part; an open link can be opened again then */
    void (*close)(void *link);
};

extern const struct sql_backend sql_mysql, sql_pgsql;

#endif
