#include "check.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <qpsmtpd/dns.h>

#include "name.h"
#include "record.h"

/* RFC 7208, 4.6.4 */
#define TERMS_MAX 10 /* that ask the DNS */
#define VOIDS_MAX 2  /* of these, with an answer that holds nothing */
#define HOSTS_MAX 10 /* names of one MX or PTR whose addresses are asked for */

#define EXPANDED_MAX    4096 /* of a domain, before it is cut to fit a name */
#define EXPLANATION_MAX 200
#define TERM_SHOWN      200

struct check {
    struct qp *q;
    struct spf_macros macros;
    const char *ip; /* as the DNS knows it: IPv4 even where it came mapped */
    bool v4;
    int terms, voids;
    struct spf_answer answer;
};

enum match { MATCH, NO_MATCH, MATCH_TEMPERROR, MATCH_PERMERROR };

/* Is the client in that network? t tells the length of the prefix for either family. */
static bool
is_client(const struct check *c, const struct spf_term *t, const uint8_t net[16])
{
    return spf_ip_same_prefix(c->macros.ip, net, c->v4 ? 96 + t->bits4 : t->bits6);
}

/* ---- questions ---- */

static enum qp_dns_type
address_type(const struct check *c)
{
    return c->v4 ? QP_DNS_A : QP_DNS_AAAA;
}

static void
start(struct check *c, enum qp_dns_type type, const char *name)
{
    if (spf_name_labels(name) > 0)
        qp_dns_start(c->q, type, name);
}

static enum match
temperror(struct check *c, const char *name, const struct qp_dns_answer *a)
{
    c->answer.problem =
        qp_printf(c->q, QP_TRANSACTION, "%s for %s", qp_dns_status_text(a->status), name);
    return MATCH_TEMPERROR;
}

/* How much of a term is shown to people */
static size_t
quotable(struct spf_span term)
{
    return term.n < TERM_SHOWN ? term.n : TERM_SHOWN;
}

static enum match
permerror(struct check *c, const char *problem, struct spf_span term)
{
    c->answer.problem = qp_printf(c->q, QP_TRANSACTION, "%s%s%.*s", problem, term.n > 0 ? " " : "",
        (int)quotable(term), term.n > 0 ? term.p : "");
    return MATCH_PERMERROR;
}

/* The records that a term asks for. NULL: there are none, and *match says what that means. */
static const struct qp_dns_answer *
ask(struct check *c, enum qp_dns_type type, const char *name, enum match *match)
{
    const struct qp_dns_answer *a = NULL;

    if (spf_name_labels(name) > 0) {
        a = qp_dns_get(c->q, type, name);
        if (a->status == QP_DNS_OK)
            return a;
        if (qp_dns_temporary(a->status)) {
            *match = temperror(c, name, a);
            return NULL;
        }
    }
    *match = ++c->voids > VOIDS_MAX
                 ? permerror(c, "more than 2 lookups found nothing", (struct spf_span){NULL, 0})
                 : NO_MATCH;
    return NULL;
}

/* ---- the client's own name ---- */

/* Does that name lead back to the client (5.5)? Errors count as no. */
static bool
is_confirmed(struct check *c, const char *name)
{
    const struct qp_dns_answer *a = qp_dns_get(c->q, address_type(c), name);

    for (size_t i = 0; i < a->n; i++)
        if (memcmp(a->record[i].ip, c->macros.ip, 16) == 0)
            return true;
    return false;
}

static const char *
reverse_name(struct check *c)
{
    return qp_dns_reverse(c->q, c->ip, NULL);
}

static size_t
limited(size_t n)
{
    return n < HOSTS_MAX ? n : HOSTS_MAX;
}

/* %{p} (7.3): the domain itself if it is a name of the client, else one below it, else any */
static const char *
confirmed_name(struct check *c, const char *domain)
{
    const struct qp_dns_answer *names = qp_dns_get(c->q, QP_DNS_PTR, reverse_name(c));
    const char *below = NULL, *any = NULL;

    for (size_t i = 0; i < limited(names->n); i++)
        start(c, address_type(c), names->record[i].text);
    for (size_t i = 0; i < limited(names->n); i++) {
        const char *name = names->record[i].text;

        if (!is_confirmed(c, name))
            continue;
        if (strcasecmp(name, domain) == 0)
            return name;
        if (below == NULL && spf_name_is_within(name, domain))
            below = name;
        if (any == NULL)
            any = name;
    }
    return below != NULL ? below : any != NULL ? any : "unknown";
}

