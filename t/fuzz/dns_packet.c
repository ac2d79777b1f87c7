/* net/dns_packet: whatever the bytes are, the answer is what the header promises. The first byte of the
 * input chooses the type, the rest is the message; the question is always a.test. */
#include <assert.h>

#include "net/dns_packet.h"
#include "net/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const enum qp_dns_type types[] = {
    QP_DNS_A, QP_DNS_NS, QP_DNS_SOA, QP_DNS_PTR, QP_DNS_MX, QP_DNS_TXT, QP_DNS_AAAA};

static void
check_name(const char *name)
{
    size_t label = 0;

    assert(strlen(name) < DNS_NAME_MAX);
    for (const char *p = name; *p; p++) {
        assert(*p > 0x20 && *p < 0x7f && !(*p >= 'A' && *p <= 'Z'));
        label = *p == '.' ? 0 : label + 1;
        assert(label <= 63 && (label > 0 || p[1]));
    }
}

static void
check_record(enum qp_dns_type type, const struct qp_dns_record *r)
{
    char text[IP_TEXT_MAX];
    struct ip ip;

    assert(r->ttl <= 0x7fffffff && r->preference >= 0 && r->preference <= 65535);
    switch (type) {
    case QP_DNS_A:
    case QP_DNS_AAAA:
        memcpy(ip.b, r->ip, sizeof ip.b);
        ip_format(&ip, text);
        assert(strcmp(text, r->text) == 0 && (type == QP_DNS_AAAA || ip_is_v4(&ip)));
        break;
    case QP_DNS_TXT:
        assert(strlen(r->text) <= QP_DNS_TEXT_MAX);
        for (const char *p = r->text; *p; p++)
            assert(*p >= 0x20 && *p < 0x7f);
        break;
    case QP_DNS_NS:
    case QP_DNS_SOA:
    case QP_DNS_PTR:
    case QP_DNS_MX:
        check_name(r->text);
        break;
    }
}

static void
check_answer(enum qp_dns_type type, const struct qp_dns_answer *answer)
{
    switch (answer->status) {
    case QP_DNS_OK:
        assert(answer->n > 0 && answer->n <= DNS_RECORDS_MAX && answer->record);
        break;
    case QP_DNS_NODATA:
    case QP_DNS_NXDOMAIN:
    case QP_DNS_SERVFAIL:
    case QP_DNS_REFUSED:
    case QP_DNS_MALFORMED:
        assert(answer->n == 0);
        break;
    default:
        assert(false); /* no message can have the others */
    }
    check_name(answer->name);
    for (size_t i = 0; i < answer->n; i++) {
        check_record(type, &answer->record[i]);
        assert(i == 0 || answer->record[i - 1].preference <= answer->record[i].preference);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[DNS_NAME_MAX];
    struct qp_dns_answer answer;
    enum qp_dns_type type;
    struct arena *a;

    if (size == 0)
        return 0;
    if (dns_name_parse((struct str){(const char *)data, size}, name))
        assert(*name && strlen(name) <= size && name[strlen(name) - 1] != '.');
    type = types[data[0] % (sizeof types / sizeof *types)];
    a = arena_open("fuzz");
    dns_packet_parse(a, data + 1, size - 1, type, "a.test", &answer);
    check_answer(type, &answer);
    assert(arena_used(a) <= 65536 * 4 + 100 * 256);
    arena_close(&a);
    return 0;
}
