/*
 * auth/dovecot - ask Dovecot's authentication service
 *
 *   plugins file: auth/dovecot [SOCKET] [timeout DURATION]
 *     SOCKET     absolute path, default /run/dovecot/auth-client
 *     timeout    1s..300s for everything together, default 30s
 *   hooks auth-plain, auth-login:
 *     OK         QP_OK "dovecot"
 *     FAIL       QP_DECLINED "dovecot - wrong password": Dovecot does not tell who is unknown. With `temp`
 *                or code=temp_fail QP_DENYSOFT. As FAIL counts OK with nologin, and, without a question,
 *                what is longer than a line of the protocol
 *     the rest   QP_DENYSOFT: nobody there, too slow, garbage, another version, no PLAIN, CONT; OK with
 *                proxy, for then nobody has checked the password
 *
 * PLAIN is what Dovecot is asked with, for LOGIN too. It learns the addresses of both ends (its
 * penalties and allow_nets want them) and whether the client's connection is encrypted.
 *
 * Source: Dovecot Authentication Protocol 1.1 to 1.3. What a client controls stands inside of base64, so
 * nothing of it needs the protocol's escapes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>

#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#define SOCKET       "/run/dovecot/auth-client"
#define TIMEOUT_MS   30000 /* who was wrong before is answered late, by up to 17 s */
#define QUESTION_MAX 8192  /* bytes: the line that Dovecot has always taken */
#define LINES_MAX    100   /* of the handshake, and of an answer */

struct conf {
    const char *socket;
    int64_t timeout_ms;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const size_t room = sizeof((struct sockaddr_un){0}).sun_path;

    *c = (struct conf){.socket = SOCKET, .timeout_ms = TIMEOUT_MS};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "socket", .positional = true, .text = &c->socket},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300}, {0}}))
        return false;
    return (c->socket[0] == '/' && strlen(c->socket) < room) ||
           qp_fail(q, "socket: %s is no absolute path of at most %zu bytes", c->socket, room - 1);
}

/* ---- the question ---- */

/* A line in the making; n reaches room when it does not fit. */
struct text {
    char p[QUESTION_MAX];
    size_t n;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *format, ...)
{
    size_t room = sizeof t->p - t->n;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(t->p + t->n, room, format, ap);
    va_end(ap);
    t->n = n < 0 || (size_t)n >= room ? sizeof t->p : t->n + (size_t)n;
}

/* "\0user\0password" in base64 */
static void
add_response(struct text *t, const char *user, const char *password)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t n_user = strlen(user), n = n_user + strlen(password) + 2;

    for (size_t i = 0; i < n && t->n < sizeof t->p; i += 3) {
        unsigned bits = 0;

        for (size_t k = i; k < i + 3; k++) {
            unsigned char byte = k == 0 || k == n_user + 1 || k >= n ? 0
                                 : k <= n_user                       ? (unsigned char)user[k - 1]
                                               : (unsigned char)password[k - n_user - 2];

            bits = bits << 8 | byte;
        }
        add(t, "%c%c%c%c", digits[bits >> 18], digits[bits >> 12 & 63],
            i + 1 < n ? digits[bits >> 6 & 63] : '=', i + 2 < n ? digits[bits & 63] : '=');
    }
}

/* ip as an address goes out, "unknown" and the like do not */
static void
add_end(struct text *t, char which, const char *ip, int port)
{
    if (*ip && ip[strspn(ip, "0123456789abcdefABCDEF.:")] == '\0')
        add(t, "\t%cip=%s", which, ip);
    if (port > 0)
        add(t, "\t%cport=%d", which, port);
}

/* nologin: nobody will log in to a mailbox after it. resp has to be the last. */
static void
make_question(struct qp *q, const struct qp_auth *a, struct text *t)
{
    add(t, "AUTH\t1\tPLAIN\tservice=smtp\tnologin");
    add_end(t, 'l', qp_local_ip(q), qp_local_port(q));
    add_end(t, 'r', qp_remote_ip(q), qp_remote_port(q));
    if (qp_note_true(q, QP_CONNECTION, "tls_enabled"))
        add(t, "\tsecured");
    add(t, "\tresp=");
    add_response(t, a->user, a->password);
    add(t, "\n");
}

/* ---- the dialogue ---- */

enum verdict { RIGHT, WRONG, NONE };