/* ---- the domain that a term is about ---- */

static bool
expand(struct check *c, struct spf_span text, enum spf_macro_place place, const char *domain,
    char *out, size_t room)
{
    c->macros.domain = domain;
    if (spf_macro_uses(text, 'p'))
        c->macros.validated = confirmed_name(c, domain);
    return spf_macro_expand(text, place, &c->macros, out, room);
}

/* The domain-spec written out, in the memory of the transaction; "", which no name is: too long. */
static const char *
target(struct check *c, struct spf_span spec, const char *domain)
{
    char name[EXPANDED_MAX];

    if (spec.n == 0)
        return domain;
    expand(c, spec, SPF_IN_RECORD, domain, name, sizeof name);
    return qp_strdup(c->q, QP_TRANSACTION, spf_name_fit(name));
}

/* ---- mechanisms: does the client match? ---- */

static enum match
match_a(struct check *c, const struct spf_term *t, const char *name)
{
    enum match match = NO_MATCH;
    const struct qp_dns_answer *a = ask(c, address_type(c), name, &match);

    for (size_t i = 0; a != NULL && i < a->n; i++)
        if (is_client(c, t, a->record[i].ip))
            return MATCH;
    return match;
}

static enum match
match_host(struct check *c, const struct spf_term *t, const char *name)
{
    const struct qp_dns_answer *a;

    if (spf_name_labels(name) == 0) /* null MX */
        return NO_MATCH;
    a = qp_dns_get(c->q, address_type(c), name);
    for (size_t i = 0; i < a->n; i++)
        if (is_client(c, t, a->record[i].ip))
            return MATCH;
    return qp_dns_temporary(a->status) ? temperror(c, name, a) : NO_MATCH;
}

static enum match
match_mx(struct check *c, const struct spf_term *t, const char *name)
{
    enum match match = NO_MATCH;
    const struct qp_dns_answer *mx = ask(c, QP_DNS_MX, name, &match);

    if (mx == NULL)
        return match;
    for (size_t i = 0; i < limited(mx->n); i++)
        start(c, address_type(c), mx->record[i].text);
    for (size_t i = 0; i < limited(mx->n) && match == NO_MATCH; i++)
        match = match_host(c, t, mx->record[i].text);
    if (match == NO_MATCH && mx->n > HOSTS_MAX)
        return permerror(c, "more than 10 MX for", t->text);
    return match;
}

static enum match
match_ptr(struct check *c, const struct spf_term *t, const char *domain)
{
    enum match match = NO_MATCH;
    const struct qp_dns_answer *names = ask(c, QP_DNS_PTR, reverse_name(c), &match);

    (void)t;
    if (names == NULL) /* 5.5: an error is no match either */
        return match == MATCH_TEMPERROR ? NO_MATCH : match;
    for (size_t i = 0; i < limited(names->n); i++)
        if (spf_name_is_within(names->record[i].text, domain))
            start(c, address_type(c), names->record[i].text);
    for (size_t i = 0; i < limited(names->n); i++)
        if (spf_name_is_within(names->record[i].text, domain) &&
            is_confirmed(c, names->record[i].text))
            return MATCH;
    return NO_MATCH;
}

/* A whatever the client's family is (5.7) */
static enum match
match_exists(struct check *c, const struct spf_term *t, const char *name)
{
    enum match match = NO_MATCH;

    (void)t;
    return ask(c, QP_DNS_A, name, &match) != NULL ? MATCH : match;
}

/* An address of one family is never in a network of the other, not even with /0 (5.6, 5). */
static enum match
match_ip(struct check *c, const struct spf_term *t, const char *name)
{
    (void)name;
    return c->v4 == (t->mechanism == SPF_IP4) && is_client(c, t, t->ip) ? MATCH : NO_MATCH;
}

static enum match
match_all(struct check *c, const struct spf_term *t, const char *name)
{
    (void)c;
    (void)t;
    (void)name;
    return MATCH;
}

/* include comes back to where it started */
static enum match match_include(struct check *c, const struct spf_term *t, const char *name);

