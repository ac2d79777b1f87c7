#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t
base64_encode(struct str in, char *out)
{
    char *start = out;

    for (size_t i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t bits = (uint32_t)(uint8_t)in.p[i] << 16;

        if (left > 1)
            bits |= (uint32_t)(uint8_t)in.p[i + 1] << 8;
        if (left > 2)
            bits |= (uint8_t)in.p[i + 2];
        *out++ = alphabet[bits >> 18];
        *out++ = alphabet[bits >> 12 & 63];
        *out++ = left > 1 ? alphabet[bits >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[bits & 63] : '=';
    }
    return (size_t)(out - start);
}

/* -1: no digit */
static int
value(char c)
{
    const char *at = c ? strchr(alphabet, c) : NULL;

    return at ? (int)(at - alphabet) : -1;
}

/* How many '=' the text ends with, as far as they can be padding. */
static size_t
padding(struct str in)
{
    size_t n = 0;

    while (n < 2 && n < in.n && in.p[in.n - 1 - n] == '=')
        n++;
    return n;
}

bool
base64_decode(struct str in, char *out, size_t *out_n)
{
    size_t digits = in.n - padding(in), written = 0;
    uint32_t bits = 0;
    int have = 0; /* how many of them are not written yet */

    if (in.n % 4 != 0)
        return false;
    for (size_t i = 0; i < digits; i++) {
        int v = value(in.p[i]);

        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[written++] = (char)(uint8_t)(bits >> have);
            bits &= (1U << have) - 1;
        }
    }
    if (bits != 0) /* the last digit has bits that belong to no byte */
        return false;
    *out_n = written;
    return true;
}
