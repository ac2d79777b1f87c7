/*
 * uribl - are the hosts that the message links to on a block list?
 *
 *   plugins file:   uribl [option value ...]
 *     action ACTION      add-header, deny, denysoft or log: for zones without one; default add-header
 *     timeout TIME       1s..5m for all lookups of a message, default 10s
 *     checkip BOOL       look addresses in URLs up, too; default yes
 *     check-headers BOOL (or scan-headers) the header as well as the body; default no
 *   files:          uribl_zones: ZONE [MASK,...] [ACTION] [noip]; without it nothing is done
 *                   uribl_whitelist_domains: a domain a line, never looked up, nor what is below it
 *   hook data_post: for each match in turn: add-header puts X-URIBL-Match on top; deny DENY; denysoft
 *                   DENYSOFT; log a warning. Else, when the connection may ask no more questions,
 *                   DENYSOFT_DISCONNECT. Else, and for immune clients, QP_DECLINED
 *
 * Source: 1.00. As there, names count wherever they stand in the text, numeric hosts only in URLs.
 * Otherwise: MIME parts are decoded, text parts alone are read. Of a name the registered domain is
 * asked for, once, as the lists want it. An answer outside of 127.0.0.0/8, 127.0.0.1 and
 * 127.255.255.x mean trouble with the list and no match. TXT is asked for matches only. The names to
 * look up, and the text to find them in, have an end: see NAMES_MAX and TEXT_MAX.
 *
 * What a registered domain is says libpsl: its list is compiled (a text of 14,000 lines would have to
 * be parsed for each process), Debian keeps it up to date, and it is linked by this plugin only.
 */
#include <arpa/inet.h>
#include <libpsl.h>
#include <stdlib.h>
#include <string.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/dns.h>
#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

#include "uribl.parts/links.h"
#include "uribl.parts/mime.h"

#define NAMES_MAX       50        /* names and addresses of one message that are looked up */
#define TEXT_MAX        (1 << 20) /* bytes of decoded text that are searched */
#define EXPLANATION_MAX 500 /* bytes of a TXT that are shown; RFC 5322, 2.1.1 allows 998 a line */
#define NO_MASK         0x00ffffff /* 1.00's: any answer but 127.0.0.0 */

enum action { ADD_HEADER, DENY, DENYSOFT, LOG };
#define ACTIONS "add-header deny denysoft log"

struct zone {
    const char *name;
    uint32_t mask;
    int action;
    bool no_ip;
};

struct conf {
    const psl_ctx_t *suffixes;
    const struct qp_table *friends;
    struct zone *zone;
    size_t zones;
    int action;
    int64_t timeout_ms;
    bool check_ip, check_headers;
};

/* ---- configuration ---- */

static void
free_suffixes(void *suffixes)
{
    psl_free(suffixes);
}

/* "2,4,-1": all of them together */
static bool
parse_mask(const char *word, uint32_t *out)
{
    char *end;

    for (*out = 0;; word = end + 1) {
        long long n = strtoll(word, &end, strncmp(word, "0x", 2) == 0 ? 16 : 10);

        if (end == word || n > UINT32_MAX)
            return false;
        *out |= n < 0 ? NO_MASK : (uint32_t)n;
        if (*end != ',')
            return *end == '\0';
    }
}

static bool
parse_zone(struct qp *q, const struct qp_line *line, const char *text, struct zone *z)
{
    static const char *const actions[] = {"add-header", "deny", "denysoft", "log"};
    char *rest = qp_strdup(q, QP_INSTANCE, text);

    for (char *word; (word = strsep(&rest, " \t"));) {
        size_t i = 0;

        while (i < sizeof actions / sizeof *actions && strcmp(word, actions[i]) != 0)
            i++;
        if (i < sizeof actions / sizeof *actions)
            z->action = (int)i;
        else if (strcmp(word, "noip") == 0)
            z->no_ip = true;
        else if (*word && !parse_mask(word, &z->mask))
            return qp_fail_at(
                q, line, "%s: neither numbers with commas nor one of " ACTIONS " noip", word);
    }
    return true;
}

static bool
read_zones(struct qp *q, struct conf *c)
{
    struct qp_lines lines = qp_config_lines(q, "uribl_zones");
    const struct qp_dnslist *list = qp_dnslist_open(q, "uribl_zones", " \t");

    if (!list)
        return false;
    c->zone = qp_alloc(q, QP_INSTANCE, (list->n + 1) * sizeof *c->zone);
    for (; c->zones < list->n && c->zones < lines.n; c->zones++) {
        struct zone *z = &c->zone[c->zones];

        *z = (struct zone){.name = list->zone[c->zones].name, .mask = NO_MASK, .action = c->action};
        if (!parse_zone(q, &lines.line[c->zones], list->zone[c->zones].text, z))
            return false;
    }
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    psl_ctx_t *suffixes;

    c->timeout_ms = 10000;
    c->check_ip = true;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "action", .choice = &c->action, .choices = ACTIONS},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300},
                {.name = "checkip", .flag = &c->check_ip},
                {.name = "check-headers", .flag = &c->check_headers},
                {.name = "scan-headers", .flag = &c->check_headers},
                {0},
            }) ||
        !read_zones(q, c) ||
        !(c->friends = qp_table_open(q, "uribl_whitelist_domains", QP_MATCH_EXACT)))
        return false;
    suffixes = psl_latest(NULL);
    if (!suffixes)
        return qp_fail(q, "libpsl has no public suffix list");
    qp_at_end(q, QP_INSTANCE, free_suffixes, suffixes);
    c->suffixes = suffixes;
    return true;
}

