#include "conf/bdz.h"

#include <string.h>

/*
 * The form, numbers of 32 bits in the order of the machine that wrote it: algorithm (BDZ_PH), hash
 * function (Jenkins' lookup2), its seed, a third of the places; then the values, five in a byte, the
 * first with the weight 1, the next with 3 and so on.
 */
#define ALGORITHM 6 /* CMPH_BDZ_PH */
#define JENKINS   0 /* CMPH_HASH_JENKINS */
#define HEAD      16
#define PER_BYTE  5
#define THIRD_MAX (UINT32_MAX / 3)

static uint32_t
number_at(const uint8_t *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof value);
    return value;
}

bool
bdz_parse(const uint8_t *p, size_t n, struct bdz *out)
{
    uint32_t third;

    if (n < HEAD || number_at(p) != ALGORITHM || number_at(p + 4) != JENKINS)
        return false;
    third = number_at(p + 12);
    if (third == 0 || third > THIRD_MAX || ((size_t)third * 3 - 1) / PER_BYTE >= n - HEAD)
        return false;
    *out = (struct bdz){p + HEAD, third, number_at(p + 8), UINT64_MAX / third + 1};
    return true;
}

uint32_t
bdz_places(const struct bdz *f)
{
    return f->third * 3;
}

/* h % third, by two multiplications (Lemire, Kaser, Kurz 2019), as three divisions would take as long
 * as all the rest. For third 1, inverse is 0, and so is the result. */
static uint32_t
rest_of(const struct bdz *f, uint32_t h)
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

#define MIX(x, y, z, by) (x) = ((x) - (y) - (z)) ^ (by)

/* lookup2 (Bob Jenkins 1996, public domain) for a key of eight bytes; all three of its words count */
void
bdz_candidates(const struct bdz *f, uint64_t key, uint32_t place[3])
{
    uint32_t a = UINT32_C(0x9e3779b9) + (uint32_t)key;
    uint32_t b = UINT32_C(0x9e3779b9) + (uint32_t)(key >> 32);
    uint32_t c = f->seed + 8;

    MIX(a, b, c, c >> 13);
    MIX(b, c, a, a << 8);
    MIX(c, a, b, b >> 13);
    MIX(a, b, c, c >> 12);
    MIX(b, c, a, a << 16);
    MIX(c, a, b, b >> 5);
    MIX(a, b, c, c >> 3);
    MIX(b, c, a, a << 10);
    MIX(c, a, b, b >> 15);
    place[0] = rest_of(f, a);
    place[1] = rest_of(f, b) + f->third;
    place[2] = rest_of(f, c) + f->third * 2;
}

static unsigned int
value_of(const struct bdz *f, uint32_t place)
{
    /* 65536 / 3^n, rounded up: a multiplication in the place of a division, exact for a byte */
    static const uint32_t part[PER_BYTE] = {65536, 21846, 7282, 2428, 810};

    return (f->values[place / PER_BYTE] * part[place % PER_BYTE] >> 16) % 3;
}

unsigned int
bdz_choice(const struct bdz *f, const uint32_t place[3])
{
    return (value_of(f, place[0]) + value_of(f, place[1]) + value_of(f, place[2])) % 3;
}
