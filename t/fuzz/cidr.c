/*
 * t/fuzz/cidr - any text as a network: what is taken for one is well-formed, holds itself, does not
 * hold its neighbour, and is read back from its canonical form
 */
#include <assert.h>
#include <stdio.h>

#include "net/cidr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_round_trip(const struct cidr *c)
{
    char text[IP_TEXT_MAX], pattern[IP_TEXT_MAX + 8];
    struct cidr again;

    ip_format(&c->net, text);
    snprintf(pattern, sizeof pattern, "%s/%d", text, c->bits - (ip_is_v4(&c->net) ? 96 : 0));
    assert(cidr_parse(str_of(pattern), &again));
    assert(again.bits == c->bits && ip_eq(&again.net, &c->net));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    struct cidr c = {.bits = 200};
    struct ip neighbour;

    if (!cidr_parse(text, &c)) {
        assert(c.bits == 200);
        return 0;
    }
    assert(c.bits <= 128);
    assert(
        c.bits > 0 || str_find(text, '/') < n); /* nobody gets everything without asking for it */
    neighbour = c.net;
    cidr_mask(&neighbour, c.bits);
    assert(ip_eq(&neighbour, &c.net));
    assert(cidr_has(&c, &c.net));
    if (c.bits > 0) {
        size_t last = c.bits - 1U;

        neighbour.b[last / 8] ^= (uint8_t)(0x80 >> last % 8);
        assert(!cidr_has(&c, &neighbour));
    }
    check_round_trip(&c);
    return 0;
}
