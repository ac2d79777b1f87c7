/*
 * auth/sasldb - users and passwords in a sasldb2, the database of Cyrus SASL
 *
 *   plugins file: auth/sasldb [path FILE] [realm REALM]
 *     path FILE     absolute; default /etc/sasldb2
 *     realm REALM   of users who give none; default: me, the name of this server
 *   hooks auth-plain, auth-login, auth-cram-md5, auth-scram: QP_OK, QP_DENY "wrong password",
 *                 QP_DECLINED for users that are not in it, QP_DENYSOFT when it cannot be read
 *
 * The passwords in it are clear ones, so all mechanisms work. libsasl2 reads it, with its plug-in
 * sasldb (package libsasl2-modules-db): what kind of database it is, Berkeley's, GNU's or LMDB, that
 * plug-in knows alone. It is opened for each question, so saslpasswd2(8) can change it at any time.
 *
 * The engine has initialised libsasl2 when a hook of AUTH runs, for the exchange that the hook belongs
 * to: here it only gets one more connection, with options of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sasl/prop.h>
#include <sasl/sasl.h>

#include <qpsmtpd/host.h>
#include <qpsmtpd/password.h>
#include <qpsmtpd/plugin.h>

#define DEFAULT_PATH "/etc/sasldb2"
#define USER_MAX     255 /* bytes of a user and his realm; more is nobody's name */

struct conf {
    const char *path;
    const char *realm; /* NULL: me */
};

/* ---- init ---- */

/* NULL: it can be read; else why not */
static const char *
unreadable(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    const char *why = NULL;

    if (fd < 0)
        return strerror(errno);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        why = "it is no file";
    else if (st.st_mode & S_IROTH)
        why = "everybody can read its passwords: chmod o-rwx";
    close(fd);
    return why;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *why;

    c->path = DEFAULT_PATH;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "path", .text = &c->path}, {.name = "realm", .text = &c->realm}, {0}}))
        return false;
    if (c->path[0] != '/')
        return qp_fail(q, "path: %s is not absolute", c->path);
    /* For one client alone the file is not looked at: he may not want to log in. */
    why = qp_serves_many(q) ? unreadable(c->path) : NULL;
    return !why || qp_fail(q, "%s: %s (saslpasswd2 -c -f %s -u DOMAIN USER makes it)", c->path, why,
                       c->path);
}

/* ---- what libsasl2 asks us ---- */

static int
get_option(void *context, const char *plugin, const char *option, const char **value, unsigned *n)
{
    const struct conf *c = qp_instance(context);
    const char *const options[][2] = {
        {"pwcheck_method", "auxprop"},
        {"auxprop_plugin", "sasldb"},
        {"sasldb_path", c->path},
    };

    (void)plugin;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcmp(option, options[i][0]) != 0)
            continue;
        *value = options[i][1];
        if (n)
            *n = (unsigned)strlen(*value);
        return SASL_OK;
    }
    return SASL_FAIL;
}

/* SASL_LOG_TRACE and SASL_LOG_PASS would show what must not be seen. */
static int
take_log(void *context, int level, const char *text)
{
    if (level != SASL_LOG_NONE && level <= SASL_LOG_DEBUG)
        qp_log(context, QP_LOG_DEBUG, "libsasl2: %s", text);
    return SASL_OK;
}

/* libsasl2 wants all callbacks as functions without parameters. */
#define CALLBACK(fn) ((int (*)(void))(void (*)(void))(fn))

/* ---- the question ---- */

/* SASL_OK: *secret is his, as long as conn; SASL_NOUSER; all else is trouble. */
static int
find_secret(sasl_conn_t *conn, const char *user, const char **secret)
{
    const char *names[] = {SASL_AUX_PASSWORD, NULL};
    struct propval found[2] = {{0}};
    int result = sasl_user_exists(conn, NULL, NULL, user);

    if (result != SASL_OK)
        return result;
    if (prop_getnames(sasl_auxprop_getctx(conn), names, found) < 0)
        return SASL_FAIL;
    if (!found[0].name || !found[0].values || !found[0].values[0])
        return SASL_NOUSER;
    *secret = found[0].values[0];
    return SASL_OK;
}

static enum qp_rc
trouble(struct qp *q, const char *why)
{
    const struct conf *c = qp_instance(q);

    qp_log(q, QP_LOG_ERROR, "cannot look users up path=%s error=\"%s\"", c->path, why);
    return qp_denysoft(q, NULL);
}

static enum qp_rc
judge(struct qp *q, const struct qp_auth *a, sasl_conn_t *conn, const char *user)
{
    struct qp_password stored = {0};
    int result = find_secret(conn, user, &stored.clear);

    if (result == SASL_OK)
        return qp_password_check(q, a, &stored, NULL);
    if (result == SASL_NOUSER)
        return qp_password_check(q, a, NULL, NULL);
    return trouble(q, sasl_errstring(result, NULL, NULL));
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    const sasl_callback_t callbacks[] = {
        {SASL_CB_GETOPT, CALLBACK(get_option), q},
        {SASL_CB_LOG, CALLBACK(take_log), q},
        {SASL_CB_LIST_END, NULL, NULL},
    };
    const char *realm = c->realm ? c->realm : qp_me(q);
    const char *user = a->user, *why = unreadable(c->path);
    sasl_conn_t *conn = NULL;
    enum qp_rc rc;
    int result;

    if (why)
        return trouble(q, why);
    if (!strchr(user, '@'))
        user = qp_printf(q, QP_TRANSACTION, "%s@%s", user, realm);
    if (strlen(user) > USER_MAX)
        return qp_password_check(q, a, NULL, NULL);
    result = sasl_server_new("smtp", realm, NULL, NULL, NULL, callbacks, 0, &conn);
    if (result != SASL_OK)
        return trouble(q, sasl_errstring(result, NULL, NULL));
    rc = judge(q, a, conn, user);
    sasl_dispose(&conn);
    return rc;
}

QP_PLUGIN(.name = "auth/sasldb", .init = on_init, .auth_plain = on_auth, .auth_login = on_auth,
    .auth_cram_md5 = on_auth, .auth_scram = on_auth);
