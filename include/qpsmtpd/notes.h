/*
 * qpsmtpd/notes.h - named texts that plugins leave for each other
 *
 * The names are those of qpsmtpd. A note lives as long as its scope, the connection or the transaction.
 * Included by plugin.h.
 */
#ifndef QPSMTPD_NOTES_H
#define QPSMTPD_NOTES_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/* qp_note - the text, or NULL; valid until it is set again or the scope ends. Not for QP_INSTANCE.
 */
const char *qp_note(struct qp *q, enum qp_scope scope, const char *name);
/* qp_note_set - copies; NULL removes the note */
void qp_note_set(struct qp *q, enum qp_scope scope, const char *name, const char *text);
/* qp_note_true - set, not empty and not "0" */
bool qp_note_true(struct qp *q, enum qp_scope scope, const char *name);
/* qp_note_int - the note as a number; 0 when unset or no number */
int qp_note_int(struct qp *q, enum qp_scope scope, const char *name);
/* qp_note_add - add to such a number (karma, counters); returns the new value */
int qp_note_add(struct qp *q, enum qp_scope scope, const char *name, int add);

/* qp_result_of - what that plugin ("check_relay:1") answered in that hook ("connect") of this
 * transaction, or, for hooks outside of one, of this connection; 0 when it was not asked */
enum qp_rc qp_result_of(struct qp *q, const char *plugin, const char *hook);

#endif
