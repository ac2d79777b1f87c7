#include "net/dns_packet.h"

#include "net/ip.h"

#define HEADER      12
#define LABEL_MAX   63
#define WIRE_MAX    255 /* of a name with its lengths and the root (RFC 1035, 2.3.4) */
#define CLASS_IN    1
#define TYPE_CNAME  5
#define TTL_LARGEST 0x7fffffffU

/* Bits of the second word of the header. */
#define FLAG_RESPONSE  0x8000
#define FLAG_OPCODE    0x7800
#define FLAG_AUTHORITY 0x0400
#define FLAG_TRUNCATED 0x0200
#define FLAG_RECURSION 0x0080
#define FLAG_RCODE     0x000f

struct packet {
    const uint8_t *p;
    size_t n;
};

/* On the wire: length, label, …, 0; lower case, so that equal names are equal bytes. */
struct name {
    uint8_t b[WIRE_MAX];
    size_t n;
};

/* A record that stands whole in the message; its data is not looked at yet. */
struct raw {
    size_t owner, data; /* offsets */
    size_t n;           /* bytes of data */
    unsigned type;
    uint32_t ttl;
};

struct section {
    struct raw raw[DNS_RECORDS_MAX];
    size_t n;
};

/* ---- numbers and names ---- */

/* The caller knows that they are there. */
static unsigned
word(const struct packet *p, size_t at)
{
    return (unsigned)p->p[at] << 8 | p->p[at + 1];
}

static bool
has(const struct packet *p, size_t at, size_t n)
{
    return at <= p->n && n <= p->n - at;
}

/*
 * Read the name at *at, and go behind it. A pointer must lead to before the piece of the name that it
 * stands in (RFC 1035, 4.1.4: "a prior occurrence"), so each jump goes further back and none is taken twice.
 */
static bool
name_read(const struct packet *p, size_t *at, struct name *out)
{
    size_t i = *at, start = *at;
    bool jumped = false;

    out->n = 0;
    for (;;) {
        size_t length;

        if (!has(p, i, 1))
            return false;
        length = p->p[i];
        if (length > LABEL_MAX) {
            size_t to;

            if ((length & 0xc0) != 0xc0 || !has(p, i, 2))
                return false;
            to = word(p, i) & 0x3fff;
            if (to >= start || to < HEADER)
                return false;
            if (!jumped)
                *at = i + 2;
            jumped = true;
            i = start = to;
            continue;
        }
        if (!has(p, i, length + 1) || length + 1 > WIRE_MAX - out->n)
            return false;
        out->b[out->n++] = (uint8_t)length;
        for (size_t k = 1; k <= length; k++)
            out->b[out->n++] = (uint8_t)ascii_lower((char)p->p[i + k]);
        i += length + 1;
        if (length == 0)
            break;
        if (out->n == WIRE_MAX)
            return false; /* no room for the root */
    }
    if (!jumped)
        *at = i;
    return true;
}

static bool
name_eq(const struct name *a, const struct name *b)
{
    return a->n == b->n && memcmp(a->b, b->b, a->n) == 0;
}

/* What dns_name_parse() let through. */
static void
name_from_text(const char *text, struct name *out)
{
    struct str rest = str_of(text);

    out->n = 0;
    while (rest.n) {
        struct str label = str_cut(&rest, '.');

        out->b[out->n++] = (uint8_t)label.n;
        memcpy(out->b + out->n, label.p, label.n);
        out->n += label.n;
    }
    out->b[out->n++] = 0;
}

static char
clean(uint8_t c)
{
    return c >= 0x20 && c < 0x7f ? (char)c : '?';
}

/* A dot inside of a label would make two of it, and blanks would make two words of the name. */
static const char *
name_text(struct arena *a, const struct name *name)
{
    char *text = arena_alloc(a, name->n), *to = text;

    for (size_t i = 0; name->b[i]; i += name->b[i] + 1U) {
        if (i)
            *to++ = '.';
        for (size_t k = 1; k <= name->b[i]; k++) {
            uint8_t c = name->b[i + k];

            *to++ = c == '.' || c == ' ' ? '?' : clean(c);
        }
    }
    *to = '\0';
    return text;
}

/* ---- sections ---- */

static bool
question_matches(
    const struct packet *p, size_t *at, enum qp_dns_type type, const struct name *asked)
{
    struct name name;

    if (word(p, 4) != 1 || !name_read(p, at, &name) || !has(p, *at, 4))
        return false;
    *at += 4;
    return word(p, *at - 4) == (unsigned)type && word(p, *at - 2) == CLASS_IN &&
           name_eq(&name, asked);
}

