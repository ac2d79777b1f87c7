/*
 * conf/mph - read a list that qpsmtpd-table(8) has compiled: opened in no time, shared by everybody
 *
 * Owns   the format (mph_format.h), and that nothing of it is believed before it was checked
 * Uses   base/mapping, conf/bdz; knows nothing of what a key means (conf/table does)
 * Keep   opening reads the header alone, however large the list is. What a lookup touches is checked
 *        when this process touches it first, in blocks of 4 KiB and functions of some 16 KiB: damage
 *        is MPH_BROKEN, never a wrong answer, and no byte of the file can make a read leave it
 */
#ifndef QPSMTPD_CONF_MPH_H
#define QPSMTPD_CONF_MPH_H

#include "base/arena.h"
#include "base/err.h"
#include "base/mapping.h"
#include "base/str.h"
#include "conf/mph_format.h"

struct mph_known; /* a shard, as this process has checked it */

struct mph {
    struct mapping map;
    struct mph_header header; /* a copy: it cannot change any more */
    uint8_t *blocks;          /* one bit each: was checked */
    struct mph_known *shards; /* as far as they were */
};

enum mph_status { MPH_FOUND, MPH_ABSENT, MPH_BROKEN };

struct mph_entry {
    /* views of any bytes, valid until mph_close and inside of mapping_look */
    struct str key, value;
    uint64_t at; /* where it stands: what stood earlier in the list has less */
};

/* mph_open - a is for a few KiB, as long as m is open. false: see err (errno: ENOENT, no such
 * file) */
bool mph_open(struct mph *m, struct arena *a, const char *path, struct err *e);
void mph_close(struct mph *m);

/*
 * mph_view - the same for bytes in memory
 *
 * trusted  as if every sum were right; for tests of what happens then
 */
bool mph_view(
    struct mph *m, struct arena *a, const uint8_t *p, size_t n, bool trusted, struct err *e);

/* mph_find - the entry of that key. Call it, and use what it gave, in a mapping_look(). */
enum mph_status mph_find(const struct mph *m, struct str key, struct mph_entry *out);

/*
 * mph_next - walk through the entries in the order of the list
 *
 * at       0 at first; advanced. A key that the list had twice comes twice: mph_find() gives the
 *          place of the one that counts
 * returns  MPH_ABSENT at the end
 */
enum mph_status mph_next(const struct mph *m, uint64_t *at, struct mph_entry *out);

/* mph_check - every byte against its sum; takes as long as reading the file */
bool mph_check(const struct mph *m);

#endif
