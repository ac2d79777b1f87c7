/*
 * plugin/shared - memory that is shared with the processes forked later
 *
 * Owns   the blocks of this process, by name; they are the only thing here that is process-wide
 * Keep   a name gives the same block again after plugins were loaded anew; one that is asked for
 *        with another size is a new one, and nobody's memory is taken away before the process ends
 */
#ifndef QPSMTPD_PLUGIN_SHARED_H
#define QPSMTPD_PLUGIN_SHARED_H

#include <stddef.h>

/* shared_block - size zeroed bytes, or those of the last call with that name and size; NULL: no
 * memory */
void *shared_block(const char *name, size_t size);

#endif
