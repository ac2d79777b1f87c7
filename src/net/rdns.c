#include "net/rdns.h"

#include <stdio.h>

#include "base/clock.h"
#include "net/wait.h"

#define TRY_MS 1000 /* so that a second server, and the first one again, get their turn in time */

static bool
copy_name(char out[RDNS_NAME_MAX], const char *name)
{
    size_t n = strnlen(name, RDNS_NAME_MAX);

    if (n == 0 || n == RDNS_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!ascii_alnum(name[i]) && name[i] != '.' && name[i] != '-' && name[i] != '_')
            return false;
    memcpy(out, name, n + 1);
    return true;
}

bool
rdns_name(struct dns *d, const struct ip *ip, char out[RDNS_NAME_MAX])
{
    static const struct ip localhost4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}};
    const struct qp_dns_answer *answer;
    const struct dns_lookup *lookup;
    char reversed[IP_REVERSED_MAX], name[IP_REVERSED_MAX + sizeof ".in-addr.arpa"];
    int64_t deadline = clock_ms() + RDNS_MAX_MS;

    if (ip_is_loopback(ip) && (!ip_is_v4(ip) || ip_eq(ip, &localhost4)))
        return copy_name(out, "localhost");
    if (ip_is_loopback(ip) && !dns_has_servers(d))
        return false;
    ip_reverse(ip, reversed);
    snprintf(name, sizeof name, "%s.%s", reversed, ip_is_v4(ip) ? "in-addr.arpa" : "ip6.arpa");
    lookup = dns_ask(d, QP_DNS_PTR, str_of(name), TRY_MS);
    answer = wait_answer(d, lookup, deadline);
    return answer->status == QP_DNS_OK && copy_name(out, answer->record[0].text);
}
