/*
 * base/library - a shared library that is loaded when somebody needs it, and not before
 *
 * Owns   dlopen(3) of a library by its name, and finding all of its functions or none
 * Keep   under tcpserver a process is started for each client: what most of them do not need may not
 *        cost them anything
 */
#ifndef QPSMTPD_BASE_LIBRARY_H
#define QPSMTPD_BASE_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

struct library_symbol {
    const char *name;
    void *slot; /* of a function pointer: ISO C has no cast from dlsym's result to one */
};

/*
 * library_open - load it and fill every slot; it stays loaded as long as the process
 *
 * returns  false: there is no such library, or it lacks one of the functions; nothing stays loaded
 */
bool library_open(const char *file, const struct library_symbol wanted[], size_t n);

#endif
