/*
 * Runs a scanner and collects what it says: no shell, no wait without an end.
 */
#ifndef SCANNER_RUN_H
#define SCANNER_RUN_H

#include <qpsmtpd/plugin.h>

#define OUTPUT_MAX 65536 /* bytes that are kept; what comes behind them is read and dropped */

/*
 * run - start it and wait for its end
 *
 * fd       of the message, which the program has as RUN_FILE; -1: it knows a name
 * output   set to what it wrote to 1 and 2, NUL-terminated (a NUL becomes '?'); lives as long as the
 *          transaction
 * error    set to why it failed: it could not be started, was killed by a signal, took too long (then
 *          it is killed, with all that it started)
 * returns  its exit code; -1 with *error
 */
int run(struct qp *q, const char *const argv[], int fd, int64_t timeout_ms, const char **output,
    const char **error);

#define RUN_FILE      3
#define RUN_FILE_NAME "/dev/fd/3"

#endif