static bool
record_read(const struct packet *p, size_t *at, struct raw *out, bool *internet)
{
    struct name owner;
    uint32_t ttl;

    out->owner = *at;
    if (!name_read(p, at, &owner) || !has(p, *at, 10))
        return false;
    out->type = word(p, *at);
    *internet = word(p, *at + 2) == CLASS_IN;
    ttl = (uint32_t)word(p, *at + 4) << 16 | word(p, *at + 6);
    out->ttl = ttl > TTL_LARGEST ? 0 : ttl; /* RFC 2181, 8 */
    out->n = word(p, *at + 8);
    out->data = *at + 10;
    *at = out->data + out->n;
    return has(p, out->data, out->n);
}

static bool
section_read(const struct packet *p, size_t at, struct section *out)
{
    unsigned count = word(p, 6);

    out->n = 0;
    for (unsigned i = 0; i < count && i < DNS_RECORDS_MAX; i++) {
        bool internet;

        if (!record_read(p, &at, &out->raw[out->n], &internet))
            return false;
        out->n += internet;
    }
    return true;
}

/* The next record of that type and owner, from *i on; NULL: none */
static const struct raw *
section_find(const struct packet *p, const struct section *s, unsigned type,
    const struct name *owner, size_t *i)
{
    while (*i < s->n) {
        const struct raw *r = &s->raw[(*i)++];
        size_t at = r->owner;
        struct name name;

        if (r->type == type && name_read(p, &at, &name) && name_eq(&name, owner))
            return r;
    }
    return NULL;
}

/* ---- the data of records ---- */

static bool
name_record(struct arena *a, const struct packet *p, size_t at, size_t end, const char **text)
{
    struct name name;

    if (!name_read(p, &at, &name) || at != end)
        return false;
    *text = name_text(a, &name);
    return true;
}

static bool
soa_record(struct arena *a, const struct packet *p, const struct raw *r, const char **text)
{
    struct name server, person;
    size_t at = r->data;

    if (!name_read(p, &at, &server) || !name_read(p, &at, &person) || at + 20 != r->data + r->n)
        return false;
    *text = name_text(a, &server);
    return true;
}

static void
address_record(struct arena *a, const uint8_t *address, size_t n, struct qp_dns_record *out)
{
    static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};
    char *text = arena_alloc(a, IP_TEXT_MAX);
    struct ip ip;

    memcpy(ip.b, v4_mapped, sizeof v4_mapped);
    memcpy(ip.b + sizeof ip.b - n, address, n);
    ip_format(&ip, text);
    memcpy(out->ip, ip.b, sizeof ip.b);
    out->text = text;
}

static bool
text_record(struct arena *a, const struct packet *p, const struct raw *r, struct qp_dns_record *out)
{
    size_t room = r->n < QP_DNS_TEXT_MAX ? r->n : QP_DNS_TEXT_MAX, n = 0;
    char *text = arena_alloc(a, room + 1);

    out->text = text;
    for (size_t i = 0; i < r->n;) {
        size_t length = p->p[r->data + i++];

        if (length > r->n - i)
            return false;
        for (; length > 0; length--, i++) {
            uint8_t c = p->p[r->data + i];

            if (n == room || clean(c) != (char)c)
                out->altered = true;
            if (n < room)
                text[n++] = clean(c);
        }
    }
    return r->n > 0;
}

/* false: these bytes are no record of their type */
static bool
record_parse(
    struct arena *a, const struct packet *p, const struct raw *r, struct qp_dns_record *out)
{
    size_t end = r->data + r->n;

    switch ((enum qp_dns_type)r->type) {
    case QP_DNS_A:
    case QP_DNS_AAAA:
        if (r->n != (r->type == QP_DNS_A ? 4 : 16))
            return false;
        address_record(a, p->p + r->data, r->n, out);
        return true;
    case QP_DNS_MX:
        if (r->n < 3)
            return false;
        out->preference = (int)word(p, r->data);
        return name_record(a, p, r->data + 2, end, &out->text);
    case QP_DNS_NS:
    case QP_DNS_PTR:
        return name_record(a, p, r->data, end, &out->text);
    case QP_DNS_SOA:
        return soa_record(a, p, r, &out->text);
    case QP_DNS_TXT:
        return text_record(a, p, r, out);
    }
    return false;
}

/* ---- the answer ---- */

