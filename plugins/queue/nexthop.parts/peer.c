#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PLAIN_MS    600000 /* how long `tls may` believes that TLS does not work */
#define COMMAND_MAX 2100   /* of a command: AUTH's are the longest */

/* ---- what goes wrong ---- */

bool
peer_fault(struct peer *p, const char *step, const char *enhanced, const char *why)
{
    p->result = (struct result){.kind = RESULT_LOST, .code = 451, .step = step};
    snprintf(p->result.enhanced, sizeof p->result.enhanced, "%s", enhanced);
    snprintf(p->result.text, sizeof p->result.text, "%s", why);
    return false;
}

static bool
wire_fault(struct peer *p, const char *step)
{
    return peer_fault(p, step, strcmp(step, "connect") == 0 ? "4.4.1" : "4.4.2", p->wire.why);
}

bool
peer_fault_reply(struct peer *p, const char *step)
{
    char why[REPLY_TEXT_MAX + 8];

    snprintf(why, sizeof why, "%d %s", p->reply.code, p->reply.text);
    return peer_fault(p, step, "4.4.0", why);
}

/* ---- commands and replies ---- */

bool
peer_put(struct peer *p, const char *step, const char *line, int64_t timeout_ms)
{
    return (wire_put(&p->wire, line, strlen(line), timeout_ms) &&
               wire_put(&p->wire, "\r\n", 2, timeout_ms)) ||
           wire_fault(p, step);
}

static bool
read_reply(struct peer *p, const char *step, int64_t timeout_ms, void (*line)(struct peer *p))
{
    int64_t end = qp_clock_ms() + timeout_ms;
    struct wire *w = &p->wire;
    enum reply_status status;

    reply_begin(&p->reply);
    do {
        size_t taken;

        if (!wire_read(w, end - qp_clock_ms()))
            return wire_fault(p, step);
        status = reply_feed(&p->reply, w->in + w->in_at, w->in_n - w->in_at, &taken);
        w->in_at += taken;
        if (status == REPLY_BAD)
            return peer_fault(p, step, "4.5.0", "that is no reply, or one without an end");
        if (status != REPLY_MORE && line)
            line(p);
    } while (status != REPLY_DONE);
    return true;
}

bool
peer_read(struct peer *p, const char *step, int64_t timeout_ms)
{
    return read_reply(p, step, timeout_ms, NULL);
}

/* ---- EHLO ---- */

/* Is that line about `name`? What follows it, or NULL. */
static const char *
parameters_of(const char *line, const char *name)
{
    size_t n = strlen(name);

    if (strncasecmp(line, name, n) != 0 || (line[n] != ' ' && line[n] != '='))
        return NULL;
    return line + n + 1;
}

/* One line of the answer; the first one only has a name. */
static void
note_capability(struct peer *p)
{
    static const struct {
        const char *name;
        unsigned bit;
    } flags[] = {{"PIPELINING", PEER_PIPELINING}, {"8BITMIME", PEER_8BITMIME},
        {"STARTTLS", PEER_STARTTLS}, {"SIZE", PEER_SIZE}};
    const char *line = p->reply.line, *words;

    if (p->reply.lines == 1)
        return;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcasecmp(line, flags[i].name) == 0)
            p->capabilities |= flags[i].bit;
    if ((words = parameters_of(line, "SIZE"))) {
        p->capabilities |= PEER_SIZE;
        if (strspn(words, "0123456789") <= 18)
            p->size_max = strtoull(words, NULL, 10);
    }
    if ((words = parameters_of(line, "AUTH")))
        sasl_usable(words, p->mechanisms);
    if ((words = parameters_of(line, "XCLIENT")))
        p->xclient = client_offered(words);
    if ((words = parameters_of(line, "XFORWARD")))
        p->xforward = client_offered(words);
}

static bool
say_hello(struct peer *p, const char *verb, const char *me, int64_t timeout_ms)
{
    char line[300];

    snprintf(line, sizeof line, "%s %.255s", verb, me);
    p->capabilities = p->xclient = p->xforward = 0;
    p->size_max = 0;
    p->mechanisms[0] = '\0';
    return peer_put(p, verb, line, timeout_ms) && read_reply(p, verb, timeout_ms, note_capability);
}

