#include "net/dns.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/map.h"
#include "net/dns_packet.h"

#define RCODE_FORMERR 1
#define RCODE_NOTIMP  4
#define KEY_MAX       (DNS_NAME_MAX + 1)

struct dns_lookup {
    struct dns *dns;
    struct dns_lookup *next; /* in the list of open ones */
    enum qp_dns_type type;
    char name[DNS_NAME_MAX];
    bool done;
    struct qp_dns_answer answer; /* when done */
    struct qp_dns_answer late;
    enum qp_dns_status failure; /* what a server has answered instead of an answer */
    int64_t try_ms;
    int64_t try_end;  /* clock_ms() */
    bool hurry;       /* a server has failed: do not wait for the end of the try */
    unsigned sent;    /* tries so far */
    unsigned waiting; /* of these not over yet */
    unsigned server;  /* asked last */
    unsigned out;     /* bits of the servers that have failed */
};

/* One try of one question. */
struct attempt {
    struct dns_request request; /* first: it is what comes back */
    struct dns_lookup *lookup;
    unsigned server;
};

struct dns {
    struct arena *process;
    struct arena *session;
    struct dns_options options;
    struct dns_channel channel[DNS_SERVERS_MAX];
    unsigned n_servers;  /* 0: not known yet */
    unsigned first;      /* the one to begin with: the last that was not silent */
    struct map *lookups; /* of this session; NULL: none */
    unsigned asked;
    struct dns_lookup *open;
};

static const struct dns_lookup bad_name = {
    .done = true, .answer = {.status = QP_DNS_BAD_NAME, .name = ""}};
static const struct dns_lookup over_budget = {
    .done = true, .answer = {.status = QP_DNS_BUDGET, .name = ""}};

/* ---- one question ---- */

static void
finish(struct dns_lookup *l, enum qp_dns_status status)
{
    l->done = true;
    l->answer.status = status;
}

/* That server is of no use for this question. */
static void
note_trouble(struct dns_lookup *l, unsigned server, enum qp_dns_status status)
{
    l->out |= 1U << server;
    l->hurry = true;
    if (l->failure == QP_DNS_TIMEOUT)
        l->failure = status; /* the first one: the later are seldom wiser */
}

/*
 * A server has answered that it cannot. One that does not know EDNS0 says FORMERR or NOTIMP: the next try is
 * without (dns_channel_ask), also for the questions that were under way with it, so it is not out.
 */
static void
note_refusal(struct dns_lookup *l, unsigned server, enum qp_dns_status status, unsigned rcode)
{
    note_trouble(l, server, status);
    if (rcode == RCODE_FORMERR || rcode == RCODE_NOTIMP)
        l->out &= ~(1U << server);
}

static void
read_message(struct dns_lookup *l, unsigned server, const uint8_t *message, size_t n)
{
    struct qp_dns_answer answer;

    dns_packet_parse(l->dns->session, message, n, l->type, l->name, &answer);
    switch (answer.status) {
    case QP_DNS_OK:
    case QP_DNS_NODATA:
    case QP_DNS_NXDOMAIN:
        l->answer = answer;
        l->done = true;
        break;
    default:
        note_refusal(l, server, answer.status, n > 3 ? message[3] & 15U : 0);
        break;
    }
}

/* Nothing is sent from here, and nothing leaves the list of open ones: settle() does both. */
static void
on_reply(struct dns_request *r, enum dns_reply what, const uint8_t *message, size_t n)
{
    struct attempt *attempt = (struct attempt *)r;
    struct dns_lookup *l = attempt->lookup;

    l->waiting--;
    if (l->done)
        return;
    switch (what) {
    case DNS_REPLY_MESSAGE:
        read_message(l, attempt->server, message, n);
        break;
    case DNS_REPLY_NO_NAME:
        finish(l, QP_DNS_NXDOMAIN);
        break;
    case DNS_REPLY_UNREACHABLE:
        note_trouble(l, attempt->server, QP_DNS_TIMEOUT);
        break;
    case DNS_REPLY_SILENCE:
    case DNS_REPLY_DROPPED:
        break;
    }
}

