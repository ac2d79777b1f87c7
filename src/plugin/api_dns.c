/*
 * Questions to the DNS as plugins ask them: <qpsmtpd/dns.h>.
 */
#include <qpsmtpd/dns.h>
#include <qpsmtpd/plugin.h>

#include "base/clock.h"
#include "net/wait.h"
#include "plugin/instance.h"

static const struct qp_dns_answer not_asked = {.status = QP_DNS_BUDGET, .name = ""};

/* NULL: there is nobody to ask, or no session to ask for. */
static struct dns *
resolver(const struct qp *q)
{
    return q->context->conn ? q->context->host->dns : NULL;
}

static const struct dns_lookup *
ask(struct dns *d, enum qp_dns_type type, const char *name)
{
    return dns_ask(d, type, str_of(name ? name : ""), 0);
}

/* At most so long, and at most what is left of the hook's budget, which it is taken from. */
static const struct qp_dns_answer *
await(struct host *h, const struct dns_lookup *l, int64_t timeout_ms)
{
    int64_t left = h->dns_hook_timeout_ms - h->dns_waited_ms, began = clock_ms();
    const struct qp_dns_answer *answer;

    if (left > timeout_ms)
        left = timeout_ms;
    answer = wait_answer(h->dns, l, began + (left > 0 ? left : 0));
    h->dns_waited_ms += clock_ms() - began;
    return answer;
}

void
qp_dns_start(struct qp *q, enum qp_dns_type type, const char *name)
{
    struct dns *d = resolver(q);

    if (d)
        ask(d, type, name);
}

const struct qp_dns_answer *
qp_dns_wait(struct qp *q, enum qp_dns_type type, const char *name, int64_t timeout_ms)
{
    struct dns *d = resolver(q);
    const struct dns_lookup *l;

    if (!d)
        return &not_asked;
    l = ask(d, type, name);
    return dns_answer(l) ? dns_answer(l) : await(q->context->host, l, timeout_ms);
}

const struct qp_dns_answer *
qp_dns_get(struct qp *q, enum qp_dns_type type, const char *name)
{
    return qp_dns_wait(q, type, name, INT64_MAX);
}

const struct qp_dns_answer *
qp_dns_peek(struct qp *q, enum qp_dns_type type, const char *name)
{
    struct dns *d = resolver(q);
    const struct dns_lookup *l = d && name ? dns_find(d, type, str_of(name)) : NULL;

    return l ? dns_answer(l) : NULL;
}

unsigned int
qp_dns_budget(struct qp *q)
{
    struct dns *d = resolver(q);

    return d ? dns_budget(d) : 0;
}

bool
qp_dns_temporary(enum qp_dns_status status)
{
    switch (status) {
    case QP_DNS_OK:
    case QP_DNS_NODATA:
    case QP_DNS_NXDOMAIN:
    case QP_DNS_BAD_NAME:
        return false;
    case QP_DNS_SERVFAIL:
    case QP_DNS_REFUSED:
    case QP_DNS_TIMEOUT:
    case QP_DNS_MALFORMED:
    case QP_DNS_BUDGET:
        break;
    }
    return true;
}

const char *
qp_dns_status_text(enum qp_dns_status status)
{
    static const char *const texts[] = {
        [QP_DNS_OK] = "OK",
        [QP_DNS_NODATA] = "NODATA",
        [QP_DNS_NXDOMAIN] = "NXDOMAIN",
        [QP_DNS_SERVFAIL] = "SERVFAIL",
        [QP_DNS_REFUSED] = "REFUSED",
        [QP_DNS_TIMEOUT] = "TIMEOUT",
        [QP_DNS_MALFORMED] = "MALFORMED",
        [QP_DNS_BUDGET] = "BUDGET",
        [QP_DNS_BAD_NAME] = "BAD_NAME",
    };

    return (size_t)status < sizeof texts / sizeof *texts ? texts[status] : "?";
}

const char *
qp_dns_reverse(struct qp *q, const char *ip, const char *zone)
{
    char reversed[IP_REVERSED_MAX];
    struct ip address;

    if (!ip || !ip_parse(str_of(ip), &address))
        return NULL;
    if (!zone)
        zone = ip_is_v4(&address) ? "in-addr.arpa" : "ip6.arpa";
    ip_reverse(&address, reversed);
    return arena_printf(scope_arena(q, QP_CONNECTION), "%s.%s", reversed, zone);
}