static bool
hello(struct peer *p, const struct nexthop_conf *c, const char *me)
{
    bool lmtp = c->protocol == NEXTHOP_LMTP;
    const char *verb = lmtp ? "LHLO" : "EHLO";

    if (!say_hello(p, verb, me, c->time.command))
        return false;
    if (p->reply.code >= 500 && !lmtp) {
        if (!say_hello(p, verb = "HELO", me, c->time.command))
            return false;
        p->capabilities = 0;
    }
    return p->reply.code == 250 || peer_fault_reply(p, verb);
}

/* ---- the beginning, STARTTLS ---- */

static bool
greet(struct peer *p, const struct nexthop_conf *c, const char *me)
{
    p->messages = 0;
    if (!wire_open(&p->wire, p->hop, &p->place, c->time.connect))
        return wire_fault(p, "connect");
    if (!peer_read(p, "greeting", c->time.greeting))
        return false;
    if (p->reply.code != 220)
        return peer_fault_reply(p, "greeting");
    return hello(p, c, me);
}

/* A socket of this machine needs none; neither does the loopback, when nobody insists. */
static bool
wants_tls(const struct peer *p, const struct nexthop_conf *c)
{
    if (c->tls == NEXTHOP_TLS_OFF || p->hop->path[0])
        return false;
    return c->tls > NEXTHOP_TLS_MAY || (p->capabilities & PEER_STARTTLS && !wire_local(&p->wire) &&
                                           qp_clock_ms() >= p->plain_until);
}

static bool
start_tls(struct peer *p, const struct peer_world *w, const char *me)
{
    const struct nexthop_conf *c = w->conf;
    const struct tls_wish wish = {.name = c->tls_name ? c->tls_name : p->hop->host,
        .verify = c->tls == NEXTHOP_TLS_VERIFY,
        .ca = c->tls_ca};
    const char *why;

    if (!(p->capabilities & PEER_STARTTLS))
        return peer_fault(p, "STARTTLS", "4.7.0", "not offered");
    if (!tls_load(&w->libraries->tls, &why))
        return peer_fault(p, "STARTTLS", "4.3.0", why);
    if (!peer_put(p, "STARTTLS", "STARTTLS", c->time.command) ||
        !peer_read(p, "STARTTLS", c->time.command))
        return false;
    if (p->reply.code != 220)
        return peer_fault_reply(p, "STARTTLS");
    if (!wire_start_tls(&p->wire, &w->libraries->tls, &wish, c->time.greeting))
        return peer_fault(p, "STARTTLS", "4.7.0", p->wire.why);
    return hello(p, c, me);
}

/* As Postfix does it: when TLS may be used and does not work, the mail goes without. */
static bool
connect_peer(struct peer *p, const struct peer_world *w, const char *me)
{
    if (!greet(p, w->conf, me))
        return false;
    if (!wants_tls(p, w->conf) || start_tls(p, w, me))
        return true;
    if (w->conf->tls != NEXTHOP_TLS_MAY)
        return false;
    p->plain_until = qp_clock_ms() + PLAIN_MS;
    wire_close(&p->wire);
    return greet(p, w->conf, me);
}

/* ---- AUTH ---- */

static bool
exchange(struct peer *p, const struct nexthop_conf *c, struct sasl_exchange *x)
{
    char line[COMMAND_MAX];

    snprintf(line, sizeof line, "AUTH %s%s%s", x->mechanism, x->has_out ? " " : "",
        !x->has_out ? ""
        : x->out[0] ? x->out
                    : "=");
    for (;;) {
        bool sent =
            peer_put(p, "AUTH", line, c->time.command) && peer_read(p, "AUTH", c->time.command);

        explicit_bzero(line, sizeof line);
        if (!sent || p->reply.code != 334)
            return sent && (p->reply.code == 235 || peer_fault_reply(p, "AUTH"));
        if (!sasl_answer(x, p->reply.line))
            return peer_fault(p, "AUTH", "4.7.0", x->why);
        snprintf(line, sizeof line, "%s", x->out);
    }
}

