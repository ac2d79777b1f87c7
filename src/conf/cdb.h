/*
 * conf/cdb - read D. J. Bernstein's constant database
 *
 * Owns   the format; the file is mapped, so every process shares its pages
 * Keep   each offset is checked against the file's size: a hostile or cut file is CDB_BROKEN,
 *        never a crash and never a wrong record. Writers rename a new file over the old one: one
 *        that is cut in place while it is mapped costs the reader its process
 */
#ifndef QPSMTPD_CONF_CDB_H
#define QPSMTPD_CONF_CDB_H

#include "base/err.h"
#include "base/str.h"

struct cdb {
    const uint8_t *p; /* NULL when closed */
    size_t n;
};

enum cdb_status { CDB_FOUND, CDB_ABSENT, CDB_BROKEN };

/* cdb_open - map path. false: see err; errno is kept (ENOENT: no such file). */
bool cdb_open(struct cdb *c, const char *path, struct err *e);
void cdb_close(struct cdb *c);

/* cdb_find - first record of that key. value: a view of any bytes, valid until cdb_close. */
enum cdb_status cdb_find(const struct cdb *c, struct str key, struct str *value);

#endif
