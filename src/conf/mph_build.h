/*
 * conf/mph_build - write what conf/mph reads
 *
 * Owns   duplicates, and the temporary files of keys
 * Uses   conf/mph_output for the file itself, conf/mph_shard for what libcmph does
 * Keep   memory does not grow with the list: entries go to the file as they come, their keys to
 *        temporary files, each of which holds a part of all hashes and is sorted alone (a quarter of
 *        a million lines, some 30 MB; more above 64 million lines). The file appears under its name
 *        when it is whole and on the disk, or not at all
 */
#ifndef QPSMTPD_CONF_MPH_BUILD_H
#define QPSMTPD_CONF_MPH_BUILD_H

#include <sys/stat.h>

#include "base/err.h"
#include "conf/mph_format.h"

struct mph_build;

/*
 * mph_build_open - begin a file
 *
 * path     its name; the temporary ones are in the same directory
 * lines    at least as many as will be added
 * attempt  0; 1 and so on after MPH_BUILD_AGAIN
 */
struct mph_build *mph_build_open(
    const char *path, uint64_t lines, unsigned int attempt, struct err *e);

/* mph_build_add - an entry, each at most MPH_TEXT_MAX bytes; the first of equal keys counts */
bool mph_build_add(struct mph_build *b, struct str key, struct str value, struct err *e);

enum mph_build_status {
    MPH_BUILD_DONE,
    MPH_BUILD_FAILED, /* see err */
    MPH_BUILD_AGAIN,  /* two keys have one hash: begin again, with the next attempt */
};

/*
 * mph_build_finish - write the rest
 *
 * about    kind, lengths, and what is said of the text; the other fields are filled in
 * mode     of the file, with the owner of that
 */
enum mph_build_status mph_build_finish(
    struct mph_build *b, struct mph_header *about, const struct stat *mode, struct err *e);

/* mph_build_temporary - where it stands until mph_build_rename */
const char *mph_build_temporary(const struct mph_build *b);

/* mph_build_rename - give it its name, safely on the disk */
bool mph_build_rename(struct mph_build *b, struct err *e);

/* mph_build_close - and remove what was not renamed. *b may be NULL. */
void mph_build_close(struct mph_build **b);

#endif
