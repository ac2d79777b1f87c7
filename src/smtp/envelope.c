/*
 * smtp/envelope - MAIL, RCPT, RSET
 */
#include <ifaddrs.h>

#include "base/log.h"
#include "mail/address.h"
#include "smtp/command.h"
#include "smtp/path.h"

/* What MAIL and RCPT differ in. */
static const struct side {
    struct str keyword;
    enum hook parse, pre;
    struct reply bad_address;
    bool sender;
} mail_side = {{"FROM:", 5}, HOOK_MAIL_PARSE, HOOK_MAIL_PRE,
    REPLY_INIT(501, "5.1.7", "could not parse your mail from command"), true},
  rcpt_side = {{"TO:", 3}, HOOK_RCPT_PARSE, HOOK_RCPT_PRE,
      REPLY_INIT(501, "5.1.3", "could not parse recipient"), false};

static const struct reply bad_syntax = REPLY_INIT(501, "5.5.4", "syntax error in parameters");

/* What a plugin understood, copied: its texts may live in the transaction that MAIL will end. */
static struct path
path_of_plugin(struct arena *a, const struct qp_parsed *parsed)
{
    struct qp_param *params = arena_alloc(a, (parsed->n_params + 1) * sizeof *params);

    for (size_t i = 0; i < parsed->n_params; i++) {
        params[i].name = arena_dup(a, str_of(parsed->params[i].name));
        params[i].value = arena_dup(a, str_of(parsed->params[i].value));
    }
    return (struct path){arena_dup(a, str_of(parsed->argument)), true, params, parsed->n_params};
}

/* The path as a plugin or the engine understands it; false: *reply refuses. */
static bool
parse_args(struct session *s, const struct side *side, const char *args, struct path *path,
    struct reply *reply)
{
    struct qp_parsed parsed = {0};
    struct hook_result r =
        session_run_hook(s, side->parse, &(struct hook_args){.text = args, .parsed = &parsed});

    if (r.rc == QP_OK && parsed.argument) {
        *path = path_of_plugin(s->command_arena, &parsed);
        return true;
    }
    if (r.rc != QP_OK && r.rc != QP_DECLINED) {
        *reply = *r.text ? REPLY(501, "5.5.4", r.text) : bad_syntax;
        return false;
    }
    switch (path_parse(s->command_arena, str_of(args), side->keyword, path)) {
    case PATH_OK:
        return true;
    case PATH_BAD_ADDRESS:
        *reply = side->bad_address;
        return false;
    case PATH_SYNTAX:
    case PATH_BAD_PARAM:
        break;
    }
    *reply = bad_syntax;
    return false;
}

/* Angle brackets are added where the client left them out, unless the site wants them. */
static const struct qp_address *
parse_address(struct session *s, const struct side *side, const struct path *path)
{
    struct hook_result r = session_run_hook(s, side->pre, &(struct hook_args){.text = path->text});
    const char *text = r.rc == QP_OK && *r.text ? r.text : path->text;

    log_at(LOG_LEVEL_DEBUG, "%s email address : [%s]", side->sender ? "from" : "to", text);
    if (text[0] != '<') {
        if (s->settings.require_brackets)
            return NULL;
        text = arena_printf(s->command_arena, "<%s>", text);
    }
    return address_parse(s->txn_arena, str_of(text), s->context.address_rules);
}

/* ---- parameters ---- */

static bool
is_announced(const struct session *s, const char *name)
{
    for (size_t i = 0; i < s->context.n_capabilities; i++) {
        struct str capability = str_of(s->context.capabilities[i]);

        if (str_ieq(str_word(&capability), str_of(name)))
            return true;
    }
    return false;
}

static bool
check_size(const struct session *s, const char *value, struct reply *reply)
{
    uint64_t limit = s->settings.message.max_bytes, size;

    if (!path_size(value, &size))
        *reply = bad_syntax;
    else if (limit && size > limit)
        *reply = REPLY(552, "5.3.4", "Message too big!");
    else
        return true;
    return false;
}

static bool
check_param(
    const struct session *s, const struct side *side, const struct qp_param *p, struct reply *reply)
{
    struct str name = str_of(p->name), value = str_of(p->value);

    if (side->sender && str_eq(name, STR("SIZE")))
        return check_size(s, p->value, reply);
    if (side->sender && str_eq(name, STR("BODY"))) {
        if (str_ieq(value, STR("7BIT")) || str_ieq(value, STR("8BITMIME")))
            return true;
        *reply = bad_syntax;
        return false;
    }
    if (side->sender &&
        str_eq(name, STR("AUTH"))) /* RFC 4954, 5: who may not trust it ignores it */
        return true;
    if (is_announced(s, p->name))
        return true;
    *reply = REPLY(555, "5.5.4", "parameter not recognized");
    return false;
}