static const struct {
    enum match (*match)(struct check *c, const struct spf_term *t, const char *name);
    bool asks; /* counts against TERMS_MAX */
} mechanisms[] = {
    [SPF_ALL] = {match_all, false},
    [SPF_INCLUDE] = {match_include, true},
    [SPF_A] = {match_a, true},
    [SPF_MX] = {match_mx, true},
    [SPF_PTR] = {match_ptr, true},
    [SPF_IP4] = {match_ip, false},
    [SPF_IP6] = {match_ip, false},
    [SPF_EXISTS] = {match_exists, true},
};

/* ---- records ---- */

/* Start what this term will ask for. */
static void
start_term(struct check *c, const struct spf_term *t, const char *domain)
{
    const char *name;

    if (t->mechanism == SPF_PTR) {
        start(c, QP_DNS_PTR, reverse_name(c));
        return;
    }
    if (spf_macro_uses(t->domain, 'p')) /* which would have to wait for that name */
        return;
    name = target(c, t->domain, domain);
    start(c,
        t->mechanism == SPF_INCLUDE  ? QP_DNS_TXT
        : t->mechanism == SPF_MX     ? QP_DNS_MX
        : t->mechanism == SPF_EXISTS ? QP_DNS_A
                                     : address_type(c),
        name);
}

/* One round of lookups for the whole record, up to the address that ends it anyway. */
static void
start_record(struct check *c, const struct spf_record *record, const char *domain)
{
    struct spf_span rest = record->terms;
    int terms = c->terms;
    struct spf_term t;

    while (terms < TERMS_MAX && spf_term_next(&rest, &t)) {
        if (mechanisms[t.mechanism].asks) {
            start_term(c, &t, domain);
            terms++;
        } else if (mechanisms[t.mechanism].match(c, &t, domain) == MATCH) {
            return;
        }
    }
    if (terms < TERMS_MAX && record->redirect.n > 0 && !spf_macro_uses(record->redirect, 'p'))
        start(c, QP_DNS_TXT, target(c, record->redirect, domain));
}

static const struct spf_span nothing = {NULL, 0};

/* The one SPF record among those texts (4.5). false: *result says why there is none. */
static bool
choose_record(struct check *c, const struct qp_dns_answer *a, const char *domain,
    struct spf_record *record, enum spf_result *result)
{
    const struct qp_dns_record *found = NULL;

    *result = SPF_PERMERROR;
    for (size_t i = 0; i < a->n; i++) {
        if (!spf_record_is(a->record[i].text))
            continue;
        if (found != NULL) {
            permerror(c, "two SPF records for", (struct spf_span){domain, strlen(domain)});
            return false;
        }
        found = &a->record[i];
    }
    if (found == NULL)
        *result = SPF_NONE;
    else if (found->altered) /* 3.1, and a record that was cut would say something else */
        permerror(c, "not only printable ASCII, or too long: the SPF record of",
            (struct spf_span){domain, strlen(domain)});
    else if (!spf_record_parse(found->text, record))
        permerror(c, "unknown or ill-formed:", record->wrong);
    else
        return true;
    return false;
}

static bool
fetch_record(
    struct check *c, const char *domain, struct spf_record *record, enum spf_result *result)
{
    const struct qp_dns_answer *a;

    *result = SPF_NONE;
    if (!spf_name_is_domain(domain))
        return false;
    a = qp_dns_get(c->q, QP_DNS_TXT, domain);
    if (qp_dns_temporary(a->status)) {
        temperror(c, domain, a);
        *result = SPF_TEMPERROR;
        return false;
    }
    return choose_record(c, a, domain, record, result);
}

/* One more term that asks; false: one too many */
static bool
count_term(struct check *c, struct spf_span term)
{
    if (++c->terms <= TERMS_MAX)
        return true;
    permerror(c, "more than 10 lookups, the next would be", term);
    return false;
}

static enum match
match_term(struct check *c, const struct spf_term *t, const char *domain)
{
    if (!mechanisms[t->mechanism].asks)
        return mechanisms[t->mechanism].match(c, t, domain);
    if (!count_term(c, t->text))
        return MATCH_PERMERROR;
    return mechanisms[t->mechanism].match(c, t, target(c, t->domain, domain));
}

static enum spf_result
qualified(char qualifier)
{
    switch (qualifier) {
    case '-':
        return SPF_FAIL;
    case '~':
        return SPF_SOFTFAIL;
    case '?':
        return SPF_NEUTRAL;
    default:
        return SPF_PASS;
    }
}

static void
note_mechanism(struct check *c, struct spf_span term)
{
    c->answer.mechanism =
        term.n == 0 ? "default"
                    : qp_printf(c->q, QP_TRANSACTION, "%.*s", (int)quotable(term), term.p);
}

