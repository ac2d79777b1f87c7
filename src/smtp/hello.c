/*
 * smtp/hello - HELO and EHLO
 *
 * A second one is legal and begins anew (RFC 5321, 4.1.4). The host name is not judged here:
 * plugins do.
 */
#include "base/buf.h"
#include "smtp/auth.h"
#include "smtp/command.h"
#include "smtp/starttls.h"

/* The first word behind the verb, or what a plugin understood. NULL: *reply refuses. */
static const char *
host_argument(
    struct session *s, enum hook parse, const char *args, const char *verb, struct reply *reply)
{
    struct qp_parsed parsed = {0};
    struct hook_result r =
        session_run_hook(s, parse, &(struct hook_args){.text = args, .parsed = &parsed});
    struct str rest = str_of(args);
    struct str host = r.rc == QP_OK && parsed.argument ? str_of(parsed.argument) : str_word(&rest);

    if (r.rc != QP_OK && r.rc != QP_DECLINED)
        *reply = REPLY(501, NULL, *r.text ? r.text : "Syntax error in command");
    else if (!host.n)
        *reply = REPLY(501, NULL,
            arena_printf(
                s->command_arena, "%s requires domain/address - see RFC-2821 4.1.1.1", verb));
    else
        return arena_dup(s->command_arena, host);
    return NULL;
}

/* In place of what was kept of the greeting before: a client may greet as often as it likes. */
static void
keep(struct session *s, const char *verb, const char *host)
{
    struct context *c = &s->context;
    const char **announced;

    arena_reset(s->hello_arena);
    announced = arena_alloc(s->hello_arena, c->n_capabilities * sizeof *announced);
    for (size_t i = 0; i < c->n_capabilities; i++)
        announced[i] = arena_dup(s->hello_arena, str_of(c->capabilities[i]));
    c->capabilities = announced;
    s->conn.hello = verb;
    s->conn.hello_host = arena_dup(s->hello_arena, str_of(host));
}

/* true: the greeting is accepted and noted; false: *reply refuses */
static bool
greet(struct session *s, const char *verb, enum hook parse, enum hook hook, const char *args,
    struct reply *reply)
{
    const char *host = host_argument(s, parse, args, verb, reply);
    const char **announced = s->context.capabilities;
    size_t n_announced = s->context.n_capabilities;

    if (!host)
        return false;
    s->context.n_capabilities = 0;
    if (session_ask(s, hook, &(struct hook_args){.text = host}, NULL, reply)) {
        s->context.capabilities = announced; /* the greeting before still counts */
        s->context.n_capabilities = n_announced;
        return false;
    }
    session_end_transaction(s);
    keep(s, verb, host);
    return true;
}

static const char *
hi(struct session *s)
{
    return arena_printf(
        s->command_arena, "%s Hi %s [%s]", s->settings.me, s->conn.remote_info, s->conn.remote_ip);
}

struct reply
hello_helo(struct session *s, const char *args)
{
    struct reply reply;

    if (!greet(s, "helo", HOOK_HELO_PARSE, HOOK_HELO, args, &reply))
        return reply;
    return REPLY(
        250, NULL, arena_printf(s->command_arena, "%s; I am so happy to meet you.", hi(s)));
}

struct reply
hello_ehlo(struct session *s, const char *args)
{
    uint64_t limit = s->settings.message.max_bytes;
    const char *mechanisms;
    struct reply reply;
    struct buf b;

    if (!greet(s, "ehlo", HOOK_EHLO_PARSE, HOOK_EHLO, args, &reply))
        return reply;
    buf_init(&b, s->command_arena, 8192);
    buf_puts(&b, hi(s));
    buf_puts(&b, "\nPIPELINING\n8BITMIME");
    if (limit) /* without a number it would say "no limit known": then nothing is said */
        buf_printf(&b, "\nSIZE %llu", (unsigned long long)limit);
    buf_puts(&b, "\nCHUNKING");
    if (s->settings.enhanced)
        buf_puts(&b, "\nENHANCEDSTATUSCODES");
    if (starttls_offered(s))
        buf_puts(&b, "\nSTARTTLS");
    for (size_t i = 0; i < s->context.n_capabilities; i++)
        buf_printf(&b, "\n%s", s->context.capabilities[i]);
    mechanisms = auth_offer(s);
    if (*mechanisms)
        buf_printf(&b, "\nAUTH %s", mechanisms);
    return REPLY(250, NULL, buf_text(&b));
}
