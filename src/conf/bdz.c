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
    if (third == 0 || third > THIRD_MAX || ((size_t)third * 3 - 1) / BDZ_PER_BYTE >= n - HEAD)
        return false;
    *out = (struct bdz){p + HEAD, third, number_at(p + 8), UINT64_MAX / third + 1};
    return true;
}

uint32_t
bdz_places(const struct bdz *f)
{
    return f->third * 3;
}
