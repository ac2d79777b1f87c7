/*
 * count_unrecognized_commands - hang up on clients that do not speak SMTP
 *
 *   plugins file: count_unrecognized_commands [MAX] [http_abort 0|1]
 *     MAX         1 to 1000, default 4
 *     http_abort  default 1: a first command that is one of HTTP ends the connection at once
 *     other words are passed over, with a warning
 *   hook unrecognized_command: 521 and close at the MAXth unknown command; else QP_DECLINED
 *
 * r356. A browser can be made to post mail to us (its request is read as commands, most of them
 * unknown), an open proxy relays it. Stands behind plugins that implement commands of their own.
 */
#include <string.h>

#include <qpsmtpd/plugin.h>

struct conf {
    int max;
    bool http_abort;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const struct qp_arg args[] = {
        {"max", .positional = true, .number = &c->max, .min = 1, .max = 1000},
        {"http_abort", .flag = &c->http_abort},
        {0},
    };

    *c = (struct conf){.max = 4, .http_abort = true};
    qp_instance_set(q, c);
    return qp_args(q, qp_args_leading(q, argc, argv, args), argv, args);
}

static bool
is_http(const char *verb)
{
    static const char *const methods[] = {
        "get", "head", "post", "put", "delete", "connect", "options", "trace", "patch", "pri"};

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(verb, methods[i]) == 0)
            return true;
    return false;
}

static enum qp_rc
on_unrecognized_command(struct qp *q, const char *verb, const char *args)
{
    const struct conf *c = qp_instance(q);
    int n = qp_note_add(q, QP_CONNECTION, "unrec_cmd_count", 1);

    (void)args;
    if (c->http_abort && qp_command_count(q) == 1 && is_http(verb))
        return qp_deny(q, "Closing connection. This is SMTP, not HTTP.");
    if (n < c->max)
        return QP_DECLINED;
    return qp_deny(
        q, "Closing connection. %d unrecognized commands.  Perhaps you should read RFC 2821?", n);
}

QP_PLUGIN(.name = "count_unrecognized_commands", .init = on_init,
    .unrecognized_command = on_unrecognized_command);
