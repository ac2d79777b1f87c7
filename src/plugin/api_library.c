/*
 * Libraries that plugins load themselves: <qpsmtpd/library.h>
 */
#include <qpsmtpd/library.h>

#include "base/library.h"
#include "plugin/instance.h"

bool
qp_library_open(struct qp *q, const char *file, const struct qp_symbol wanted[], size_t n)
{
    struct library_symbol *symbols = arena_alloc(q->context->command, n * sizeof *symbols);

    for (size_t i = 0; i < n; i++)
        symbols[i] = (struct library_symbol){wanted[i].name, wanted[i].slot};
    return library_open(file, symbols, n);
}