static bool
check_params(
    struct session *s, const struct side *side, const struct path *path, struct reply *reply)
{
    s->context.params = path->params;
    s->context.n_params = path->n_params;
    for (size_t i = 0; i < path->n_params; i++)
        if (!check_param(s, side, &path->params[i], reply))
            return false;
    return true;
}

/* ---- MAIL ---- */

/* What a plugin refused, in qpsmtpd's words: log tools look for them. */
static void
log_refused_sender(const struct qp_address *sender, const struct reply *reply)
{
    log_at(LOG_LEVEL_INFO, "%s mail from %s (%s)", reply->code < 500 ? "denysoft" : "deny",
        sender->format, reply->text ? reply->text : "");
}

struct reply
envelope_mail(struct session *s, const char *args)
{
    const struct qp_address *sender;
    struct path path;
    struct reply reply;

    if (!parse_args(s, &mail_side, args, &path, &reply))
        return reply;
    session_end_transaction(s); /* a second MAIL begins anew, as qmail-smtpd has it */
    sender = parse_address(s, &mail_side, &path);
    if (!sender)
        return mail_side.bad_address;
    if (!check_params(s, &mail_side, &path, &reply))
        return reply;
    if (session_ask(s, HOOK_MAIL, &(struct hook_args){.address = sender}, sender->format, &reply)) {
        log_refused_sender(sender, &reply);
        return reply;
    }
    s->txn.sender = sender;
    log_at(LOG_LEVEL_DEBUG, "getting mail from %s", sender->format);
    return REPLY(250, "2.1.0",
        arena_printf(s->command_arena, "%s, sender OK - how exciting to get mail from you!",
            sender->format));
}

/* ---- RCPT ---- */

static bool
is_own_address(const struct session *s, const struct ip *ip)
{
    struct ifaddrs *list = NULL;
    bool own = false;
    struct ip other;
    int port;

    if (ip_parse(str_of(s->conn.local_ip), &other) && ip_eq(&other, ip))
        return true;
    if (getifaddrs(&list) < 0)
        return false;
    for (struct ifaddrs *i = list; i && !own; i = i->ifa_next)
        own = i->ifa_addr && ip_from_sockaddr(i->ifa_addr, &other, &port) && ip_eq(&other, ip);
    freeifaddrs(list);
    return own;
}

/* "[192.0.2.1]" and "[IPv6:2001:db8::1]" */
static bool
literal_parse(struct str host, struct ip *out)
{
    if (host.n < 2 || host.p[0] != '[' || host.p[host.n - 1] != ']')
        return false;
    host = (struct str){host.p + 1, host.n - 2};
    if (str_istarts(host, STR("IPv6:")))
        host = str_from(host, 5);
    return ip_parse(host, out);
}

/* Mail to our own address literal is mail to localiphost (qmail's ipme). */
static const struct qp_address *
replace_own_literal(struct session *s, const struct qp_address *a)
{
    struct ip ip;

    if (!s->settings.local_host || !literal_parse(str_of(a->host), &ip) || !is_own_address(s, &ip))
        return a;
    map_set(s->txn.notes, STR("original_recipient"), arena_dup(s->txn_arena, str_of(a->address)));
    return address_new(s->txn_arena, str_of(a->user), str_of(s->settings.local_host));
}

struct reply
envelope_rcpt(struct session *s, const char *args)
{
    uint64_t max = s->settings.max_recipients;
    const struct qp_address *to;
    struct path path;
    struct reply reply;

    if (!parse_args(s, &rcpt_side, args, &path, &reply))
        return reply;
    to = parse_address(s, &rcpt_side, &path);
    if (!to || !*to->address)
        return rcpt_side.bad_address;
    to = replace_own_literal(s, to);
    if (!check_params(s, &rcpt_side, &path, &reply))
        return reply;
    if (max && s->txn.n_recipients >= max)
        return REPLY(452, "4.5.3", "too many recipients");
    if (session_ask(s, HOOK_RCPT, &(struct hook_args){.address = to}, to->format, &reply) ||
        session_ask(s, HOOK_RCPT_ACCEPTED, &(struct hook_args){.address = to}, NULL, &reply)) {
        log_at(LOG_LEVEL_DEBUG, "delivery denied (%s)", reply.text ? reply.text : "");
        return reply;
    }
    transaction_add(&s->txn, to);
    return REPLY(250, "2.1.5", arena_printf(s->command_arena, "%s, recipient ok", to->format));
}

struct reply
envelope_rset(struct session *s, const char *args)
{
    (void)args;
    session_end_transaction(s);
    return REPLY(250, "2.0.0", "OK");
}
