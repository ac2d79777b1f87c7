#include "smtp/command.h"

#include "base/log.h"
#include "net/proxy.h"
#include "smtp/auth.h"
#include "smtp/starttls.h"

enum need {
    NEED_NOTHING = 0,
    NEED_HELLO = 1,      /* HELO or EHLO was accepted */
    NEED_SENDER = 2,     /* MAIL was accepted */
    NEED_RECIPIENT = 4,  /* and at least one RCPT */
    NEED_NO_MESSAGE = 8, /* no BDAT sequence has begun */
    NEED_OFFER = 16,     /* EHLO has announced it; before, it is no command at all */
};

static const struct verb {
    const char *name;
    struct reply (*run)(struct session *s, const char *args);
    unsigned needs;
    struct reply without_sender;
} verbs[] = {
    {"MAIL", envelope_mail, NEED_HELLO | NEED_NO_MESSAGE, {0}},
    {"RCPT", envelope_rcpt, NEED_SENDER | NEED_NO_MESSAGE,
        REPLY_INIT(503, "5.5.1", "Use MAIL before RCPT")},
    {"DATA", receive_data, NEED_SENDER | NEED_RECIPIENT | NEED_NO_MESSAGE,
        REPLY_INIT(503, "5.5.1", "MAIL first")},
    {"BDAT", receive_bdat, NEED_NOTHING, {0}}, /* its chunk must be read whatever is answered */
    {"RSET", envelope_rset, NEED_NOTHING, {0}},
    {"QUIT", minor_quit, NEED_NOTHING, {0}},
    {"EHLO", hello_ehlo, NEED_NOTHING, {0}},
    {"HELO", hello_helo, NEED_NOTHING, {0}},
    {"AUTH", auth_auth, NEED_OFFER, {0}},
    {"STARTTLS", starttls_run, NEED_NO_MESSAGE, {0}},
    {"NOOP", minor_noop, NEED_NOTHING, {0}},
    {"VRFY", minor_vrfy, NEED_NOTHING, {0}},
    {"HELP", minor_help, NEED_NOTHING, {0}},
};

/* false, and *reply says why: something that the verb needs has not happened. */
static bool
needs_met(const struct session *s, const struct verb *v, struct reply *reply)
{
    if ((v->needs & NEED_NO_MESSAGE) && s->incoming.active)
        *reply = REPLY(503, "5.5.1", "BDAT LAST or RSET first");
    else if ((v->needs & NEED_HELLO) && !*s->conn.hello)
        *reply = REPLY(503, "5.5.1", "please say hello first ...");
    else if ((v->needs & NEED_SENDER) && !s->txn.sender)
        *reply = v->without_sender;
    else if ((v->needs & NEED_RECIPIENT) && !s->txn.n_recipients)
        *reply = REPLY(503, "5.5.1", "RCPT first");
    else
        return true;
    return false;
}

static const struct verb *
find_verb(struct str name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (str_ieq(name, str_of(verbs[i].name)))
            return &verbs[i];
    return NULL;
}

static const char *
lower(struct arena *a, struct str s)
{
    char *copy = arena_dup(a, s);

    for (char *p = copy; *p; p++)
        *p = ascii_lower(*p);
    return copy;
}

/* A line of AUTH, however wrong: what follows may be a password, and is nobody's business. */
static bool
is_auth(struct str line)
{
    return str_istarts(str_trim(line), STR("AUTH"));
}

size_t
command_line_max(const struct session *s)
{
    return s->auth.offered ? AUTH_LINE_MAX : COMMAND_LINE_MAX;
}

/* Log the line, unless it holds what must not be seen: then it is true. */
static bool
is_hidden(struct session *s, struct str line, bool known)
{
    bool auth = is_auth(line);

    s->auth.exposed = auth || (!known && s->auth.exposed);
    if (s->auth.exposed)
        log_at(LOG_LEVEL_INFO, "dispatching %s...", auth ? "AUTH " : "");
    else
        log_at(LOG_LEVEL_INFO, "dispatching %.*s", STR_ARG(line));
    return s->auth.exposed;
}

struct reply
command_run(struct session *s, struct str line)
{
    struct str rest = line,
               verb = str_cut(&rest, ' '); /* only the blank separates (core: TAB does not) */
    const struct verb *v = find_verb(verb);
    const char *args = arena_dup(s->command_arena, str_trim(rest));
    struct reply reply;
    bool hidden;

    if (line.n > COMMAND_LINE_MAX && !(v && v->run == auth_auth))
        return command_too_long(s);
    s->conn.commands++;
    hidden = is_hidden(s, line, v);
    s->context.args = hidden ? "" : args;
    if (s->conn.commands <= PROXY_LINES && proxy_begins(line))
        return minor_proxy(s);
    if (memchr(line.p, '\0', line.n))
        return minor_unrecognized(s, "", "", "Unrecognized command: it holds a NUL byte");
    if (!v || (v->needs & NEED_OFFER && !s->auth.offered))
        return minor_unrecognized(s, lower(s->command_arena, hidden && !v ? STR("") : verb),
            s->context.args, "Unrecognized command");
    return needs_met(s, v, &reply) ? v->run(s, args) : reply;
}

struct reply
command_too_long(struct session *s)
{
    s->conn.commands++;
    log_at(LOG_LEVEL_NOTICE, "line too long: more than %d bytes", COMMAND_LINE_MAX);
    s->auth.exposed = true; /* it may have been an AUTH */
    s->context.args = "";
    return minor_unrecognized(s, "", "", "Line too long");
}