/* What stands behind the command and its TAB; NULL: another command. */
static const char *
behind(const char *line, const char *command)
{
    size_t n = strlen(command);

    if (strncmp(line, command, n) != 0 || (line[n] && line[n] != '\t'))
        return NULL;
    return line + n + (line[n] == '\t');
}

/* Is it one of the fields, with or without a value behind it? */
static bool
has_field(const char *fields, const char *field)
{
    const size_t n = strlen(field);

    while (fields && !(strncmp(fields, field, n) == 0 && strchr("\t=", fields[n]))) {
        fields = strchr(fields, '\t');
        fields = fields ? fields + 1 : NULL;
    }
    return fields != NULL;
}

/* Its side of the handshake, up to DONE. Other commands than these may come, and mean nothing here. */
static bool
read_handshake(struct qp_peer *p)
{
    bool version = false, plain = false;

    for (int i = 0; i < LINES_MAX; i++) {
        const char *line = qp_peer_line(p, QP_PEER_LINE_MAX), *rest;

        if (!line)
            return false;
        if ((rest = behind(line, "VERSION")))
            version = behind(rest, "1") != NULL;
        else if ((rest = behind(line, "MECH")))
            plain = plain || behind(rest, "PLAIN");
        else if (behind(line, "DONE"))
            break;
    }
    if (!version)
        qp_peer_fail(p, "it does not speak version 1 of the protocol");
    if (!plain)
        qp_peer_fail(p, "it does not offer PLAIN");
    return !qp_peer_error(p);
}

/* What OK means: Dovecot also says it for users whom it would hand on to another server, and then
 * nobody has checked the password, and for those who may not log in, whatever the password. */
static enum verdict
judge_ok(struct qp_peer *p, const char *fields)
{
    if (has_field(fields, "proxy") || has_field(fields, "proxy_maybe")) {
        qp_peer_fail(p, "it is a proxy for this user, and does not check passwords");
        return NONE;
    }
    return has_field(fields, "nologin") ? WRONG : RIGHT;
}

static enum verdict
read_verdict(struct qp_peer *p)
{
    const char *line = qp_peer_line(p, QP_PEER_LINE_MAX), *rest;

    if (!line)
        return NONE;
    if ((rest = behind(line, "OK")) && (rest = behind(rest, "1")))
        return judge_ok(p, rest);
    rest = behind(line, "FAIL");
    rest = rest ? behind(rest, "1") : NULL;
    if (rest && !has_field(rest, "temp") && !has_field(rest, "code=temp_fail"))
        return WRONG;
    qp_peer_fail(p, rest ? "it has temporary trouble" : "an answer that is neither OK nor FAIL");
    return NONE;
}

/* Processes are told apart by their ids there, and in two containers these may be the same: a random
 * number is not. */
static unsigned
client_id(void)
{
    uint32_t id = 0;

    if (getrandom(&id, sizeof id, 0) != sizeof id)
        return 1;
    return (id & 0x7fffffff) | 1; /* 0 is none */
}

static enum verdict
ask(struct qp_peer *p, const struct text *question)
{
    char hello[64];
    int n = snprintf(hello, sizeof hello, "VERSION\t1\t1\nCPID\t%u\n", client_id());

    if (!qp_peer_write(p, hello, (size_t)n) || !read_handshake(p) ||
        !qp_peer_write(p, question->p, question->n))
        return NONE;
    return read_verdict(p);
}

/* ---- deciding ---- */

static enum qp_rc
judge(struct qp *q, enum verdict verdict, const char *error)
{
    const struct conf *c = qp_instance(q);

    switch (verdict) {
    case RIGHT:
        return qp_ok(q, "dovecot");
    case WRONG:
        return qp_declined(q, "dovecot - wrong password");
    case NONE:
        break;
    }
    qp_log(q, QP_LOG_ERROR, "no verdict: socket=%s error=\"%s\"", c->socket, error);
    return QP_DENYSOFT;
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    enum verdict verdict = WRONG;
    const char *error = NULL;
    struct text question = {.n = 0};
    struct qp_peer *p;

    make_question(q, a, &question);
    if (question.n < sizeof question.p) {
        p = qp_peer_open(q, c->socket, 0, c->timeout_ms);
        verdict = ask(p, &question);
        error = qp_peer_error(p);
        qp_peer_close(&p);
    }
    explicit_bzero(&question, sizeof question);
    return judge(q, verdict, error);
}

QP_PLUGIN(.name = "auth/dovecot", .init = on_init, .auth_plain = on_auth, .auth_login = on_auth);
