/*
 * base/mapping - a file that is mapped for reading, and may be cut while somebody looks at it
 *
 * Owns   mmap, and the one process-wide record of who looks at which mapping now
 * Keep   writers replace such files by rename(2), so a reader keeps what it opened. Should somebody
 *        truncate one in place, the pages behind its end are gone and touching them raises SIGBUS:
 *        the look is given up then, the process lives
 */
#ifndef QPSMTPD_BASE_MAPPING_H
#define QPSMTPD_BASE_MAPPING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct mapping {
    const uint8_t *p; /* NULL when closed or empty */
    size_t n;
};

/* mapping_open - the first n bytes of fd, which may be closed then. false: see err. */
bool mapping_open(struct mapping *m, int fd, size_t n, struct err *e);
void mapping_close(struct mapping *m);

/*
 * mapping_look - call look(data), which reads from m
 *
 * look     may be left at any point: it takes no lock, opens nothing, and calls nobody who does.
 *          Looks do not nest
 * returns  false: it was left, because part of the file is gone; what it has written is void. Only
 *          where the handler of SIGBUS knows mapping_rescue(), as that of server/fault does
 */
bool mapping_look(const struct mapping *m, void (*look)(void *data), void *data);

/* mapping_lost - for a handler of SIGBUS: was it for address that somebody looks into a mapping? */
bool mapping_lost(const void *address);

/* mapping_rescue - for that handler, when it was: back to mapping_look(), which gives false */
_Noreturn void mapping_rescue(void);

#endif
