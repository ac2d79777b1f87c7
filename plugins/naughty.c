/*
 * naughty - refuse clients about whom other plugins have complained with `reject naughty`
 *
 *   plugins file: naughty [reject connect|mail|rcpt|data|data_post] [reject_type TYPE]
 *     reject      in which hook; default rcpt. Behind the plugins that complain, before rcpt_ok.
 *                 hook_queue_post of 1.00 is data_post: behind it the message is accepted
 *     reject_type perm, temp, disconnect or temp_disconnect, when the plugin that complained first has
 *                 not said, and has no temporary reason; default disconnect
 *   that hook, and data_post for what came too late for it: the complaints, at most three lines, as
 *                 that type; QP_DECLINED for who may relay, and when nobody has complained
 *                 Not for postmaster, abuse, mailer-daemon, root: of a message to them alone only what is
 *                 said of that message counts
 *
 * From 1.00. So a client that would be refused at once can still authenticate before it is judged, or
 * write to nobody and never be answered at length.
 */
#include <string.h>

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/special.h>

enum hook { CONNECT, MAIL, RCPT, DATA, DATA_POST };
#define HOOKS     "connect mail rcpt data data_post queue_post hook_queue_post"
#define LINES_MAX 3

struct conf {
    int hook;
    enum qp_rc type;
};

/* Of a transaction. */
struct state {
    size_t forgiven; /* bytes of the note, that were there before a message to special ones alone */
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){.hook = RCPT, .type = QP_DENY_DISCONNECT};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "reject", .choice = &c->hook, .choices = HOOKS},
                {.name = "reject_type", .reject_type = &c->type}, {0}}))
        return false;
    if (c->hook > DATA_POST) {
        qp_log(q, QP_LOG_WARN, "reject queue_post comes too late: data_post is used");
        c->hook = DATA_POST;
    }
    return true;
}

/* The first lines of the note. */
static const char *
complaints(struct qp *q, const char *note)
{
    char *text = qp_strdup(q, QP_TRANSACTION, note + strspn(note, "\n")), *end = text;

    for (int lines = 0; *end && lines < LINES_MAX; lines++)
        end = strchrnul(end + (lines > 0), '\n');
    *end = '\0';
    return text;
}

/* Not the first bytes of the note, which are forgiven. */
static enum qp_rc
judge(struct qp *q, const struct conf *c, size_t forgiven)
{
    const char *note = qp_note(q, QP_CONNECTION, "naughty");
    const char *type = qp_note(q, QP_CONNECTION, "naughty_reject_type");
    enum qp_rc rc = c->type;

    if (qp_relay_client(q) || !qp_note_true(q, QP_CONNECTION, "naughty") ||
        strlen(note) <= forgiven)
        return QP_DECLINED;
    if (type && !qp_rc_parse(type, &rc))
        qp_log(q, QP_LOG_WARN, "no result naughty_reject_type=\"%s\"", type);
    /* Who has complained has asked these; nothing is refused for good while the lists cannot be read. */
    (void)(qp_immune(q) || qp_immune_hello(q));
    return qp_result(q, rc, "%s", complaints(q, note + forgiven));
}

static enum qp_rc
judge_in(struct qp *q, enum hook hook)
{
    const struct conf *c = qp_instance(q);

    return c->hook == (int)hook ? judge(q, c, 0) : QP_DECLINED;
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
    return qp_special(to) ? QP_DECLINED : judge_in(q, RCPT);
}

static bool
all_special(struct qp *q)
{
    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        if (!qp_special(qp_rcpt(q, i)))
            return false;
    return true;
}

static enum qp_rc
on_data(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_TRANSACTION, sizeof *s);
    const char *note = qp_note(q, QP_CONNECTION, "naughty");

    s->forgiven = note && all_special(q) ? strlen(note) : 0;
    return c->hook == DATA ? judge(q, c, s->forgiven) : QP_DECLINED;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct state *s = qp_state(q, QP_TRANSACTION, sizeof *s);

    return judge(q, qp_instance(q), s->forgiven);
}

QP_PLUGIN(.name = "naughty", .init = on_init, .connect = on_connect, .mail = on_mail,
    .rcpt = on_rcpt, .data = on_data, .data_post = on_data_post);
