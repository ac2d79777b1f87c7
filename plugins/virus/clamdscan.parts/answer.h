/*
 * What clamd says of a stream. No I/O.
 */
#ifndef CLAMDSCAN_ANSWER_H
#define CLAMDSCAN_ANSWER_H

#include <stddef.h>

enum clamd_verdict {
    CLAMD_CLEAN, /* "stream: OK" */
    CLAMD_FOUND, /* "stream: NAME FOUND" */
    CLAMD_ERROR, /* anything else: "INSTREAM size limit exceeded. ERROR" */
};

/*
 * clamd_answer_parse - read one answer, without its terminator
 *
 * name     with CLAMD_FOUND set to where the name begins in text; it is not empty
 * n        its bytes
 */
enum clamd_verdict clamd_answer_parse(const char *text, const char **name, size_t *n);

#endif
