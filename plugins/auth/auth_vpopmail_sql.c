/*
 * auth/auth_vpopmail_sql - users and passwords in vpopmail's table, in MariaDB, MySQL or PostgreSQL
 *
 *   plugins file: auth/auth_vpopmail_sql [timeout TIME]
 *     timeout TIME    1..60 seconds, default 5: of connecting and asking together
 *   files:        vpopmail_mysql_dsn      default dbi:mysql:dbname=vpopmail;host=127.0.0.1
 *                 vpopmail_mysql_user     default vpopmailuser
 *                 vpopmail_mysql_pass     default vpoppasswd
 *   hooks auth-plain, auth-login, auth-cram-md5, auth-scram: QP_OK, QP_DENY "wrong password" or "no
 *                 such user" (a row without any password), QP_DENYSOFT when the database cannot tell,
 *                 QP_DECLINED for users that it does not have, or without a domain
 *
 * Columns: pw_passwd, a hash of crypt(3), serves PLAIN and LOGIN; pw_clear_passwd serves them all.
 *
 * Each process that serves clients has one connection: made when the first client logs in, kept, and
 * made again when it has died. Only the client library that the DSN asks for is loaded: by
 * qpsmtpd-prefork at start, for all its children, by qpsmtpd when its client logs in, because libpq
 * and libmariadb take 5 and 2 ms (measured), with the OpenSSL and Kerberos that they bring.
 *
 * Source: 1.00; with PostgreSQL, time limits, and 454 where it asked the next plugin while the database
 * was down.
 */
#include <string.h>
#include <sys/stat.h>

#include <qpsmtpd/host.h>
#include <qpsmtpd/password.h>
#include <qpsmtpd/plugin.h>

#include "auth_vpopmail_sql.parts/backend.h"
#include "auth_vpopmail_sql.parts/dsn.h"
#include "auth_vpopmail_sql.parts/wait.h"

#define DEFAULT_DSN      "dbi:mysql:dbname=vpopmail;host=127.0.0.1"
#define DEFAULT_USER     "vpopmailuser"
#define DEFAULT_PASSWORD "vpoppasswd"

/* Of this process alone: the children get copies of it before anything is open. */
struct session {
    void *link; /* the back end's */
    bool open;
    struct sql_row sample; /* its hash is what an unknown user's password is compared with */
};

struct conf {
    int64_t timeout_ms;
    const struct sql_backend *backend;
    struct sql_place place;
    struct session *session;
};

/* ---- init ---- */

/* The first line; a default stands where none is. */
static struct qp_line
first_line(struct qp *q, const char *name, const char *otherwise)
{
    struct qp_lines lines = qp_config_lines(q, name);

    return lines.n > 0 ? lines.line[0] : (struct qp_line){.text = otherwise};
}

static bool
read_dsn(struct qp *q, struct conf *c)
{
    struct qp_line line = first_line(q, "vpopmail_mysql_dsn", DEFAULT_DSN);
    const char *why, *what;

    c->backend = sql_dsn_parse(qp_strdup(q, QP_INSTANCE, line.text), &c->place, &why, &what);
    return c->backend || qp_fail_at(q, &line, "%s: %s", what, why);
}

static bool
read_password(struct qp *q, struct conf *c)
{
    struct qp_line line = first_line(q, "vpopmail_mysql_pass", DEFAULT_PASSWORD);
    struct stat st;

    c->place.password = line.text;
    if (line.file && stat(line.file, &st) == 0 && (st.st_mode & S_IROTH) != 0)
        return qp_fail_at(q, &line, "everybody can read this password: chmod o-rwx %s", line.file);
    return true;
}

static void
on_end(void *data)
{
    struct conf *c = data;

    if (c->session->open)
        c->backend->close(c->session->link);
    c->session->open = false;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    c->timeout_ms = 5000;
    c->place.user = first_line(q, "vpopmail_mysql_user", DEFAULT_USER).text;
    c->session = qp_alloc(q, QP_INSTANCE, sizeof *c->session);
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {"timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60}, {0}}) ||
        !read_dsn(q, c) || !read_password(q, c))
        return false;
    c->session->link = qp_alloc(q, QP_INSTANCE, c->backend->size);
    qp_at_end(q, QP_INSTANCE, on_end, c);
    return !qp_serves_many(q) || c->backend->load(q, c->session->link) ||
           qp_fail(q, "cannot load %s: install %s", c->backend->library, c->backend->package);
}

