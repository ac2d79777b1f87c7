/*
 * qpsmtpd/config.h - configuration files and tables
 *
 * NAME is looked up in the config directories and in qmail's control directory, after the `config`
 * hooks were asked; blank lines and lines that begin with # are gone, the others are trimmed.
 */
#ifndef QPSMTPD_CONFIG_H
#define QPSMTPD_CONFIG_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

struct qp_lines {
    size_t n;
    const struct qp_line *line; /* line[0] .. line[n - 1] */
};

/*
 * qp_config_lines - all lines of a file; n is 0 when it is absent or empty
 *
 * Valid until the end of the connection; during init as long as the instance. A file that exists
 * and cannot be read refuses the start when asked for in init; later it is logged and counts as
 * absent.
 */
struct qp_lines qp_config_lines(struct qp *q, const char *name);

/* qp_config - the first line, or NULL; same life */
const char *qp_config(struct qp *q, const char *name);

/* qp_config_true - the first line is there and is neither empty nor "0" */
bool qp_config_true(struct qp *q, const char *name);

/* qp_config_for - as qp_config_lines, but the user_config hooks are asked first (1.00) */
struct qp_lines qp_config_for(struct qp *q, const struct qp_address *user, const char *name);

/* qp_config_answer - in the hooks config and user_config: one line of the value; copied */
void qp_config_answer(struct qp *q, const char *line);

/* ---- tables: is this key in that list, and with what value? ---- */

enum qp_match {
    QP_MATCH_EXACT,   /* the whole key, case ignored */
    QP_MATCH_ADDRESS, /* user@host or @host, case ignored */
    QP_MATCH_DOMAIN,  /* host, or .suffix for every name below it (qmail's rcpthosts) */
    QP_MATCH_IP,      /* 192.0.2.1, 192.0.2. (prefix), 192.0.2.0/24, 2001:db8::/32 */
    QP_MATCH_IP_DOT,  /* the same; in text, 192.0.2 is that prefix, too */
};

struct qp_table;

/*
 * qp_table_open - in init only: read a list for lookups
 *
 * name     a configuration file: one key a line, what follows the first blank is its value. Instead
 *          of it NAME.mph is asked, as qpsmtpd-table(8) makes it of the file, as long as the file has
 *          not changed since; and NAME.cdb where there is neither. With the ending ".cdb": NAME.mph,
 *          else that constant database, as qmail-newmrh(8) and cdb(1) make it. What a `config` hook
 *          answers goes before files
 * returns  NULL: an ill-formed line or an unreadable file, qp_fail_at() was called: return false.
 *          An absent file is an empty table. Lives as long as the instance.
 */
const struct qp_table *qp_table_open(struct qp *q, const char *name, enum qp_match kind);

enum qp_lookup {
    QP_ABSENT,
    QP_FOUND,
    QP_TROUBLE, /* the file is damaged, and nothing is there in its place: answer with 4xx */
};

/*
 * qp_table_find - look key up
 *
 * key      as the client wrote it: case and form are this function's business
 * value    NULL, or set to the value ("" when the line has none; valid until the end of the
 *          transaction), or to NULL unless found
 */
enum qp_lookup qp_table_find(
    struct qp *q, const struct qp_table *t, const char *key, const char **value);

/* qp_table_has - the same where an unreadable database may count as absent (it is logged) */
bool qp_table_has(struct qp *q, const struct qp_table *t, const char *key);

/*
 * qp_table_lines - the lines that the table was read from, so that init can look at their values
 *
 * n is 0 for a compiled list or a constant database: what is wrong there is found by a lookup
 */
struct qp_lines qp_table_lines(const struct qp_table *t);

size_t qp_table_count(const struct qp_table *t); /* entries, equal ones once; 0 for a cdb */

#endif
