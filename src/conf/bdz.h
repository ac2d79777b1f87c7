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

#define BDZ_PER_BYTE 5

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

/* ---- inline, as the calls would cost a fifth of what they do ---- */

/* bdz_rest - h % third, by two multiplications (Lemire, Kaser, Kurz 2019), as three divisions would take
 * as long as all the rest. For third 1, inverse is 0, and so is the result. */
static inline uint32_t
bdz_rest(const struct bdz *f, uint32_t h)
{
    uint64_t fraction = f->inverse * h;
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;

    return (uint32_t)((wide)fraction * f->third >> 64);
#else
    uint64_t high = (fraction >> 32) * f->third, low = (fraction & UINT32_MAX) * f->third;

    return (uint32_t)((high + (low >> 32)) >> 32);
#endif
}

#define BDZ_MIX(x, y, z, by) (x) = ((x) - (y) - (z)) ^ (by)

/* bdz_candidates - the places that a key may have; it is eight bytes, of a little-endian number. The
 * hash is lookup2 (Bob Jenkins 1996, public domain), of which all three words count */
static inline void
bdz_candidates(const struct bdz *f, uint64_t key, uint32_t place[3])
{
    uint32_t a = UINT32_C(0x9e3779b9) + (uint32_t)key;
    uint32_t b = UINT32_C(0x9e3779b9) + (uint32_t)(key >> 32);
    uint32_t c = f->seed + 8;

    BDZ_MIX(a, b, c, c >> 13);
    BDZ_MIX(b, c, a, a << 8);
    BDZ_MIX(c, a, b, b >> 13);
    BDZ_MIX(a, b, c, c >> 12);
    BDZ_MIX(b, c, a, a << 16);
    BDZ_MIX(c, a, b, b >> 5);
    BDZ_MIX(a, b, c, c >> 3);
    BDZ_MIX(b, c, a, a << 10);
    BDZ_MIX(c, a, b, b >> 15);
    place[0] = bdz_rest(f, a);
    place[1] = bdz_rest(f, b) + f->third;
    place[2] = bdz_rest(f, c) + f->third * 2;
}

/* bdz_value - modulo 3 the value of a place: its byte without the digits below */
static inline unsigned int
bdz_value(const struct bdz *f, uint32_t place)
{
    /* 65536 / 3^n, rounded up: a multiplication in the place of a division, exact for a byte */
    static const uint32_t part[BDZ_PER_BYTE] = {65536, 21846, 7282, 2428, 810};

    return f->values[place / BDZ_PER_BYTE] * part[place % BDZ_PER_BYTE] >> 16;
}

/* bdz_choice - which of its candidates a key has: 0, 1 or 2 */
static inline unsigned int
bdz_choice(const struct bdz *f, const uint32_t place[3])
{
    return (bdz_value(f, place[0]) + bdz_value(f, place[1]) + bdz_value(f, place[2])) % 3;
}

#endif
