/*
 * qpsmtpd/envelope.h - sender and recipients
 *
 * Addresses live as long as the transaction; the one that a RCPT hook is asked about as long as the
 * command. Included by plugin.h.
 */
#ifndef QPSMTPD_ENVELOPE_H
#define QPSMTPD_ENVELOPE_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/* qp_sender - NULL before an accepted MAIL. qp_sender_set: the address is copied; nothing before MAIL */
const struct qp_address *qp_sender(struct qp *q);
void qp_sender_set(struct qp *q, const struct qp_address *sender);

/* qp_rcpt_count - of accepted recipients, in a RCPT hook without the one that is asked about */
size_t qp_rcpt_count(struct qp *q);
/* qp_rcpt - in the order of RCPT; NULL when i is too large */
const struct qp_address *qp_rcpt(struct qp *q, size_t i);
/* qp_rcpt_add - one more, behind the others, that no hook is asked about; the address is copied */
void qp_rcpt_add(struct qp *q, const struct qp_address *recipient);
/* qp_rcpt_remove - all whose address is equal, case of the domain ignored; how many these were */
size_t qp_rcpt_remove(struct qp *q, const char *address);
/* qp_rcpt_suffix - what tcprules' RELAYCLIENT wants appended to each recipient (qmail-smtpd);
 * mostly "" */
const char *qp_rcpt_suffix(struct qp *q);

/* qp_param - value of a parameter of the MAIL or RCPT command that is being run; "" for one without
 * value, NULL when it was not sent. name in any case. */
const char *qp_param(struct qp *q, const char *name);

/* qp_address_parse - check "<user@host>" by the engine's rules. NULL: not acceptable. */
const struct qp_address *qp_address_parse(struct qp *q, enum qp_scope scope, const char *text);

#endif
