/*
 * conf/mph_shard - one shard of a compiled list: filter, function, slots
 *
 * Owns   libcmph, which nothing but qpsmtpd-table(8) links
 * Uses   conf/bdz to fill the slots, as readers will look into them
 */
#ifndef QPSMTPD_CONF_MPH_SHARD_H
#define QPSMTPD_CONF_MPH_SHARD_H

#include "conf/mph_output.h"

struct mph_item {
    uint64_t hash;
    uint64_t at;         /* of the entry */
    const char *spilled; /* for conf/mph_build */
};

/*
 * mph_shard_put - write it
 *
 * item     n of them, at least one; no hash comes twice
 * scratch  for some 30 bytes a key
 * out      where its parts are
 * returns  false: cmph found no function for these hashes; other ones may do
 */
bool mph_shard_put(struct mph_output *o, struct arena *scratch, const struct mph_item *item,
    uint32_t n, struct mph_shard *out);

#endif
