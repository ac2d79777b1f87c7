/*
 * server/table_compile - from a text list to a compiled one
 *
 * Owns   reading a list of any size in pieces, and which lines a list may have
 * Uses   conf/mph_build; conf/config for the syntax and conf/table for the entries, as a server that
 *        reads the text does
 * Keep   the first wrong line ends it, and what stood there before stays. A file that was written is
 *        read back, line by line, before it takes its name
 */
#ifndef QPSMTPD_SERVER_TABLE_COMPILE_H
#define QPSMTPD_SERVER_TABLE_COMPILE_H

#include "base/err.h"
#include "conf/mph_format.h"
#include "conf/table.h"

struct table_report {
    struct mph_header header;
    long memory_kib; /* the most that this process has had until the file was complete */
    int64_t ms;      /* all of it */
};

/*
 * table_compile - e begins with the file, and the line if there is one
 *
 * text     a regular file
 * mph      the file to write, in a directory with room for twice its size
 */
bool table_compile(const char *text, const char *mph, enum table_match kind,
    struct table_report *out, struct err *e);

#endif
