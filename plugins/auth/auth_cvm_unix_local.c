/*
 * auth/auth_cvm_unix_local - ask a credential validation module (CVM) on a local socket
 *
 *   plugins file: auth/auth_cvm_unix_local cvm_socket PATH [option value ...]
 *     cvm_socket    where the module listens, an absolute path
 *     enable_smtp   yes or no, default no: also on ports 25 and 587
 *     enable_ssmtp  yes or no, default yes: also on port 465
 *     timeout       1s..300s for each of asking and waiting for the answer, default 10s
 *   hooks auth-plain, auth-login:
 *     0          QP_OK "auth success for USER"
 *     100        QP_DENY "auth failure (100)"; what is longer than a question may be is wrong without one
 *     the rest   QP_DENYSOFT: nobody there, too slow, no answer, any other code
 *     QP_DECLINED on a port that is not enabled
 *
 * The question is 0x01, user, host and password, each with a NUL behind it, and another NUL; the host is
 * what follows the last @ of the name, localhost without one. Of the answer the first byte counts.
 *
 * Source: 1.00; CVM's protocol 1. There a module that could not be asked was DENY or DECLINED.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#define QUESTION_MAX 512 /* bytes: CVM's buffer */
#define TIMEOUT_MS   10000

enum code { ACCEPTED = 0, REFUSED = 100, UNCLEAR = -1 };

struct conf {
    const char *socket;
    bool smtp, ssmtp;
    int64_t timeout_ms;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const size_t room = sizeof((struct sockaddr_un){0}).sun_path;

    *c = (struct conf){.ssmtp = true, .timeout_ms = TIMEOUT_MS};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "cvm_socket", .required = true, .text = &c->socket},
                {.name = "enable_smtp", .flag = &c->smtp},
                {.name = "enable_ssmtp", .flag = &c->ssmtp},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300}, {0}}))
        return false;
    return (c->socket[0] == '/' && strlen(c->socket) < room) ||
           qp_fail(
               q, "cvm_socket: %s is no absolute path of at most %zu bytes", c->socket, room - 1);
}

static bool
is_enabled(const struct conf *c, int port)
{
    if (port == 25 || port == 587)
        return c->smtp;
    return port != 465 || c->ssmtp;
}

/* How many bytes; 0: it does not fit. */
static size_t
make_question(const struct qp_auth *a, char out[QUESTION_MAX])
{
    const char *at = strrchr(a->user, '@');
    int user = (int)(at ? (size_t)(at - a->user) : strlen(a->user));
    /* the NUL that snprintf writes behind it is the last one */
    int n = snprintf(out, QUESTION_MAX, "\x01%.*s%c%s%c%s%c", user, a->user, 0,
        at ? at + 1 : "localhost", 0, a->password, 0);

    return n < 0 || n >= QUESTION_MAX ? 0 : (size_t)n + 1;
}

/* The first byte that comes; UNCLEAR: none, with errno, 0 for a connection that was closed. */
static int
read_code(int fd, int64_t timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    unsigned char byte;
    ssize_t got;
    int ready;

    do
        ready = poll(&p, 1, (int)timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready < 1) {
        errno = ready == 0 ? ETIMEDOUT : errno;
        return UNCLEAR;
    }
    errno = 0;
    got = recv(fd, &byte, 1, MSG_DONTWAIT);
    return got == 1 ? byte : UNCLEAR;
}

static int
ask(struct qp *q, const struct conf *c, const char *question, size_t n)
{
    struct qp_peer *p = qp_peer_open(q, c->socket, 0, c->timeout_ms);
    const char *error;
    int fd, code;

    qp_peer_write(p, question, n);
    qp_peer_finish(p);
    error = qp_peer_error(p);
    fd = qp_peer_detach(&p);
    if (fd < 0) {
        qp_log(q, QP_LOG_ERROR, "no verdict: socket=%s error=\"%s\"", c->socket, error);
        return UNCLEAR;
    }
    code = read_code(fd, c->timeout_ms);
    if (code == UNCLEAR)
        qp_log(q, QP_LOG_ERROR, "no verdict: socket=%s error=\"read: %s\"", c->socket,
            errno ? strerror(errno) : "it has closed the connection");
    else if (code != ACCEPTED && code != REFUSED)
        qp_log(q, QP_LOG_ERROR, "no verdict: socket=%s code=%d", c->socket, code);
    close(fd);
    return code;
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    char question[QUESTION_MAX];
    size_t n;
    int code = REFUSED;

    if (!is_enabled(c, qp_local_port(q)))
        return QP_DECLINED;
    n = make_question(a, question);
    if (n > 0)
        code = ask(q, c, question, n);
    explicit_bzero(question, sizeof question);
    if (code == ACCEPTED)
        return qp_ok(q, "auth success for %s", a->user);
    return code == REFUSED ? qp_deny(q, "auth failure (100)") : QP_DENYSOFT;
}

QP_PLUGIN(.name = "auth/auth_cvm_unix_local", .init = on_init, .auth_plain = on_auth,
    .auth_login = on_auth);
