/*
 * smtp/minor - NOOP, HELP, VRFY, QUIT, and what is no command at all, a proxy's header too
 */
#include "base/log.h"
#include "smtp/command.h"

struct reply
minor_noop(struct session *s, const char *args)
{
    struct reply reply;

    if (session_ask(s, HOOK_NOOP, &(struct hook_args){.text = args}, NULL, &reply))
        return reply;
    return REPLY(250, "2.0.0", "OK");
}

struct reply
minor_help(struct session *s, const char *args)
{
    struct hook_result r = session_run_hook(s, HOOK_HELP, &(struct hook_args){.text = args});
    struct reply reply;

    if (outcome_reply(HOOK_HELP, &r, s->command_arena, NULL, &reply))
        return reply;
    if (*r.text)
        return REPLY(214, "2.0.0", r.text);
    return REPLY(214, "2.0.0",
        s->settings.greeting ? "This is qpsmtpd\nSee https://smtpd.github.io/qpsmtpd/"
                             : "This is qpsmtpd " QPSMTPD_VERSION
                               "\nSee https://smtpd.github.io/qpsmtpd/");
}

struct reply
minor_vrfy(struct session *s, const char *args)
{
    struct reply reply;

    if (session_ask(s, HOOK_VRFY, &(struct hook_args){.text = args}, NULL, &reply))
        return reply;
    return REPLY(252, "2.1.5", "Just try sending a mail and we'll see how it turns out ...");
}

struct reply
minor_quit(struct session *s, const char *args)
{
    struct hook_result r = session_run_hook(s, HOOK_QUIT, NULL);

    (void)args;
    s->end = SESSION_QUIT;
    s->said_quit = true;
    if (r.rc == QP_DONE)
        return (struct reply){.more = r.replies, .close = true};
    return REPLY_CLOSE(221, "2.0.0",
        *r.text ? r.text
                : arena_printf(s->command_arena, "%s closing connection. Have a wonderful day.",
                      s->settings.me));
}

struct reply
minor_proxy(struct session *s)
{
    log_at(
        LOG_LEVEL_WARN, "proxy refused: ip=%s reason=not listed in proxy_from", s->conn.remote_ip);
    return REPLY_CLOSE(554, "5.7.1", "PROXY is not accepted from this address");
}

struct reply
minor_unrecognized(struct session *s, const char *verb, const char *args, const char *text)
{
    struct reply reply;

    if (session_ask(s, HOOK_UNRECOGNIZED_COMMAND, &(struct hook_args){.text = verb, .rest = args},
            NULL, &reply))
        return reply;
    return REPLY(500, "5.5.2", text);
}
