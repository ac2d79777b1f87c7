/*
 * auth/auth_vpopmaild - ask vpopmail's daemon
 *
 *   plugins file: auth/auth_vpopmaild [host HOST] [port N] [timeout DURATION]
 *     host       name or address, default localhost
 *     port       1..65535, default 89
 *     timeout    1s..300s for everything together, default 10s
 *   hooks auth-plain, auth-login:
 *     +OK        QP_OK
 *     -ERR       QP_DECLINED "auth_vpopmaild - wrong password"; what cannot be said in the protocol, with
 *                blanks or control bytes in it or too long, is wrong without a question
 *     the rest   QP_DENYSOFT: nobody there, too slow, no answer, another one
 *
 * The password travels in the clear: let the daemon listen on the loopback.
 *
 * Source: 1.00, which sent the line twice, ended by LF CR.
 */
#include <string.h>
#include <stdio.h>

#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#define PORT        89
#define TIMEOUT_MS  10000
#define COMMAND_MAX 512 /* bytes: vpopmail's users, domains and passwords have far fewer */
#define ANSWER_MAX  1024

struct conf {
    const char *host;
    int port;
    int64_t timeout_ms;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){.host = "localhost", .port = PORT, .timeout_ms = TIMEOUT_MS};
    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){{.name = "host", .text = &c->host},
            {.name = "port", .number = &c->port, .min = 1, .max = 65535},
            {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300}, {0}});
}

/* One word of the protocol: a blank or a line end in it would say something else. */
static bool
is_word(const char *text)
{
    for (; *text; text++)
        if (*text == ' ' || *text == 0x7f || (unsigned char)*text < ' ')
            return false;
    return true;
}

enum answer { YES, NO, UNCLEAR };

/* "+OK", "+OK text", and "+OK+", behind which several lines would follow */
static enum answer
read_answer(struct qp_peer *p)
{
    const char *line = qp_peer_line(p, ANSWER_MAX);

    if (line && strncmp(line, "+OK", 3) == 0 && strchr(" +", line[3]))
        return YES;
    if (line && strncmp(line, "-ERR", 4) == 0 && strchr(" ", line[4]))
        return NO;
    qp_peer_fail(p, "an answer that is neither +OK nor -ERR");
    return UNCLEAR;
}

static enum answer
ask(struct qp_peer *p, const char *command)
{
    enum answer answer;

    if (read_answer(p) != YES) { /* its greeting */
        qp_peer_fail(p, "it does not greet with +OK");
        return UNCLEAR;
    }
    qp_peer_write(p, command, strlen(command));
    answer = read_answer(p);
    qp_peer_write(p, "quit\n", 5);
    return answer;
}

static enum qp_rc
judge(struct qp *q, const struct conf *c, enum answer answer, const char *error)
{
    switch (answer) {
    case YES:
        return qp_ok(q, "auth_vpopmaild");
    case NO:
        return qp_declined(q, "auth_vpopmaild - wrong password");
    case UNCLEAR:
        break;
    }
    qp_log(q, QP_LOG_ERROR, "no verdict: host=%s port=%d error=\"%s\"", c->host, c->port, error);
    return QP_DENYSOFT;
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    char command[COMMAND_MAX];
    int n = snprintf(command, sizeof command, "login %s %s\n", a->user, a->password);
    enum answer answer = NO;
    const char *error = NULL;
    struct qp_peer *p;

    if (n > 0 && n < COMMAND_MAX && is_word(a->user) && is_word(a->password)) {
        p = qp_peer_open(q, c->host, c->port, c->timeout_ms);
        answer = ask(p, command);
        error = qp_peer_error(p);
        qp_peer_close(&p);
    }
    explicit_bzero(command, sizeof command);
    return judge(q, c, answer, error);
}

QP_PLUGIN(.name = "auth/auth_vpopmaild", .init = on_init, .auth_plain = on_auth,
    .auth_login = on_auth);
