/*
 * qpsmtpd/badlist.h - lists like badmailfrom and badrcptto
 *
 * One entry a line: user@host, @host, or a Perl pattern; what follows the first blank is the reason
 * to give. A word with one of / ^ $ * + ! % ? \ in it is a pattern (1.00), tried on user@host; it
 * matches literally as well, because qmail's lists know no patterns: there bob+news@example.org is
 * an address. A list that is opened as qmail's has addresses only. Case never counts. The first line
 * that matches decides.
 */
#ifndef QPSMTPD_BADLIST_H
#define QPSMTPD_BADLIST_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

struct qp_badlist;

struct qp_badlist_entry {
    const char *entry;  /* first word of the line, lower case */
    const char *reason; /* the rest; "": none */
};

/*
 * qp_badlist_open - in init only: read such a list
 *
 * name     a configuration file; an absent one is an empty list. A compiled one (qpsmtpd-table(8)) is
 *          used where it is there, else NAME.cdb where there is no text
 * _of_qmail  there are no patterns; what is no address is logged and matches nothing
 * returns  NULL: a wrong line, qp_fail_at() was called: return false. Lives as long as the
 * instance.
 */
const struct qp_badlist *qp_badlist_open(struct qp *q, const char *name);
const struct qp_badlist *qp_badlist_open_of_qmail(struct qp *q, const char *name);

/*
 * qp_badlist_find - the first line of the list that matches an address
 *
 * returns  NULL: none. The null sender and addresses without user or host match nothing. Valid as
 *          long as the command.
 */
const struct qp_badlist_entry *qp_badlist_find(
    struct qp *q, const struct qp_badlist *list, const struct qp_address *address);

#endif
