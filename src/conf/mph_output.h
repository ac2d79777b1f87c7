/*
 * conf/mph_output - the file that conf/mph_build writes, from its first byte to its last
 *
 * Owns   the temporary file and its name, and the sums of the blocks
 * Keep   nothing is ever read back, however large the file becomes: the sums are computed as the bytes go
 *        by, and block 0, whose header is known in the end, is remembered. A write that fails is told by
 *        mph_output_end(), not before
 */
#ifndef QPSMTPD_CONF_MPH_OUTPUT_H
#define QPSMTPD_CONF_MPH_OUTPUT_H

#include <stdio.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/err.h"
#include "conf/mph_format.h"

struct mph_output {
    struct arena *arena;
    const char *path;
    char *temporary; /* NULL: there is none, or it was renamed */
    FILE *file;
    uint64_t at; /* where the next byte goes; read it freely */
    uint32_t *sums;
    size_t n_sums, room;
    uint8_t first[MPH_BLOCK]; /* block 0 */
    uint8_t block[MPH_BLOCK]; /* the one that is being filled */
};

/*
 * mph_output_open - a temporary file beside path, with room for a header at its beginning
 *
 * o        all zero
 * a, path  as long as o
 */
bool mph_output_open(struct mph_output *o, struct arena *a, const char *path, struct err *e);

void mph_output_put(struct mph_output *o, const void *data, size_t n);

/* mph_output_align - zeros up to a multiple of `to`, at most 64 */
void mph_output_align(struct mph_output *o, size_t to);

/* mph_output_varint - seven bits a byte, least first; the highest bit says that more follow */
void mph_output_varint(struct mph_output *o, uint64_t value);

/* mph_output_end - the sums, the header into its place, mode and owner of `mode`, and all of it onto the
 * disk. false: errno */
bool mph_output_end(struct mph_output *o, const struct mph_header *h, const struct stat *mode);

/* mph_output_rename - give it its name, safely on the disk */
bool mph_output_rename(struct mph_output *o, struct err *e);

/* mph_output_close - and remove what was not renamed */
void mph_output_close(struct mph_output *o);

#endif
