/*
 * mail/transaction - the envelope, the message, and what plugins noted about them
 *
 * Owns   the state between MAIL and the end of DATA
 * Keep   "in a transaction" means that there is a sender; the object itself always exists, because
 *        plugins may leave notes before MAIL. It ends in one place: smtp/session.
 */
#ifndef QPSMTPD_MAIL_TRANSACTION_H
#define QPSMTPD_MAIL_TRANSACTION_H

#include <time.h>

#include <qpsmtpd/types.h>

#include "base/arena.h"
#include "base/map.h"
#include "mail/message.h"

struct transaction {
    struct arena *arena;
    unsigned number;                 /* in this connection, from 1 */
    const struct qp_address *sender; /* NULL outside of a transaction */
    const struct qp_address **recipients;
    size_t n_recipients, room;
    struct message *message; /* NULL before DATA */
    struct map *notes;
};

/* transaction_begin - an empty one; the arena is the transaction's and has been reset */
void transaction_begin(struct transaction *t, struct arena *a, unsigned number);

/* transaction_add - append a copy of that recipient. Duplicates are kept. */
void transaction_add(struct transaction *t, const struct qp_address *recipient);

/* transaction_remove - all recipients with that plain address (case of the host ignored); how many
 */
size_t transaction_remove(struct transaction *t, struct str address);

#endif
