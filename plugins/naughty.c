/*
 * naughty - refuse clients about whom other plugins have complained with `reject naughty`
 *
 *   plugins file: naughty [reject connect|mail|rcpt|data|data_post] [reject_type TYPE]
 *     reject      in which hook; default rcpt. Behind the plugins that complain, before rcpt_ok
 *     reject_type perm, temp, disconnect or temp_disconnect, when the plugin that complained first has
 *                 not said; default disconnect
 *   that hook, and data_post for what came too late for it: the complaints, at most three lines, as
 *                 that type; QP_DECLINED for who may relay, and when nobody has complained
 *
 * From 1.00. So a client that would be refused at once can still authenticate before it is judged, or
 * write to nobody and never be answered at length.
 */
#include <string.h>

#include <qpsmtpd/plugin.h>

enum hook { CONNECT, MAIL, RCPT, DATA, DATA_POST };
#define HOOKS     "connect mail rcpt data data_post"
#define LINES_MAX 3

struct conf {
    int hook;
    enum qp_rc type;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){.hook = RCPT, .type = QP_DENY_DISCONNECT};
    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){{.name = "reject", .choice = &c->hook, .choices = HOOKS},
            {.name = "reject_type", .reject_type = &c->type}, {0}});
}

/* The first lines of the note. */
static const char *
complaints(struct qp *q, const char *note)
{
    char *text = qp_strdup(q, QP_TRANSACTION, note), *end = text;

    for (int lines = 0; *end && lines < LINES_MAX; lines++)
        end = strchrnul(end + (lines > 0), '\n');
    *end = '\0';
    return text;
}

static enum qp_rc
judge(struct qp *q, const struct conf *c)
{
    const char *type = qp_note(q, QP_CONNECTION, "naughty_reject_type");
    enum qp_rc rc = c->type;

    if (qp_relay_client(q) || !qp_note_true(q, QP_CONNECTION, "naughty"))
        return QP_DECLINED;
    if (type && !qp_rc_parse(type, &rc))
        qp_log(q, QP_LOG_WARN, "no result naughty_reject_type=\"%s\"", type);
    return qp_result(q, rc, "%s", complaints(q, qp_note(q, QP_CONNECTION, "naughty")));
}

static enum qp_rc
judge_in(struct qp *q, enum hook hook)
{
    const struct conf *c = qp_instance(q);

    return c->hook == (int)hook ? judge(q, c) : QP_DECLINED;
}

static enum qp_rc
on_connect(struct qp *q)
{
    return judge_in(q, CONNECT);
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    (void)sender;
    return judge_in(q, MAIL);
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    (void)to;
    return judge_in(q, RCPT);
}

static enum qp_rc
on_data(struct qp *q)
{
    return judge_in(q, DATA);
}

static enum qp_rc
on_data_post(struct qp *q)
{
    return judge(q, qp_instance(q));
}

QP_PLUGIN(.name = "naughty", .init = on_init, .connect = on_connect, .mail = on_mail,
    .rcpt = on_rcpt, .data = on_data, .data_post = on_data_post);
