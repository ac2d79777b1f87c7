/*
 * base/err - why something failed, on its way up to who decides
 *
 * Owns   the sentence; who passes it up logs nothing, who decides logs once
 */
#ifndef QPSMTPD_BASE_ERR_H
#define QPSMTPD_BASE_ERR_H

#include <stdbool.h>

struct err {
    char text[512]; /* NUL-terminated, cut when longer, control bytes not escaped yet */
};

/* err_set - write the sentence. Always false, so that `return err_set(e, …);` reads well. */
bool err_set(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* err_sys - the same, with ": " and errno's text behind it */
bool err_sys(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
