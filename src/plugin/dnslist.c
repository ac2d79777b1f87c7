/*
 * plugin/dnslist - the functions behind <qpsmtpd/dnslist.h>
 *
 * Owns   what is a zone, what is a listing, and how many lists are awaited at once
 * Uses   the public API, base
 * Keep   one dead server does not hold up the verdict of another; a dead list lists nobody
 */
#include <qpsmtpd/dnslist.h>
#include <qpsmtpd/plugin.h>

#include "base/clock.h"
#include "base/str.h"

#define NAME_MAX_DNS 253 /* RFC 1035, 2.3.4, as text without the final dot */
#define NIBBLES      64  /* "f." for each of an IPv6 address */
#define LABEL_MAX    63
#define SLICE_MS     50 /* so long one server is awaited before the others are looked at */

/* ---- zones ---- */

static bool
label_is_good(struct str label)
{
    if (label.n == 0 || label.n > LABEL_MAX)
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
            return false;
    return true;
}

/* At least two labels, because there is no search list; the last is no number, as in an address. */
static bool
name_is_good(struct str name)
{
    struct str label = {0};
    uint64_t number;
    size_t labels = 0;

    if (name.n == 0 || name.n > NAME_MAX_DNS - NIBBLES || name.p[name.n - 1] == '.')
        return false;
    for (; name.n > 0; labels++) {
        label = str_cut(&name, '.');
        if (!label_is_good(label))
            return false;
    }
    return labels > 1 && !str_number(label, UINT64_MAX, &number);
}

static char *
lower(struct qp *q, struct str text)
{
    char *out = qp_alloc(q, QP_INSTANCE, text.n + 1);

    for (size_t i = 0; i < text.n; i++)
        out[i] = ascii_lower(text.p[i]);
    return out;
}

const struct qp_dnslist *
qp_dnslist_open(struct qp *q, const char *file, const char *between)
{
    struct qp_lines lines = qp_config_lines(q, file);
    struct qp_dnslist *list = qp_alloc(q, QP_INSTANCE, sizeof *list);
    struct qp_dnslist_zone *zone = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *zone);

    for (size_t i = 0; i < lines.n; i++) {
        const char *text = lines.line[i].text;
        struct str name = {text, strcspn(text, between)};

        text += name.n;
        if (name.n > 1 && name.p[name.n - 1] == '.')
            name.n--;
        if (!name_is_good(name)) {
            qp_fail_at(q, &lines.line[i], "\"%.*s\" is no zone: write a name like list.example.org",
                STR_ARG(name));
            return NULL;
        }
        zone[i].name = lower(q, name);
        zone[i].text = text + strspn(text, ": \t");
    }
    *list = (struct qp_dnslist){lines.n, zone};
    return list;
}

/* ---- answers ---- */

const char *
qp_dnslist_code(const struct qp_dns_answer *a)
{
    for (size_t i = 0; i < a->n; i++) {
        const uint8_t *ip = a->record[i].ip + 12;

        if (ip[0] == 127 && !(ip[1] == 255 && ip[2] == 255))
            return a->record[i].text;
    }
    return NULL;
}

const char **
qp_dnslist_start(struct qp *q, const struct qp_dnslist *list, const char *ip)
{
    const char **names = qp_alloc(q, QP_CONNECTION, (list->n + 1) * sizeof *names);

    for (size_t i = 0; i < list->n; i++) {
        names[i] = qp_dns_reverse(q, ip, list->zone[i].name);
        if (names[i] == NULL)
            return NULL;
        qp_dns_start(q, QP_DNS_A, names[i]);
    }
    return list->n > 0 ? names : NULL;
}

/* What is known by now: the first that is listed, or n; and in *open the first without an answer. */
static size_t
look(struct qp *q, const char *const names[], size_t n, const struct qp_dns_answer *answer[],
    size_t *open)
{
    *open = n;
    for (size_t i = 0; i < n; i++) {
        if (names[i] == NULL)
            continue;
        if (answer[i] == NULL)
            answer[i] = qp_dns_peek(q, QP_DNS_A, names[i]);
        if (answer[i] == NULL && *open == n)
            *open = i;
        if (answer[i] != NULL && qp_dnslist_code(answer[i]) != NULL)
            return i;
    }
    return n;
}

static void
log_failures(
    struct qp *q, const char *const names[], size_t n, const struct qp_dns_answer *const answer[])
{
    for (size_t i = 0; i < n; i++) {
        if (names[i] == NULL)
            continue;
        if (answer[i] == NULL)
            qp_log(q, QP_LOG_WARN, "no answer in time name=%s", names[i]);
        else if (answer[i]->status == QP_DNS_OK)
            qp_log(q, QP_LOG_WARN, "no listing, is the list alive? name=%s address=%s", names[i],
                answer[i]->record[0].text);
        else if (qp_dns_temporary(answer[i]->status))
            qp_log(q, QP_LOG_WARN, "no answer name=%s status=%s", names[i],
                qp_dns_status_text(answer[i]->status));
    }
}

/* A short while for one answer. false: there is no more time, here or in the hook's budget. */
static bool
await(struct qp *q, const char *name, const struct qp_dns_answer **answer, int64_t *left_ms)
{
    int64_t slice = *left_ms < SLICE_MS ? *left_ms : SLICE_MS, rest = slice;
    const struct qp_dns_answer *a = qp_dns_within(q, QP_DNS_A, name, &rest);

    *left_ms -= slice - rest;
    *answer = a->status == QP_DNS_TIMEOUT ? qp_dns_peek(q, QP_DNS_A, name) : a;
    return *answer != NULL || (rest == 0 && *left_ms > 0);
}

size_t
qp_dnslist_first(struct qp *q, const char *const names[], size_t n, int64_t *left_ms)
{
    const struct qp_dns_answer **answer = qp_alloc(q, QP_TRANSACTION, (n + 1) * sizeof *answer);
    size_t open, found;
    bool more = true;

    for (size_t i = 0; i < n; i++)
        if (names[i] != NULL)
            qp_dns_start(q, QP_DNS_A, names[i]);
    while ((found = look(q, names, n, answer, &open)) == n && open < n && more)
        more = await(q, names[open], &answer[open], left_ms);
    if (found == n)
        log_failures(q, names, n, answer);
    return found;
}

const struct qp_dns_answer *
qp_dns_within(struct qp *q, enum qp_dns_type type, const char *name, int64_t *left_ms)
{
    int64_t began = clock_ms();
    const struct qp_dns_answer *answer = qp_dns_wait(q, type, name, *left_ms);

    *left_ms -= clock_ms() - began;
    if (*left_ms < 0)
        *left_ms = 0;
    return answer;
}