/* true: a term has decided, *result is what it says */
static bool
run_terms(
    struct check *c, const struct spf_record *record, const char *domain, enum spf_result *result)
{
    struct spf_span rest = record->terms;
    struct spf_term t;

    start_record(c, record, domain);
    while (spf_term_next(&rest, &t)) {
        enum match match = match_term(c, &t, domain);

        if (match == NO_MATCH)
            continue;
        note_mechanism(c, t.text);
        *result = match == MATCH             ? qualified(t.qualifier)
                  : match == MATCH_TEMPERROR ? SPF_TEMPERROR
                                             : SPF_PERMERROR;
        return true;
    }
    note_mechanism(c, nothing);
    return false;
}

/* What the domain wants to be told (6.2). Whatever goes wrong, there is no explanation then. */
static void
explain(struct check *c, struct spf_span exp, const char *domain)
{
    char text[EXPLANATION_MAX + 1];
    const struct qp_dns_answer *a;
    const char *name;

    if (exp.n == 0)
        return;
    name = target(c, exp, domain);
    if (spf_name_labels(name) == 0)
        return;
    a = qp_dns_get(c->q, QP_DNS_TXT, name);
    if (a->n != 1 || a->record[0].altered)
        return;
    if (!expand(c, (struct spf_span){a->record[0].text, strlen(a->record[0].text)},
            SPF_IN_EXPLANATION, domain, text, sizeof text))
        return;
    c->answer.explainer = domain;
    c->answer.explanation = qp_strdup(c->q, QP_TRANSACTION, text);
}

/* check_host() (4). The exp= of an included record is never used, nor that of a redirecting one. */
static enum spf_result
check_host(struct check *c, const char *domain, bool included)
{
    bool redirected = false;
    struct spf_record record;
    enum spf_result result;

    while (fetch_record(c, domain, &record, &result)) {
        if (run_terms(c, &record, domain, &result)) {
            if (result == SPF_FAIL && !included)
                explain(c, record.exp, domain);
            return result;
        }
        if (record.redirect.n == 0)
            return SPF_NEUTRAL;
        if (!count_term(c, record.redirect))
            return SPF_PERMERROR;
        domain = target(c, record.redirect, domain);
        redirected = true;
    }
    if (result != SPF_NONE || !redirected)
        return result;
    permerror(c, "redirected to a domain without SPF record:", record.redirect); /* 6.1 */
    return SPF_PERMERROR;
}

/* 5.2 */
static enum match
match_include(struct check *c, const struct spf_term *t, const char *name)
{
    switch (check_host(c, name, true)) {
    case SPF_PASS:
        return MATCH;
    case SPF_TEMPERROR:
        return MATCH_TEMPERROR;
    case SPF_PERMERROR:
        return MATCH_PERMERROR;
    case SPF_NONE:
        return permerror(c, "no SPF record there:", t->text);
    case SPF_FAIL:
    case SPF_SOFTFAIL:
    case SPF_NEUTRAL:
        break;
    }
    return NO_MATCH;
}

bool
spf_is_client(const char *ip)
{
    uint8_t bytes[16];

    return spf_ip_parse(ip, bytes);
}

void
spf_start(struct qp *q, const char *domain)
{
    if (spf_name_is_domain(domain))
        qp_dns_start(q, QP_DNS_TXT, domain);
}

struct spf_answer
spf_check(struct qp *q, const struct spf_question *question)
{
    char ip[INET_ADDRSTRLEN];
    struct check c = {
        .q = q,
        .ip = question->ip,
        .macros = {.local = question->local[0] != '\0' ? question->local : "postmaster",
            .origin = question->domain,
            .domain = question->domain,
            .helo = question->helo,
            .validated = "unknown",
            .receiver = qp_me(q),
            .now = time(NULL)},
        .answer = {.mechanism = "default"},
    };

    spf_ip_parse(question->ip, c.macros.ip);
    c.v4 = spf_ip_is_v4(c.macros.ip);
    if (c.v4)
        c.ip = inet_ntop(AF_INET, c.macros.ip + 12, ip, sizeof ip);
    c.answer.result = check_host(&c, question->domain, false);
    if (c.answer.result != SPF_TEMPERROR && c.answer.result != SPF_PERMERROR)
        c.answer.problem = NULL; /* of a lookup that did not matter after all */
    return c.answer;
}
