/*
 * auth/auth_imap - let an IMAP server check the password
 *
 *   plugins file: auth/auth_imap HOST [PORT] [timeout DURATION]
 *     HOST       name or address
 *     PORT       1..65535, default 143
 *     timeout    1s..300s for everything together, default 30s
 *   hooks auth-plain, auth-login:
 *     OK         QP_OK "auth_imap/plain"
 *     NO         QP_DENY "auth_imap - invalid password"; with a response code that tells of trouble
 *                (RFC 5530), QP_DENYSOFT
 *     the rest   QP_DENYSOFT: nobody there, too slow, BYE, BAD, no IMAP, LOGINDISABLED
 *
 * User and password are sent as literals (RFC 3501, 4.3), which may hold any byte, so nothing in them can
 * become a command. There is no TLS: the password travels in the clear, and a server that wants it
 * otherwise (LOGINDISABLED) does not get it.
 *
 * Source: 1.00, whose reply told the client user, host and port.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#define PORT       143
#define TIMEOUT_MS 30000 /* a busy server makes those wait who were wrong before */
#define ANSWER_MAX 8192  /* bytes of a line */
#define LINES_MAX  50    /* untagged ones, for one command */

struct conf {
    const char *host;
    int port;
    int64_t timeout_ms;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){.port = PORT, .timeout_ms = TIMEOUT_MS};
    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {.name = "host", .positional = true, .required = true, .text = &c->host},
            {.name = "port", .positional = true, .number = &c->port, .min = 1, .max = 65535},
            {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300}, {0}});
}

/* ---- lines ---- */

/* What stands behind that word, when the line begins with it; else NULL. */
static const char *
behind(const char *line, const char *word)
{
    size_t n = strlen(word);

    if (strncasecmp(line, word, n) != 0 || (line[n] && line[n] != ' '))
        return NULL;
    return line + n + (line[n] == ' ');
}

static bool
has_word(const char *text, const char *word)
{
    while (text && !behind(text, word)) {
        text = strchr(text, ' ');
        text = text ? text + 1 : NULL;
    }
    return text != NULL;
}

/* An untagged line; false: the dialogue is over. */
static bool
take_untagged(struct qp_peer *p, const char *text)
{
    if (behind(text, "BYE"))
        qp_peer_fail(p, "it said BYE");
    else if (behind(text, "CAPABILITY") && has_word(text, "LOGINDISABLED"))
        qp_peer_fail(p, "it takes no password without TLS (LOGINDISABLED)");
    return !qp_peer_error(p);
}

/* Until the answer to the command of that tag: what stands behind the tag, or "+" when the server wants
 * the command to go on; NULL: there is none. */
static const char *
read_answer(struct qp_peer *p, const char *tag)
{
    for (int i = 0; i < LINES_MAX; i++) {
        const char *line = qp_peer_line(p, ANSWER_MAX), *text;

        if (!line)
            return NULL;
        if (line[0] == '+')
            return "+";
        if ((text = behind(line, tag)))
            return text;
        text = behind(line, "*");
        if (!text)
            qp_peer_fail(p, "that is no IMAP");
        if (!text || !take_untagged(p, text))
            return NULL;
    }
    qp_peer_fail(p, "it talks and does not answer");
    return NULL;
}

/* ---- the dialogue ---- */

enum verdict { RIGHT, WRONG, NONE };

static bool
greet(struct qp_peer *p)
{
    const char *line = qp_peer_line(p, ANSWER_MAX);

    /* PREAUTH: everybody is somebody already, and LOGIN would tell nothing */
    if (line && !behind(line, "* OK"))
        qp_peer_fail(p, "it does not greet with * OK");
    return !qp_peer_error(p);
}

/* Ask before the password is sent. */
static bool
check_capabilities(struct qp_peer *p)
{
    const char *answer;

    qp_peer_write(p, "1 CAPABILITY\r\n", 14);
    answer = read_answer(p, "1");
    if (answer && !behind(answer, "OK"))
        qp_peer_fail(p, "CAPABILITY was not answered with OK");
    return !qp_peer_error(p);
}

/* "{5}", and when the server says so, the five bytes; begin is what stands before it. */
static bool
send_literal(struct qp_peer *p, const char *begin, const char *text)
{
    char head[64];
    int n = snprintf(head, sizeof head, "%s {%zu}\r\n", begin, strlen(text));
    const char *answer;

    qp_peer_write(p, head, (size_t)n);
    answer = read_answer(p, "2");
    if (answer && *answer != '+')
        qp_peer_fail(p, "it takes no literal");
    return qp_peer_write(p, text, strlen(text));
}

/* Does NO mean something else than a wrong password? */
static bool
is_trouble(const char *no)
{
    static const char *const codes[] = {
        "[UNAVAILABLE]", "[SERVERBUG]", "[INUSE]", "[LIMIT]", "[PRIVACYREQUIRED]"};

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (behind(no, codes[i]))
            return true;
    return false;
}

static enum verdict
read_verdict(struct qp_peer *p)
{
    const char *answer = read_answer(p, "2"), *no;

    if (answer && behind(answer, "OK"))
        return RIGHT;
    no = answer ? behind(answer, "NO") : NULL;
    if (no && !is_trouble(no))
        return WRONG;
    qp_peer_fail(
        p, no ? "LOGIN was answered with NO for now" : "LOGIN was answered with neither OK nor NO");
    return NONE;
}

static enum verdict
log_in(struct qp_peer *p, const char *user, const char *password)
{
    enum verdict verdict = NONE;

    if (greet(p) && check_capabilities(p) && send_literal(p, "2 LOGIN", user) &&
        send_literal(p, "", password) && qp_peer_write(p, "\r\n", 2))
        verdict = read_verdict(p);
    if (verdict != NONE)
        qp_peer_write(p, "3 LOGOUT\r\n", 10);
    return verdict;
}

/* ---- deciding ---- */

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    struct qp_peer *p = qp_peer_open(q, c->host, c->port, c->timeout_ms);
    enum verdict verdict = log_in(p, a->user, a->password);
    const char *error = qp_peer_error(p);

    qp_peer_close(&p);
    switch (verdict) {
    case RIGHT:
        return qp_ok(q, "auth_imap/%s", a->mechanism);
    case WRONG:
        return qp_deny(q, "auth_imap - invalid password");
    case NONE:
        break;
    }
    qp_log(q, QP_LOG_ERROR, "no verdict: host=%s port=%d error=\"%s\"", c->host, c->port, error);
    return QP_DENYSOFT;
}

QP_PLUGIN(.name = "auth/auth_imap", .init = on_init, .auth_plain = on_auth, .auth_login = on_auth);