/* The channel's own timeout only ends what settle() has given up before. */
static void
send_to(struct dns_lookup *l, unsigned server, int64_t now)
{
    struct dns *d = l->dns;
    struct attempt *attempt = arena_alloc(d->session, sizeof *attempt);

    *attempt = (struct attempt){{.reply = on_reply}, l, server};
    l->sent++;
    l->waiting++;
    l->server = server;
    l->try_end = now + l->try_ms;
    l->hurry = false;
    dns_channel_ask(&d->channel[server], l->type, l->name, &attempt->request,
        d->options.timeout_ms * d->options.tries * d->n_servers);
}

/* The next server that has not failed yet; n_servers: none is left */
static unsigned
next_server(const struct dns_lookup *l)
{
    const struct dns *d = l->dns;
    unsigned start = l->sent ? l->server + 1 : d->first;

    for (unsigned i = 0; i < d->n_servers; i++) {
        unsigned server = (start + i) % d->n_servers;

        if (!(l->out & 1U << server))
            return server;
    }
    return d->n_servers;
}

static bool
is_due(const struct dns_lookup *l, int64_t now)
{
    return l->hurry || l->sent == 0 || now >= l->try_end;
}

/* The try is over without an answer: ask somebody else, or give up. */
static void
advance(struct dns_lookup *l, int64_t now)
{
    struct dns *d = l->dns;
    unsigned server = next_server(l);

    if (l->sent == 1 && l->failure == QP_DNS_TIMEOUT && d->first == l->server)
        d->first = (d->first + 1) % d->n_servers; /* it was silent */
    if (server == d->n_servers)
        finish(l, l->failure);
    else if (l->sent < d->options.tries * d->n_servers)
        send_to(l, server, now);
    else if (now >= l->try_end || l->waiting == 0)
        finish(l, l->failure);
    else
        l->hurry = false; /* the last one may still answer */
}

/* Take every step that is due. A step of one question may end others: those on the same channel. */
static void
settle(struct dns *d, int64_t now)
{
    bool again;

    do {
        again = false;
        for (struct dns_lookup **p = &d->open; *p;) {
            struct dns_lookup *l = *p;

            if (!l->done && is_due(l, now)) {
                advance(l, now);
                again = true;
            }
            if (l->done)
                *p = l->next;
            else
                p = &l->next;
        }
    } while (again);
}

/* ---- sessions ---- */

static void
servers_set(struct dns *d, const struct dns_server *server, size_t n)
{
    d->n_servers = (unsigned)n;
    for (size_t i = 0; i < n; i++)
        d->channel[i] = (struct dns_channel){.server = server[i]};
}

/* The type in front, as one byte. */
static struct str
key_of(enum qp_dns_type type, const char *name, char key[KEY_MAX])
{
    size_t n = strlen(name);

    key[0] = (char)type;
    memcpy(key + 1, name, n + 1);
    return (struct str){key, n + 1};
}

static bool
is_type(enum qp_dns_type type)
{
    switch (type) {
    case QP_DNS_A:
    case QP_DNS_NS:
    case QP_DNS_SOA:
    case QP_DNS_PTR:
    case QP_DNS_MX:
    case QP_DNS_TXT:
    case QP_DNS_AAAA:
        return true;
    }
    return false;
}

static struct dns_lookup *
lookup_new(struct dns *d, enum qp_dns_type type, const char *name, int64_t hurry_ms)
{
    struct dns_lookup *l = arena_alloc(d->session, sizeof *l);

    *l = (struct dns_lookup){.dns = d, .type = type, .failure = QP_DNS_TIMEOUT};
    memcpy(l->name, name, strlen(name) + 1);
    l->answer.name = l->late.name = l->name;
    l->late.status = QP_DNS_TIMEOUT;
    l->try_ms = d->options.timeout_ms;
    if (hurry_ms > 0 && hurry_ms < l->try_ms)
        l->try_ms = hurry_ms;
    return l;
}

enum payer { BUDGET, NOBODY };

