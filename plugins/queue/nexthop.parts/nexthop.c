#include "nexthop.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <qpsmtpd/body.h>

#include "deliver.h"

/* What a line of config/plugins becomes. The part that changes is each process's own: memory is
 * copied when a child is made, and connections are opened by children only. */
struct nexthop {
    struct nexthop_conf conf;
    struct peer *peer; /* conf.hops of them */
    struct peer_libraries *libraries;
};

static void
close_all(void *data)
{
    const struct nexthop *n = data;

    for (size_t i = 0; i < n->conf.hops; i++) {
        peer_close(&n->peer[i], true);
        wire_forget(&n->peer[i].place);
    }
}

bool
nexthop_init(struct qp *q, enum nexthop_protocol protocol, int argc, const char *const argv[])
{
    struct nexthop *n = qp_alloc(q, QP_INSTANCE, sizeof *n);

    n->conf.protocol = protocol;
    if (!conf_read(q, &n->conf, argc, argv))
        return false;
    n->libraries = qp_alloc(q, QP_INSTANCE, sizeof *n->libraries);
    n->peer = qp_alloc(q, QP_INSTANCE, n->conf.hops * sizeof *n->peer);
    for (size_t i = 0; i < n->conf.hops; i++) {
        n->peer[i].hop = &n->conf.hop[i];
        n->peer[i].login = &n->conf.login[i];
        n->peer[i].wire.fd = -1;
    }
    qp_at_end(q, QP_INSTANCE, close_all, n);
    qp_instance_set(q, n);
    return true;
}

/* ---- what is known of message and client ---- */

static bool
survey_message(struct qp *q, struct text_survey *s)
{
    static const size_t block = 32768;
    char *text = qp_alloc(q, QP_TRANSACTION, block);
    uint64_t at = 0;
    ptrdiff_t n;

    while ((n = qp_message_read(q, at, text, block)) > 0) {
        text_survey(s, text, (size_t)n);
        at += (uint64_t)n;
    }
    text_survey_end(s);
    return n == 0;
}

static struct client
describe_client(struct qp *q)
{
    const char *ip = qp_remote_ip(q), *host = qp_remote_host(q), *user = qp_auth_user(q);
    struct client c = {{0}};

    if (strpbrk(ip, ".:")) /* it is a network peer, not "unknown" */
        c.value[CLIENT_ADDR] = ip;
    if (*host != '[') /* no name is known */
        c.value[CLIENT_NAME] = host;
    if (qp_remote_port(q))
        c.value[CLIENT_PORT] = qp_printf(q, QP_TRANSACTION, "%d", qp_remote_port(q));
    c.value[CLIENT_PROTO] = strcmp(qp_hello(q), "ehlo") == 0 ? "ESMTP" : "SMTP";
    c.value[CLIENT_HELO] = qp_hello_host(q);
    c.value[CLIENT_LOGIN] = user;
    c.value[CLIENT_IDENT] = qp_transaction_id(q);
    c.value[CLIENT_SOURCE] = "REMOTE";
    return c;
}

/* ---- one next hop ---- */

static void
note_success(struct qp *q, const struct peer *p)
{
    qp_log(q, QP_LOG_NOTICE,
        "forwarded next=%s recipients=%zu message=%d tls=%s cipher=%s reply=\"%d %s\"",
        p->hop->text, qp_rcpt_count(q), p->messages,
        p->wire.tls.lib ? tls_version(&p->wire.tls) : "no",
        p->wire.tls.lib ? tls_cipher(&p->wire.tls) : "-", p->result.code, p->result.text);
}

static void
note_failure(struct qp *q, const struct peer *p)
{
    static const char *const phrases[] = {[RESULT_ANSWER] = "refused",
        [RESULT_LOST] = "next hop failed",
        [RESULT_UNSURE] = "next hop failed, and may have the message"};
    const struct result *r = &p->result;

    qp_log(q, r->kind == RESULT_ANSWER ? QP_LOG_NOTICE : QP_LOG_WARN,
        "%s next=%s step=%s message=%d reply=\"%d %s\"", phrases[r->kind], p->hop->text, r->step,
        p->messages, r->code, r->text);
}

