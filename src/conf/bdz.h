/*
 * conf/bdz - a perfect hash function that libcmph has built, evaluated without libcmph
 *
 * Owns   the packed form of libcmph's BDZ_PH (Botelho, Pagh, Ziviani 2007), as cmph_pack() writes it:
 *        each of n keys has a place of its own among some 1.23 n, any other key some place
 * Keep   bdz_parse() checks every length, so that nothing outside of the bytes that it was given is
 *        read, whatever they are. cmph_search_packed() trusts them
 *
 * Of libcmph's functions it is the smallest and the quickest. Measured with libcmph 2.0.2 on a hundred
 * thousand keys (t/bench/functions): CHD 4.2 bits a key and 170 ns a search, BDZ 2.8 bits and 90 ns,
 * BDZ_PH 2.0 bits and 33 ns, here 29 ns; CHD is built in three quarters of the time. BDZ_PH is BDZ
 * without its last step, which makes of 1.23 n places n: the empty ones cost 1.8 bytes a key. In
 * return all three places that a key may have are known before the function itself is looked at, so
 * the processor can fetch them meanwhile.
 */
#ifndef QPSMTPD_CONF_BDZ_H
#define QPSMTPD_CONF_BDZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bdz {
    const uint8_t *values; /* one for each place, 0 to 2, five in a byte */
    uint32_t third;        /* of the places */
    uint32_t seed;
    uint64_t inverse; /* 2^64 / third */
};

/* bdz_parse - p, n: the packed form, borrowed as long as out is used. false: it is none. */
bool bdz_parse(const uint8_t *p, size_t n, struct bdz *out);

/* bdz_places - how many there are */
uint32_t bdz_places(const struct bdz *f);

/* bdz_candidates - the places that a key may have; it is eight bytes, of a little-endian number */
void bdz_candidates(const struct bdz *f, uint64_t key, uint32_t place[3]);

/* bdz_choice - which of them it has: 0, 1 or 2 */
unsigned int bdz_choice(const struct bdz *f, const uint32_t place[3]);

#endif
