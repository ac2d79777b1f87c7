/*
 * Failures of OpenSSL in one line
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "openssl.h"

bool
tls_why(char *why, size_t size, const char *format, ...)
{
    unsigned long error = ERR_get_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    va_list ap;
    size_t n;

    va_start(ap, format);
    vsnprintf(why, size, format, ap);
    va_end(ap);
    n = strlen(why);
    if (error)
        snprintf(why + n, size - n, ": %s", reason ? reason : "OpenSSL gives no reason");
    ERR_clear_error();
    return false;
}
