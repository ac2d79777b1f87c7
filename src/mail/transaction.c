#include "mail/transaction.h"

#include "mail/address.h"

void
transaction_begin(struct transaction *t, struct arena *a, unsigned number)
{
    *t = (struct transaction){.arena = a, .number = number, .notes = map_new(a)};
}

void
transaction_add(struct transaction *t, const struct qp_address *recipient)
{
    if (t->n_recipients == t->room) {
        size_t room = t->room ? 2 * t->room : 8;
        const struct qp_address **more = arena_alloc(t->arena, room * sizeof *more);

        if (t->n_recipients)
            memcpy(more, t->recipients, t->n_recipients * sizeof *more);
        t->recipients = more;
        t->room = room;
    }
    t->recipients[t->n_recipients++] = address_copy(t->arena, recipient);
}

/* The host is what follows the last @; the local part belongs to its host and may distinguish case.
 */
static bool
same_mailbox(struct str a, struct str b)
{
    size_t at = a.n;

    while (at && a.p[at - 1] != '@')
        at--;
    return a.n == b.n && memcmp(a.p, b.p, at) == 0 && str_ieq(str_from(a, at), str_from(b, at));
}

size_t
transaction_remove(struct transaction *t, struct str address)
{
    size_t kept = 0, n = t->n_recipients;

    for (size_t i = 0; i < n; i++)
        if (!same_mailbox(str_of(t->recipients[i]->address), address))
            t->recipients[kept++] = t->recipients[i];
    t->n_recipients = kept;
    return n - kept;
}
