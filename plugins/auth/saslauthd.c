/*
 * auth/saslauthd - ask saslauthd(8) of Cyrus SASL: PAM, shadow, Kerberos, LDAP, another IMAP server
 *
 *   plugins file: auth/saslauthd [path SOCKET] [service NAME] [realm REALM] [timeout DURATION]
 *     path SOCKET       absolute; default /run/saslauthd/mux
 *     service NAME      what PAM knows us as; default smtp
 *     realm REALM       of users without @; default none
 *     timeout DURATION  1s..300s for everything together, default 10s
 *   hooks auth-plain, auth-login:
 *     OK                QP_OK
 *     NO                QP_DECLINED "saslauthd - wrong password"; names and passwords that are longer
 *                       than it can take are wrong without a question
 *     the rest          QP_DENYSOFT: nobody there, too slow, no answer, another one, and a NO that is
 *                       about saslauthd's own trouble
 *
 * Its protocol, of four counted texts and a counted answer, is spoken here and not by libsasl2, whose
 * client waits without a limit and takes a saslauthd that does not run for a wrong password.
 *
 * Source: cyrus-sasl 2.1.28, saslauthd(8); the texts of its answers stand in saslauthd/auth_*.c.
 */
#include <string.h>

#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#define DEFAULT_PATH "/run/saslauthd/mux"
#define TEXT_MAX     255 /* bytes of each text: saslauthd's MAX_REQ_LEN is 256 */
#define ANSWER_MAX   1026

struct conf {
    const char *path, *service, *realm;
    int64_t timeout_ms;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){DEFAULT_PATH, "smtp", "", 10000};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "path", .text = &c->path},
                {.name = "service", .text = &c->service}, {.name = "realm", .text = &c->realm},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300}, {0}}))
        return false;
    if (c->path[0] != '/')
        return qp_fail(q, "path: %s is not absolute", c->path);
    if (strlen(c->service) > TEXT_MAX || strlen(c->realm) > TEXT_MAX)
        return qp_fail(q, "service, realm: saslauthd takes %d bytes", TEXT_MAX);
    return true;
}

/* ---- the question ---- */

struct question {
    char bytes[4 * (2 + TEXT_MAX)];
    size_t n;
};

/* false: there are too many of them */
static bool
put(struct question *out, const char *text, size_t n)
{
    if (n > TEXT_MAX)
        return false;
    out->bytes[out->n++] = (char)(n >> 8);
    out->bytes[out->n++] = (char)(n & 0xff);
    memcpy(out->bytes + out->n, text, n);
    out->n += n;
    return true;
}

/* The realm is what stands behind the last @, as libsasl2 splits it; saslauthd -r joins them again. */
static bool
compose(const struct conf *c, const struct qp_auth *a, struct question *out)
{
    const char *at = strrchr(a->user, '@'), *realm = at ? at + 1 : c->realm;
    size_t n = at ? (size_t)(at - a->user) : strlen(a->user);

    out->n = 0;
    return n > 0 && put(out, a->user, n) && put(out, a->password, strlen(a->password)) &&
           put(out, c->service, strlen(c->service)) && put(out, realm, strlen(realm));
}

/* ---- the answer ---- */

enum answer { YES, NO, UNCLEAR };

/* Refusals that say nothing of the password: saslauthd, or whom it asks, has trouble. */
static bool
is_trouble(const char *text)
{
    static const char *const phrases[] = {
        "internal",                /* "internal mechanism failure", "saslauthd internal error" */
        "contact remote",          /* rimap, httpform: "Couldn't contact remote ..." */
        "currently unavailable",   /* "The remote authentication server is ..." */
        "unexpected response",     /* "... from remote authentication server" */
        "error synchronizing",     /* "... with remote authentication server" */
        "no address given",        /* rimap without -O */
        "insufficient permission", /* shadow, when it does not run as root */
        "lookup failure",          /* shadow: NSS cannot tell */
        "pam start error",         /* no such service */
    };

    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (strcasestr(text, phrases[i]))
            return true;
    return false;
}

/* A byte as qp_peer_rest() shows it. */
static bool
is_byte(char shown, size_t byte)
{
    return (unsigned char)shown == byte || (byte == 0 && shown == '?');
}

static enum answer
read_answer(struct qp_peer *p)
{
    const char *rest = qp_peer_rest(p, ANSWER_MAX);
    size_t n = rest ? strlen(rest) : 0;
    const char *text = n >= 4 ? rest + 2 : "";

    if (n < 4 || !is_byte(rest[0], (n - 2) >> 8) || !is_byte(rest[1], (n - 2) & 0xff))
        qp_peer_fail(p, "that is no answer of saslauthd's");
    else if (strncmp(text, "OK", 2) == 0 && strchr(" ", text[2]))
        return YES;
    else if (strncmp(text, "NO", 2) != 0 || !strchr(" ", text[2]))
        qp_peer_fail(p, "an answer that is neither OK nor NO");
    else if (is_trouble(text))
        qp_peer_fail(p, "it has trouble of its own: see its log");
    else
        return NO;
    return UNCLEAR;
}

/* ---- deciding ---- */

static enum qp_rc
judge(struct qp *q, const struct conf *c, enum answer answer, const char *error)
{
    switch (answer) {
    case YES:
        return qp_ok(q, "saslauthd");
    case NO:
        return qp_declined(q, "saslauthd - wrong password");
    case UNCLEAR:
        break;
    }
    qp_log(q, QP_LOG_ERROR, "no verdict: path=%s error=\"%s\"", c->path, error);
    return qp_denysoft(q, NULL);
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    struct question question;
    enum answer answer = NO;
    const char *error = NULL;
    struct qp_peer *p;

    if (compose(c, a, &question)) {
        p = qp_peer_open(q, c->path, 0, c->timeout_ms);
        qp_peer_write(p, question.bytes, question.n);
        answer = read_answer(p);
        error = qp_peer_error(p);
        qp_peer_close(&p);
    }
    explicit_bzero(&question, sizeof question);
    return judge(q, c, answer, error);
}

QP_PLUGIN(.name = "auth/saslauthd", .init = on_init, .auth_plain = on_auth, .auth_login = on_auth);