static const struct dns_lookup *
ask(struct dns *d, enum qp_dns_type type, struct str name, int64_t hurry_ms, enum payer payer)
{
    char plain[DNS_NAME_MAX], key[KEY_MAX];
    struct dns_lookup *l;

    if (!is_type(type) || !dns_name_parse(name, plain))
        return &bad_name;
    if (!d->lookups)
        d->lookups = map_new(d->session);
    l = map_get(d->lookups, key_of(type, plain, key));
    if (l)
        return l;
    if (payer == BUDGET && d->asked >= d->options.queries_max)
        return &over_budget;
    d->asked += payer == BUDGET;
    if (!d->n_servers) {
        struct dns_server found[DNS_SERVERS_MAX] = {{.port = 0}};

        servers_set(d, found, dns_servers_find(found, DNS_SERVERS_MAX));
    }
    l = lookup_new(d, type, plain, hurry_ms);
    map_set(d->lookups, key_of(type, plain, key), l);
    l->next = d->open;
    d->open = l;
    settle(d, clock_ms());
    return l;
}

const struct dns_lookup *
dns_ask(struct dns *d, enum qp_dns_type type, struct str name, int64_t hurry_ms)
{
    return ask(d, type, name, hurry_ms, BUDGET);
}

const struct dns_lookup *
dns_ask_freely(struct dns *d, enum qp_dns_type type, struct str name)
{
    return ask(d, type, name, 0, NOBODY);
}

const struct dns_lookup *
dns_find(const struct dns *d, enum qp_dns_type type, struct str name)
{
    char plain[DNS_NAME_MAX], key[KEY_MAX];

    if (!d->lookups || !dns_name_parse(name, plain))
        return NULL;
    return map_get(d->lookups, key_of(type, plain, key));
}

const struct qp_dns_answer *
dns_answer(const struct dns_lookup *l)
{
    return l->done ? &l->answer : NULL;
}

const struct qp_dns_answer *
dns_late(const struct dns_lookup *l)
{
    return &l->late;
}

unsigned
dns_budget(const struct dns *d)
{
    return d->options.queries_max;
}

bool
dns_has_servers(const struct dns *d)
{
    return d->options.n_servers > 0;
}

void
dns_end(struct dns *d)
{
    if (!d || !d->lookups)
        return;
    for (unsigned i = 0; i < d->n_servers; i++)
        dns_channel_end(&d->channel[i]);
    d->lookups = NULL;
    d->open = NULL;
    d->asked = 0;
    arena_reset(d->session);
}

struct dns *
dns_open(const struct dns_options *options)
{
    struct arena *a = arena_open("resolver");
    struct dns *d = arena_alloc(a, sizeof *d);

    d->process = a;
    d->session = arena_open("dns");
    d->options = *options;
    servers_set(d, options->server, options->n_servers);
    return d;
}

void
dns_close(struct dns **d)
{
    struct arena *process, *session;

    if (!*d)
        return;
    dns_end(*d);
    for (unsigned i = 0; i < (*d)->n_servers; i++)
        dns_channel_close(&(*d)->channel[i]);
    process = (*d)->process;
    session = (*d)->session;
    *d = NULL;
    arena_close(&session);
    arena_close(&process);
}

/* ---- waiting ---- */

bool
dns_busy(const struct dns *d)
{
    return d && d->open;
}

nfds_t
dns_poll_set(const struct dns *d, struct pollfd set[DNS_POLL_MAX])
{
    nfds_t n = 0;

    for (unsigned i = 0; i < d->n_servers; i++)
        n += dns_channel_poll_set(&d->channel[i], set + n, DNS_POLL_MAX - n);
    return n;
}

int64_t
dns_next(const struct dns *d)
{
    int64_t next = CLOCK_NEVER;

    for (const struct dns_lookup *l = d->open; l; l = l->next)
        if (l->try_end < next)
            next = l->try_end;
    return next;
}

void
dns_process(struct dns *d, const struct pollfd *set, nfds_t n)
{
    for (nfds_t i = 0; i < n; i++)
        for (unsigned k = 0; set[i].revents && k < d->n_servers; k++)
            dns_channel_process(&d->channel[k], &set[i]);
    settle(d, clock_ms());
}