/* ---- asking ---- */

static bool
trouble(struct qp *q, const struct conf *c, const char *what, const char *error)
{
    qp_log(q, QP_LOG_ERROR, "%s driver=%s error=\"%s\"", what, c->backend->driver, error);
    return false;
}

static void
close_session(const struct conf *c)
{
    c->backend->close(c->session->link);
    c->session->open = false;
}

/* Log in, and look what a hash here is like. false: logged */
static bool
open_session(struct qp *q, const struct conf *c, int64_t deadline)
{
    struct session *s = c->session;
    char error[SQL_ERROR_MAX] = "";

    if (!c->backend->load(q, s->link))
        return trouble(q, c, "cannot load the client library",
            qp_printf(
                q, QP_CONNECTION, "%s: install %s", c->backend->library, c->backend->package));
    s->open = c->backend->open(s->link, &c->place, deadline, error);
    if (!s->open)
        return trouble(q, c, "cannot reach the database", error);
    if (c->backend->ask(s->link, &(struct sql_question){.query = SQL_SAMPLE}, &s->sample, deadline,
            error) != SQL_TROUBLE)
        return true;
    close_session(c);
    return trouble(q, c, "cannot ask the database", error);
}

/* A kept connection may have died since: so once more with a new one, in the same time. */
static enum sql_status
ask(struct qp *q, const struct conf *c, const struct sql_question *question, struct sql_row *row)
{
    int64_t deadline = qp_clock_ms() + c->timeout_ms;
    char error[SQL_ERROR_MAX] = "";

    for (bool kept = c->session->open;; kept = false) {
        enum sql_status status;

        if (!c->session->open && !open_session(q, c, deadline))
            return SQL_TROUBLE;
        status = c->backend->ask(c->session->link, question, row, deadline, error);
        if (status != SQL_TROUBLE)
            return status;
        close_session(c);
        if (!kept) {
            trouble(q, c, "cannot ask the database", error);
            return SQL_TROUBLE;
        }
        qp_log(q, QP_LOG_INFO, "the connection has ended, once more error=\"%s\"", error);
    }
}

/* ---- deciding ---- */

/* Printable ASCII in lower case, as vpopmail has its names: collations of databases take e for an
 * accented e, and ignore blanks at the end. false: nobody is called so. */
static bool
copy_name(const char *from, size_t n, char out[SQL_TEXT_MAX + 1])
{
    if (n == 0 || n > SQL_TEXT_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (from[i] <= ' ' || from[i] > '~')
            return false;
        out[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] | 0x20 : from[i]);
    }
    out[n] = '\0';
    return true;
}

static enum qp_rc
judge(struct qp *q, const struct qp_auth *a, const struct sql_row *row)
{
    const struct conf *c = qp_instance(q);
    const char *sample = c->session->sample.crypt;
    struct qp_password stored = {0};

    if (row && row->crypt[0])
        stored.crypt = row->crypt;
    if (row && row->clear[0])
        stored.clear = row->clear;
    return qp_password_check(q, a, row ? &stored : NULL, sample[0] ? sample : NULL);
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const char *at = strrchr(a->user, '@');
    char name[SQL_TEXT_MAX + 1], domain[SQL_TEXT_MAX + 1];
    const struct sql_question question = {SQL_USER, {name, domain}};
    struct sql_row row = {"", ""};
    enum sql_status status = SQL_ABSENT;
    enum qp_rc rc;

    if (!at)
        return QP_DECLINED;
    if (copy_name(a->user, (size_t)(at - a->user), name) &&
        copy_name(at + 1, strlen(at + 1), domain))
        status = ask(q, qp_instance(q), &question, &row);
    if (status == SQL_TROUBLE)
        rc = qp_denysoft(q, NULL);
    else
        rc = judge(q, a, status == SQL_FOUND ? &row : NULL);
    explicit_bzero(&row, sizeof row);
    return rc;
}

QP_PLUGIN(.name = "auth/auth_vpopmail_sql", .init = on_init, .auth_plain = on_auth,
    .auth_login = on_auth, .auth_cram_md5 = on_auth, .auth_scram = on_auth);