static bool
authenticate(struct peer *p, const struct peer_world *w)
{
    bool lmtp = w->conf->protocol == NEXTHOP_LMTP, done = false;
    struct sasl_exchange x;
    const char *why;

    if (!sasl_load(&w->libraries->sasl, &why))
        return peer_fault(p, "AUTH", "4.3.0", why);
    if (!p->mechanisms[0])
        return peer_fault(p, "AUTH", "4.7.0", "no mechanism that we know is offered");
    if (sasl_begin(&x, &w->libraries->sasl, p->login, lmtp ? "lmtp" : "smtp",
            p->hop->path[0] ? "localhost" : p->hop->host, p->mechanisms,
            p->wire.tls.lib || wire_local(&p->wire)))
        done = exchange(p, w->conf, &x);
    else
        peer_fault(p, "AUTH", "4.7.0", x.why);
    sasl_end(&x);
    /* What was sent stands in no buffer any more. */
    explicit_bzero(p->wire.out, sizeof p->wire.out);
    return done;
}

/* ---- XCLIENT ---- */

/* XCLIENT_README: our client's name from here on, if it is one. */
static const char *
name_of(const struct client *client, const char *me)
{
    const char *name = client->value[CLIENT_HELO];
    size_t n = strlen(name);

    if (n == 0 || n > 255)
        return me;
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return me;
    return name;
}

/* On a new connection. After each command the session begins anew, with a greeting. */
static bool
identify(struct peer *p, const struct nexthop_conf *c, const struct client *client, const char *me)
{
    char line[CLIENT_LINE_MAX + 1];

    p->introduced = c->xclient == NEXTHOP_XCLIENT_OFF ? 0 : p->xclient;
    if (!p->introduced)
        return c->xclient != NEXTHOP_XCLIENT_MUST ||
               peer_fault(p, "XCLIENT", "4.7.0", "not offered");
    client_lines(client, "XCLIENT", p->introduced, p->identity);
    for (const char *at = p->identity; *at;) {
        size_t n = strcspn(at, "\n");

        snprintf(line, sizeof line, "%.*s", (int)n, at);
        if (!peer_put(p, "XCLIENT", line, c->time.command) ||
            !peer_read(p, "XCLIENT", c->time.command))
            return false;
        if (p->reply.code != 220)
            return peer_fault_reply(p, "XCLIENT");
        at += n + 1;
    }
    return hello(p, c, name_of(client, me));
}

/* Postfix does not take XCLIENT twice, so another client needs another connection. */
static bool
is_same_client(const struct peer *p, const struct client *client)
{
    char text[CLIENT_TEXT_MAX];

    if (!p->introduced)
        return true;
    client_lines(client, "XCLIENT", p->introduced, text);
    return strcmp(text, p->identity) == 0;
}

/* ---- the whole ---- */

static bool
usable(struct peer *p, const struct nexthop_conf *c, const struct client *client)
{
    return p->messages > 0 && p->messages < c->reuse &&
           qp_clock_ms() - p->idle_since < c->time.idle && is_same_client(p, client) &&
           wire_quiet(&p->wire);
}

bool
peer_ready(struct peer *p, const struct peer_world *w, const char *me, const struct client *client)
{
    if (usable(p, w->conf, client))
        return true;
    peer_close(p, true);
    if (connect_peer(p, w, me) && identify(p, w->conf, client, me) &&
        (!p->login->user || authenticate(p, w)))
        return true;
    peer_close(p, false);
    return false;
}

void
peer_close(struct peer *p, bool polite)
{
    static const char quit[] = "QUIT\r\n";

    /* One write that does not wait: whether it gets there is of no importance. */
    if (polite && p->wire.fd >= 0 && wire_quiet(&p->wire))
        (void)(wire_put(&p->wire, quit, sizeof quit - 1, 0) && wire_flush(&p->wire, 0));
    wire_close(&p->wire);
    p->messages = 0;
}