/* ---- one message: which hosts? ---- */

struct host {
    const char *text; /* registered domain or address */
    bool ip;
};

struct search {
    struct qp *q;
    const struct conf *c;
    struct links links;
    struct mime mime;
    struct host host[NAMES_MAX];
    size_t hosts, hosts_max;
    bool full;   /* there were more hosts than that */
    bool unseen; /* one that might have led to more than a line of log could not be asked about */
};

/*
 * Half of what the session may ask is more than one message gets: so the first one of a connection does not
 * fail by its own hosts, again each time it comes.
 */
static size_t
hosts_max(struct qp *q, size_t zones)
{
    size_t share = qp_dns_budget(q) / 2 / zones;

    if (share < 1)
        return 1;
    return share < NAMES_MAX ? share : NAMES_MAX;
}

static bool
is_friend(const struct search *s, const char *name)
{
    for (const char *p = name; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL)
        if (qp_table_has(s->q, s->c->friends, p))
            return true;
    return false;
}

/* What is looked up of a host; NULL: nothing. */
static const char *
question(const struct search *s, const char *host, bool ip)
{
    const char *tld = strrchr(host, '.');

    if (ip)
        return s->c->check_ip ? host : NULL;
    if (!tld ||
        !psl_is_public_suffix2(s->c->suffixes, tld + 1, PSL_TYPE_ANY | PSL_TYPE_NO_STAR_RULE))
        return NULL;
    return is_friend(s, host) ? NULL : psl_registrable_domain(s->c->suffixes, host);
}

static void
on_found(void *data, const char *host, bool ip)
{
    struct search *s = data;
    const char *text = s->full ? NULL : question(s, host, ip);

    for (size_t i = 0; text && i < s->hosts; i++)
        if (strcmp(s->host[i].text, text) == 0)
            return;
    if (!text)
        return;
    if (s->hosts == s->hosts_max) {
        qp_log(s->q, QP_LOG_NOTICE, "too many hosts, the others are not looked up max=%zu",
            s->hosts_max);
        s->full = true;
        return;
    }
    s->host[s->hosts++] = (struct host){qp_strdup(s->q, QP_TRANSACTION, text), ip};
}

static void
on_text(void *data, char c)
{
    struct search *s = data;

    links_put(&s->links, c);
}

static bool
enough(const struct search *s)
{
    return s->full || s->links.seen >= TEXT_MAX;
}

static void
search_header(struct search *s)
{
    const char *name, *value;

    for (size_t i = 0; qp_header_field(s->q, i, &name, &value) && !enough(s); i++) {
        /* These two are ours, and would list us and whoever has relayed. */
        if (strcasecmp(name, "Received") == 0 || strcasecmp(name, "Authentication-Results") == 0)
            continue;
        while (*value)
            links_put(&s->links, *value++);
        links_put(&s->links, '\n');
    }
}

static void
search_body(struct search *s)
{
    static const size_t room = 32768;
    char *text = qp_alloc(s->q, QP_TRANSACTION, room);
    const char *type = qp_header_get(s->q, "Content-Type", 0);
    const char *encoding = qp_header_get(s->q, "Content-Transfer-Encoding", 0);
    uint64_t offset = 0;
    size_t n = 0;
    ptrdiff_t got;
    bool fresh = true, separator = true;

    mime_begin(&s->mime, type, encoding);
    do {
        got = qp_body_read(s->q, offset, text + n, room - n);
        n += got > 0 ? (size_t)got : 0;
        offset += got > 0 ? (uint64_t)got : 0;
        for (size_t at = 0; n > 0 && !enough(s);) {
            const char *end = memchr(text + at, '\n', n - at);
            size_t length = end ? (size_t)(end - text) + 1 - at : n - at;

            if (!end && got > 0 && n - at < room) { /* the rest of this line is still to be read */
                memmove(text, text + at, n - at);
                n -= at;
                break;
            }
            if (!separator && length > 0)
                mime_line(&s->mime, text + at, length, fresh);
            separator = false; /* the first line, empty, is not the body's */
            fresh = end != NULL;
            at += length;
            if (at == n)
                n = 0;
        }
    } while (got > 0 && !enough(s));
    links_put(&s->links, '\n');
}

/* ---- lookups ---- */

struct match {
    const struct host *host;
    const struct zone *zone;
    const char *name;    /* what was asked for */
    const char *address; /* what was answered */
};

