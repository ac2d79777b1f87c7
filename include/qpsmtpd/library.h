/*
 * qpsmtpd/library.h - a shared library that is loaded when it is needed, or one of several
 *
 * For plugins that serve several back ends, of which a site has one: the libraries of the others need
 * not be there. What needs its library always should rather be linked with it, or be a late part
 * (host.h).
 */
#ifndef QPSMTPD_LIBRARY_H
#define QPSMTPD_LIBRARY_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

struct qp_symbol {
    const char *name;
    void *slot; /* of a function pointer: ISO C has no cast from dlsym's result to one */
};

/*
 * qp_library_open - load it and fill every slot; it stays loaded as long as the process
 *
 * file     its name with the version, as dlopen(3) looks for it: "libpq.so.5"
 * returns  false: there is no such library, or it lacks one of the functions; nothing stays loaded
 */
bool qp_library_open(struct qp *q, const char *file, const struct qp_symbol wanted[], size_t n);

#endif
