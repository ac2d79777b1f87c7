/*
 * dns_probe - a plugin for tests: "NOOP VERB ..." asks the DNS
 *
 *   get TYPE NAME [TYPE NAME ...]   one qp_dns_get() after the other, one line for each answer
 *   start TYPE NAME [...]           qp_dns_start() only
 *   peek TYPE NAME                  "open" while there is no answer
 *   wait MS TYPE NAME               qp_dns_wait()
 *   reverse ADDRESS [ZONE]          qp_dns_reverse()
 *   many N NAME                     starts A of 1.NAME ... N.NAME
 *   sleep MS                        does something else
 *
 * An answer is "STATUS NAME n=N ttl=TTL RECORD|RECORD" (MX: "10 name"); a text over 60 bytes is told by
 * its length. In connect it asks for the A of the connection's variable DNS_AT_CONNECT.
 */
#include <qpsmtpd/dns.h>
#include <qpsmtpd/plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static enum qp_dns_type
type_of(const char *word)
{
    static const struct {
        const char *name;
        enum qp_dns_type type;
    } types[] = {{"A", QP_DNS_A}, {"NS", QP_DNS_NS}, {"SOA", QP_DNS_SOA}, {"PTR", QP_DNS_PTR},
        {"MX", QP_DNS_MX}, {"TXT", QP_DNS_TXT}, {"AAAA", QP_DNS_AAAA}};

    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, word) == 0)
            return types[i].type;
    return (enum qp_dns_type)5;
}

static const char *
record_text(struct qp *q, enum qp_dns_type type, const struct qp_dns_record *r)
{
    if (type == QP_DNS_MX)
        return qp_printf(q, QP_TRANSACTION, "%d %s", r->preference, r->text);
    if (strlen(r->text) > 60)
        return qp_printf(q, QP_TRANSACTION, "%zu bytes", strlen(r->text));
    return r->text;
}

static const char *
answer_text(struct qp *q, enum qp_dns_type type, const struct qp_dns_answer *a)
{
    const char *out =
        qp_printf(q, QP_TRANSACTION, "%s %s n=%zu", qp_dns_status_text(a->status), a->name, a->n);

    if (a->n)
        out = qp_printf(q, QP_TRANSACTION, "%s ttl=%u", out, (unsigned)a->record[0].ttl);
    for (size_t i = 0; i < a->n && i < 4; i++)
        out = qp_printf(
            q, QP_TRANSACTION, "%s%c%s", out, i ? '|' : ' ', record_text(q, type, &a->record[i]));
    return out;
}

static const char *
get_all(struct qp *q, char *rest)
{
    const char *out = "";

    for (char *type = strsep(&rest, " "); type; type = strsep(&rest, " ")) {
        const char *name = strsep(&rest, " ");
        const struct qp_dns_answer *a = qp_dns_get(q, type_of(type), name);

        out = qp_printf(
            q, QP_TRANSACTION, "%s%s%s", out, *out ? "\n" : "", answer_text(q, type_of(type), a));
    }
    return out;
}

static void
start_all(struct qp *q, char *rest)
{
    for (char *type = strsep(&rest, " "); type; type = strsep(&rest, " "))
        qp_dns_start(q, type_of(type), strsep(&rest, " "));
}

static void
start_many(struct qp *q, char *rest)
{
    int n = (int)strtol(strsep(&rest, " "), NULL, 10);

    for (int i = 1; i <= n; i++)
        qp_dns_start(q, QP_DNS_A, qp_printf(q, QP_TRANSACTION, "%d.%s", i, rest));
}

static const char *
wait_for(struct qp *q, char *rest)
{
    int64_t ms = strtol(strsep(&rest, " "), NULL, 10);
    enum qp_dns_type type = type_of(strsep(&rest, " "));

    return answer_text(q, type, qp_dns_wait(q, type, rest, ms));
}

static const char *
peek(struct qp *q, char *rest)
{
    enum qp_dns_type type = type_of(strsep(&rest, " "));
    const struct qp_dns_answer *a = qp_dns_peek(q, type, rest);

    return a ? answer_text(q, type, a) : "open";
}

static const char *
reverse(struct qp *q, char *rest)
{
    const char *ip = strsep(&rest, " "), *name = qp_dns_reverse(q, ip, rest);

    return name ? name : "none";
}

static void
sleep_ms(const char *text)
{
    long ms = strtol(text, NULL, 10);

    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static enum qp_rc
on_noop(struct qp *q, const char *args)
{
    char *rest = qp_strdup(q, QP_TRANSACTION, args), *verb = strsep(&rest, " ");
    const char *out = "done";

    if (!rest)
        return QP_DECLINED;
    if (strcmp(verb, "get") == 0)
        out = get_all(q, rest);
    else if (strcmp(verb, "start") == 0)
        start_all(q, rest);
    else if (strcmp(verb, "many") == 0)
        start_many(q, rest);
    else if (strcmp(verb, "wait") == 0)
        out = wait_for(q, rest);
    else if (strcmp(verb, "peek") == 0)
        out = peek(q, rest);
    else if (strcmp(verb, "reverse") == 0)
        out = reverse(q, rest);
    else if (strcmp(verb, "sleep") == 0)
        sleep_ms(rest);
    qp_respond(q, 250, "%s", out);
    return QP_DONE;
}

static enum qp_rc
on_connect(struct qp *q)
{
    qp_dns_start(q, QP_DNS_A, qp_env(q, "DNS_AT_CONNECT"));
    return QP_DECLINED;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    (void)argc;
    (void)argv;
    return qp_dns_get(q, QP_DNS_A, "example.test")->status == QP_DNS_BUDGET;
}

QP_PLUGIN(.name = "dns_probe", .init = on_init, .connect = on_connect, .noop = on_noop);
