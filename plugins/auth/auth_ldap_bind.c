/*
 * auth/auth_ldap_bind - the directory is asked whether somebody can bind with that password
 *
 *   plugins file: auth/auth_ldap_bind [KEY VALUE ...]
 *   file ldap:    the same, one KEY VALUE a line; an argument wins over a line
 *     ldap_base DN              where users are searched; required, unless there is a template
 *     ldap_host ADDRESS         default 127.0.0.1
 *     ldap_port PORT            1..65535, default 389
 *     ldap_uri URI ...          instead of both: ldap://, ldaps://, ldapi://, tried in this order
 *     ldap_timeout SECONDS      1..60, default 5: of one attempt, all steps together
 *     ldap_auth_filter_attr A   default uid: the filter is (A=%u)
 *     ldap_filter FILTER        instead of it, with %u (user), %d (domain) or %m (user@domain)
 *     ldap_dn_template DN       instead of a search: uid=%u,ou=people,o=%d
 *     ldap_bind_dn DN           who searches; default anonymously
 *     ldap_bind_password TEXT   its password; in the file only
 *     ldap_starttls BOOL        default no
 *     ldap_ca_file PATH         certificates that a server's is verified against; default: ldap.conf(5)
 *   hooks auth-plain, auth-login: QP_OK "authldap", QP_DECLINED "authldap - wrong username or
 *                 password", QP_DENYSOFT when the directory cannot tell
 *
 * Each process has one connection, made at its first AUTH, kept, and made again when it has died.
 * libldap takes 2 ms to load: it is linked by the late part alone.
 *
 * Source: 1.00, whose file did not compile; with escaped names, TLS, templates, and 454 where it asked
 * the next plugin while the directory was down. An empty password never reaches the directory: it would
 * say yes.
 */
#include <assert.h>

#include <qpsmtpd/clock.h>
#include <qpsmtpd/host.h>
#include <qpsmtpd/plugin.h>

#include "auth_ldap_bind.late/late.h"
#include "auth_ldap_bind.parts/settings.h"
#include "auth_ldap_bind.parts/template.h"

static_assert(TEMPLATE_MAX >= DIRECTORY_DN_MAX, "a name that was found has room");

/* Of this process alone: the children get copies of it before anything is open. */
struct session {
    const struct directory_calls *calls; /* NULL: the late part is not loaded */
    struct directory *directory;         /* NULL: closed */
    bool registered;
};

struct conf {
    struct settings settings;
    struct directory_settings directory; /* the part of them that is libldap's business */
    struct session *session;
};

/* ---- the late part ---- */

static void
on_end(void *data)
{
    struct session *s = data;

    if (s->directory)
        s->calls->close(&s->directory);
}

/* What it has opened is closed before it is unloaded: last registered, first called. */
static bool
load(struct qp *q, const struct conf *c, const char **why)
{
    struct session *s = c->session;

    s->calls = qp_late(q, why);
    if (s->calls && !s->registered)
        qp_at_end(q, QP_INSTANCE, on_end, s);
    s->registered = s->registered || s->calls;
    return s->calls != NULL;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const struct settings *s = &c->settings;
    const char *why = "";

    c->session = qp_alloc(q, QP_INSTANCE, sizeof *c->session);
    qp_instance_set(q, c);
    if (!settings_read(q, argc, argv, &c->settings))
        return false;
    c->directory = (struct directory_settings){
        s->uri, s->starttls, s->ca_file, s->base, s->bind_dn, s->bind_password};
    return !qp_serves_many(q) || load(q, c, &why) ||
           qp_fail(q, "cannot load libldap, package libldap-2.5-0: %s", why);
}

/* ---- asking ---- */

/* Does it know him, and by what name? Nobody is asked with a template. */
static enum directory_status
find(const struct conf *c, const char *user, char dn[TEMPLATE_MAX], int64_t deadline, char *error)
{
    char filter[TEMPLATE_MAX];

    if (c->settings.template)
        return template_fill(c->settings.template, user, dn) ? DIRECTORY_YES : DIRECTORY_NO;
    if (!template_fill(c->settings.filter, user, filter))
        return DIRECTORY_NO;
    return c->session->calls->find(c->session->directory, filter, dn, deadline, error);
}

/* For somebody who does not exist there is a bind as well, as a name that has no password: or the time
 * would tell who does. */
static enum directory_status
try_once(const struct conf *c, const struct qp_auth *a, int64_t deadline, char *error)
{
    const struct directory_calls *calls = c->session->calls;
    char dn[TEMPLATE_MAX] = "";
    enum directory_status status;

    status = find(c, a->user, dn, deadline, error);
    if (status == DIRECTORY_YES)
        return calls->bind(c->session->directory, dn, a->password, deadline, error);
    if (status == DIRECTORY_NO && c->settings.base &&
        calls->bind(c->session->directory, c->settings.base, a->password, deadline, error) ==
            DIRECTORY_TROUBLE)
        return DIRECTORY_TROUBLE;
    return status;
}

/* A kept connection may have died since: so once more with a new one, in the same time. */
static enum directory_status
ask(struct qp *q, const struct conf *c, const struct qp_auth *a)
{
    struct session *s = c->session;
    int64_t deadline = qp_clock_ms() + c->settings.timeout * (int64_t)1000;
    char error[DIRECTORY_ERROR_MAX] = "";

    for (bool kept = s->directory != NULL;; kept = false) {
        enum directory_status status = DIRECTORY_TROUBLE;

        if (!s->directory)
            s->directory = s->calls->open(&c->directory, deadline, error);
        if (s->directory)
            status = try_once(c, a, deadline, error);
        if (status != DIRECTORY_TROUBLE)
            return status;
        s->calls->close(&s->directory);
        if (!kept) {
            qp_log(q, QP_LOG_ERROR, "cannot ask the directory uri=%s error=\"%s\"", c->settings.uri,
                error);
            return status;
        }
        qp_log(q, QP_LOG_INFO, "the connection has ended, once more error=\"%s\"", error);
    }
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    const char *why;
    enum directory_status status;

    if (!a->password || !*a->password)
        return QP_DECLINED;
    if (!c->session->calls && !load(q, c, &why)) {
        qp_log(q, QP_LOG_ERROR, "cannot load libldap, package libldap-2.5-0: %s", why);
        return qp_denysoft(q, "authldap - temporary auth error");
    }
    status = ask(q, c, a);
    if (status == DIRECTORY_TROUBLE)
        return qp_denysoft(q, "authldap - temporary auth error");
    if (status == DIRECTORY_YES)
        return qp_ok(q, "authldap");
    return qp_declined(q, "authldap - wrong username or password");
}

QP_PLUGIN(.name = "auth/auth_ldap_bind", .init = on_init, .auth_plain = on_auth,
    .auth_login = on_auth);