static const char *
zone_name(struct qp *q, const struct host *h, const struct zone *z)
{
    if (h->ip)
        return z->no_ip ? NULL : qp_dns_reverse(q, h->text, z->name);
    return qp_printf(q, QP_TRANSACTION, "%s.%s", h->text, z->name);
}

/* The record that says "listed"; NULL: none does. One line of log is enough for an answer. */
static const char *
listed(struct qp *q, const struct zone *z, const struct qp_dns_answer *a)
{
    bool told = false;

    for (size_t i = 0; i < a->n; i++) {
        const uint8_t *ip = a->record[i].ip + 12;
        uint32_t address;

        memcpy(&address, ip, sizeof address);
        address = ntohl(address);
        if (ip[0] == 127 && address != INADDR_LOOPBACK && address >> 8 != 0x7fffff) {
            if (address & z->mask)
                return a->record[i].text;
        } else if (!told) {
            qp_log(q, QP_LOG_WARN, "that is no listing, ask the list why zone=%s answer=%s",
                z->name, a->record[i].text);
            told = true;
        }
    }
    return NULL;
}

/* All questions are asked before the first answer is awaited. */
static size_t
look_up(struct search *s, struct match *match, int64_t *left_ms)
{
    size_t zones = s->c->zones, matches = 0, failed = 0;
    const struct qp_dns_answer *a;
    const char **names = qp_alloc(s->q, QP_TRANSACTION, s->hosts * zones * sizeof *names);

    for (size_t i = 0; i < s->hosts * zones; i++) {
        names[i] = zone_name(s->q, &s->host[i / zones], &s->c->zone[i % zones]);
        if (names[i])
            qp_dns_start(s->q, QP_DNS_A, names[i]);
    }
    for (size_t i = 0; i < s->hosts * zones; i++) {
        const struct zone *z = &s->c->zone[i % zones];
        const char *address;

        if (!names[i])
            continue;
        a = qp_dns_within(s->q, QP_DNS_A, names[i], left_ms);
        if (qp_dns_temporary(a->status) && failed++ == 0)
            qp_log(s->q, QP_LOG_NOTICE, "lookup failed name=%s status=%s", names[i],
                qp_dns_status_text(a->status));
        s->unseen |= a->status == QP_DNS_BUDGET && z->action != LOG;
        address = listed(s->q, z, a);
        if (!address)
            continue;
        qp_dns_start(s->q, QP_DNS_TXT, names[i]);
        match[matches++] = (struct match){&s->host[i / zones], z, names[i], address};
    }
    if (failed > 1)
        qp_log(s->q, QP_LOG_NOTICE, "more lookups failed count=%zu", failed - 1);
    return matches;
}

static const char *
describe(struct qp *q, const struct match *m, int64_t *left_ms)
{
    const struct qp_dns_answer *a = qp_dns_within(q, QP_DNS_TXT, m->name, left_ms);

    return qp_printf(q, QP_TRANSACTION, "%s in %s: %.*s", m->host->text, m->zone->name,
        EXPLANATION_MAX, a->n > 0 && a->record[0].text[0] ? a->record[0].text : m->address);
}

static enum qp_rc
act(struct qp *q, const struct match *m, const char *text)
{
    qp_log(q, QP_LOG_WARN, "fail match=\"%s\"", text);
    switch (m->zone->action) {
    case DENY:
        return qp_deny(q, "%s", text);
    case DENYSOFT:
        return qp_denysoft(q, "%s", text);
    case ADD_HEADER:
        qp_header_prepend(q, "X-URIBL-Match", text);
        return QP_DECLINED;
    default:
        return QP_DECLINED;
    }
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    int64_t left_ms = c->timeout_ms;
    enum qp_rc rc = QP_DECLINED;
    struct match *match;
    struct search *s;
    size_t n;

    if (c->zones == 0 || qp_immune(q))
        return QP_DECLINED;
    s = qp_alloc(q, QP_TRANSACTION, sizeof *s);
    s->q = q;
    s->c = c;
    s->hosts_max = hosts_max(q, c->zones);
    s->links.found = on_found;
    s->mime.put = on_text;
    s->links.data = s->mime.data = s;
    if (c->check_headers)
        search_header(s);
    search_body(s);
    match = qp_alloc(q, QP_TRANSACTION, (s->hosts * c->zones + 1) * sizeof *match);
    n = look_up(s, match, &left_ms);
    qp_log(q, QP_LOG_INFO, "%s names=%zu matches=%zu", n > 0 ? "fail" : "pass", s->hosts, n);
    for (size_t i = 0; i < n && rc == QP_DECLINED; i++)
        rc = act(q, &match[i], describe(q, &match[i], &left_ms));
    if (rc == QP_DECLINED && s->unseen) /* over its next connection it is looked at */
        return qp_result(q, QP_DENYSOFT_DISCONNECT,
            "too many names were looked up for this connection, try again");
    return rc;
}

QP_PLUGIN(.name = "uribl", .init = on_init, .data_post = on_data_post);