/* Gives whether the connection is still good; p->result tells the rest. */
static bool
offer(struct qp *q, const struct nexthop *n, struct peer *p, const struct text_survey *survey)
{
    const struct peer_world world = {.conf = &n->conf, .libraries = n->libraries};
    const struct client client = describe_client(q);
    bool good, reused;

    if (!peer_ready(p, &world, qp_me(q), &client))
        return false;
    reused = p->messages > 0;
    good = deliver(q, p, &n->conf, survey, &client);
    if (good || !reused || p->result.kind != RESULT_LOST)
        return good;
    /* A connection that was kept may have died meanwhile: that says nothing of the next hop. */
    qp_log(q, QP_LOG_INFO, "the kept connection has ended next=%s step=%s", p->hop->text,
        p->result.step);
    peer_close(p, false);
    return peer_ready(p, &world, qp_me(q), &client) && deliver(q, p, &n->conf, survey, &client);
}

/* Offer it, make the outcome known, keep the connection if it is worth it. */
static const struct result *
try_peer(struct qp *q, const struct nexthop *n, struct peer *p, const struct text_survey *survey,
    int64_t end)
{
    bool good;

    p->wire.end = end;
    good = offer(q, n, p, survey);
    if (p->result.kind == RESULT_ANSWER && p->result.code < 300)
        note_success(q, p);
    else
        note_failure(q, p);
    p->down_until = p->result.kind == RESULT_LOST ? qp_clock_ms() + n->conf.time.down : 0;
    p->idle_since = qp_clock_ms();
    if (!good || p->messages >= n->conf.reuse || n->conf.time.idle == 0)
        peer_close(p, good);
    return &p->result;
}

/* ---- all of them, in their order; those that have just failed come last ---- */

static const struct result *
try_all(struct qp *q, const struct nexthop *n, const struct text_survey *survey)
{
    static const struct result nothing = {.kind = RESULT_LOST, .code = 451, .step = "connect"};
    int64_t start = qp_clock_ms(), end = start + n->conf.time.total;
    const struct result *r = &nothing;
    unsigned down = 0;

    for (size_t i = 0; i < n->conf.hops; i++)
        if (n->peer[i].down_until > start)
            down |= 1U << i;
    for (unsigned last = 0; last < 2; last++)
        for (size_t i = 0; i < n->conf.hops; i++) {
            if ((down >> i & 1) != last || (r != &nothing && qp_clock_ms() >= end))
                continue;
            r = try_peer(q, n, &n->peer[i], survey, end);
            if (r->kind != RESULT_LOST)
                return r;
        }
    return r;
}

static enum qp_rc
reply_to_client(struct qp *q, const struct nexthop_conf *c, const struct result *r)
{
    const char *text = r->text;

    if (r->code < 300)
        return qp_ok(q, "Queued! %s", text);
    if (r->kind != RESULT_ANSWER)
        text = qp_printf(q, QP_TRANSACTION, "Unable to queue message (%s: %s)", r->step, r->text);
    if (c->fallback && r->code < 500 && r->kind != RESULT_UNSURE && !r->partial)
        return qp_declined(q, "%s", text);
    return qp_deny_code(q, r->code, r->enhanced, "%s", text);
}

enum qp_rc
nexthop_queue(struct qp *q)
{
    const struct nexthop *n = qp_instance(q);
    struct text_survey survey = {0};

    if (!survey_message(q, &survey)) {
        qp_log(q, QP_LOG_ERROR, "the message cannot be read: %s", strerror(errno));
        return qp_denysoft(q, "Unable to queue message (spool)");
    }
    return reply_to_client(q, &n->conf, try_all(q, n, &survey));
}