/* Stable: those of one preference stay in the order that the server has chosen. */
static void
sort_by_preference(struct qp_dns_record *record, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        struct qp_dns_record r = record[i];
        size_t k = i;

        for (; k > 0 && record[k - 1].preference > r.preference; k--)
            record[k] = record[k - 1];
        record[k] = r;
    }
}

/* Go along the CNAMEs from *name, as far as they lead. ttl: the smallest on the way */
static bool
follow_aliases(const struct packet *p, const struct section *s, enum qp_dns_type type,
    struct name *name, uint32_t *ttl)
{
    for (int steps = 0; steps <= DNS_CHAIN_MAX; steps++) {
        size_t first = 0, any = 0;
        const struct raw *alias;
        size_t at;

        if (section_find(p, s, type, name, &any))
            return true;
        alias = section_find(p, s, TYPE_CNAME, name, &first);
        if (!alias)
            return true;
        at = alias->data;
        if (!name_read(p, &at, name) || at != alias->data + alias->n)
            return false;
        if (alias->ttl < *ttl)
            *ttl = alias->ttl;
    }
    return false;
}

static enum qp_dns_status
collect(struct arena *a, const struct packet *p, const struct section *s, enum qp_dns_type type,
    const struct name *asked, struct qp_dns_answer *out)
{
    struct qp_dns_record *record = NULL;
    struct name name = *asked;
    uint32_t ttl = TTL_LARGEST;
    const struct raw *r;
    size_t n = 0;

    if (!follow_aliases(p, s, type, &name, &ttl))
        return QP_DNS_MALFORMED;
    if (!name_eq(&name, asked))
        out->name = name_text(a, &name);
    for (size_t i = 0; (r = section_find(p, s, type, &name, &i)) != NULL; n++) {
        if (!record)
            record = arena_alloc(a, s->n * sizeof *record);
        if (!record_parse(a, p, r, &record[n]))
            return QP_DNS_MALFORMED;
        record[n].ttl = r->ttl < ttl ? r->ttl : ttl;
    }
    if (n == 0)
        return QP_DNS_NODATA;
    if (type == QP_DNS_MX)
        sort_by_preference(record, n);
    out->record = record;
    out->n = n;
    return QP_DNS_OK;
}

/* The server knows nothing and will not ask others for us: the root servers answer so. */
static bool
is_referral(const struct packet *p)
{
    return word(p, 6) == 0 && !(word(p, 2) & (FLAG_AUTHORITY | FLAG_RECURSION));
}

static enum qp_dns_status
parse(struct arena *a, const struct packet *p, enum qp_dns_type type, struct qp_dns_answer *out)
{
    size_t at = HEADER;
    enum qp_dns_status status;
    struct section section;
    struct name asked;
    unsigned flags;

    if (p->n < HEADER)
        return QP_DNS_MALFORMED;
    flags = word(p, 2);
    name_from_text(out->name, &asked);
    if (!(flags & FLAG_RESPONSE) || flags & (FLAG_OPCODE | FLAG_TRUNCATED) ||
        !question_matches(p, &at, type, &asked))
        return QP_DNS_MALFORMED;
    switch (flags & FLAG_RCODE) {
    case 0:
        if (is_referral(p))
            return QP_DNS_SERVFAIL;
        break;
    case 3: /* of the last name of a chain */
        break;
    case 5:
        return QP_DNS_REFUSED;
    default: /* 1: it did not understand; 2; 4: it does not do that; others are about updates */
        return QP_DNS_SERVFAIL;
    }
    if (!section_read(p, at, &section))
        return QP_DNS_MALFORMED;
    status = collect(a, p, &section, type, &asked, out);
    return status == QP_DNS_NODATA && (flags & FLAG_RCODE) ? QP_DNS_NXDOMAIN : status;
}

/* ---- for others ---- */

bool
dns_name_parse(struct str name, char out[DNS_NAME_MAX])
{
    struct str rest;

    if (name.n && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n >= DNS_NAME_MAX || name.p[name.n - 1] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < 0x20 || name.p[i] > 0x7e)
            return false;
    for (rest = name; rest.n;) {
        struct str label = str_cut(&rest, '.');

        if (label.n == 0 || label.n > LABEL_MAX)
            return false;
    }
    for (size_t i = 0; i < name.n; i++)
        out[i] = ascii_lower(name.p[i]);
    out[name.n] = '\0';
    return true;
}

void
dns_packet_parse(struct arena *a, const uint8_t *p, size_t n, enum qp_dns_type type,
    const char *name, struct qp_dns_answer *out)
{
    *out = (struct qp_dns_answer){.name = name};
    out->status = parse(a, &(struct packet){p, n}, type, out);
}
