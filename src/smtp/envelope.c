/*
 * smtp/envelope - MAIL, RCPT, RSET
 */
#include <errno.h>
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

/* Angle brackets are added where the client left them out, unless the site wants them. A sender begins a
 * transaction, and is of it; what recipients leave in there is decided later, as nobody counts refused ones. */
static const struct qp_address *
parse_address(struct session *s, const struct side *side, const struct path *path)
{
    struct arena *a = side->sender ? s->txn_arena : s->command_arena;
    struct hook_result r = session_run_hook(s, side->pre, &(struct hook_args){.text = path->text});
    const char *text = r.rc == QP_OK && *r.text ? r.text : path->text;

    log_at(LOG_LEVEL_DEBUG, "%s email address : [%s]", side->sender ? "from" : "to", text);
    if (text[0] != '<') {
        if (s->settings.require_brackets)
            return NULL;
        text = arena_printf(s->command_arena, "<%s>", text);
    }
    return address_parse(a, str_of(text), s->context.address_rules);
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

    log_at(LOG_LEVEL_DEBUG, "full from_parameter: %s", args);
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

/* 0.0.0.0 leads to this host as well (netqmail), and so does ::. */
static bool
is_nobodys(const struct ip *ip)
{
    static const struct ip any[] = {{{[10] = 0xff, [11] = 0xff}}, {{0}}};

    return ip_eq(ip, &any[0]) || ip_eq(ip, &any[1]);
}

/* false: it cannot be told now */
static bool
find_own_address(const struct session *s, const struct ip *ip, bool *own)
{
    struct ifaddrs *list = NULL;
    struct ip other;
    int port;

    *own = is_nobodys(ip) || (ip_parse(str_of(s->conn.local_ip), &other) && ip_eq(&other, ip));
    if (*own)
        return true;
    if (getifaddrs(&list) < 0) {
        log_at(LOG_LEVEL_ERROR, "cannot list the addresses of this host: %s", strerror(errno));
        return false;
    }
    for (struct ifaddrs *i = list; i && !*own; i = i->ifa_next)
        *own = i->ifa_addr && ip_from_sockaddr(i->ifa_addr, &other, &port) && ip_eq(&other, ip);
    freeifaddrs(list);
    return true;
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

/* Mail to our own address literal is mail to localiphost (qmail's ipme). false: *reply refuses. */
static bool
replace_own_literal(struct session *s, const struct qp_address **to, struct reply *reply)
{
    const struct qp_address *a = *to;
    struct ip ip;
    bool own;

    if (!s->settings.local_host || !literal_parse(str_of(a->host), &ip))
        return true;
    if (!find_own_address(s, &ip, &own)) {
        *reply = REPLY_CLOSE(421, "4.3.0", "unable to figure out my IP addresses (#4.3.0)");
        return false;
    }
    if (own)
        *to = address_new(s->command_arena, str_of(a->user), str_of(s->settings.local_host));
    return true;
}

/* What was replaced is noted while plugins are asked, and stays noted of a recipient that is accepted. */
static bool
is_refused(struct session *s, const struct qp_address *sent, const struct qp_address *to,
    struct reply *reply)
{
    const struct str name = STR("original_recipient");
    struct map *notes = s->txn.notes;
    void *before = map_get(notes, name);
    bool refused;

    if (to != sent)
        map_set(notes, name, arena_dup(s->command_arena, str_of(sent->address)));
    refused = session_ask(s, HOOK_RCPT, &(struct hook_args){.address = to}, to->format, reply) ||
              session_ask(s, HOOK_RCPT_ACCEPTED, &(struct hook_args){.address = to}, NULL, reply);
    if (to != sent)
        map_set(notes, name, refused ? before : arena_dup(s->txn_arena, str_of(sent->address)));
    return refused;
}

struct reply
envelope_rcpt(struct session *s, const char *args)
{
    uint64_t max = s->settings.max_recipients;
    const struct qp_address *sent, *to;
    struct path path;
    struct reply reply;

    if (!parse_args(s, &rcpt_side, args, &path, &reply))
        return reply;
    sent = to = parse_address(s, &rcpt_side, &path);
    if (!to || !*to->address)
        return rcpt_side.bad_address;
    if (!replace_own_literal(s, &to, &reply) || !check_params(s, &rcpt_side, &path, &reply))
        return reply;
    if (max && s->txn.n_recipients >= max)
        return REPLY(452, "4.5.3", "too many recipients");
    if (is_refused(s, sent, to, &reply)) {
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
