/*
 * auth/auth_flat_file - users and passwords in a file
 *
 *   plugins file: auth/auth_flat_file
 *   file:         flat_auth_pw: "user@domain:password", clear or a hash of crypt(3) ($y$..., $6$...)
 *   hooks auth-plain, auth-login, auth-cram-md5, auth-scram: QP_OK, QP_DENY "wrong password",
 *                 QP_DECLINED for users that are not listed or have no domain
 *
 * A hash serves PLAIN and LOGIN only: for the others the password must be known.
 * Source: 1.00; with hashes, and a file that not everybody may read.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <qpsmtpd/password.h>
#include <qpsmtpd/plugin.h>

struct entry {
    const char *user;
    struct qp_password password;
    const struct qp_line *line;
};

struct conf {
    size_t n;
    struct entry *entry; /* sorted by user */
    const char *decoy;   /* one of the hashes; NULL: there are none */
};

/* ---- reading ---- */

static bool
is_private(struct qp *q, const struct qp_line *line)
{
    struct stat st;

    if (stat(line->file, &st) == 0 && (st.st_mode & S_IROTH) != 0)
        return qp_fail_at(
            q, line, "everybody can read these passwords: chmod o-rwx %s", line->file);
    return true;
}

static bool
entry_parse(struct qp *q, const struct qp_line *line, struct entry *out)
{
    char *user = qp_strdup(q, QP_INSTANCE, line->text);
    char *colon = strchr(user, ':');

    if (colon == NULL || colon[1] == '\0' || memchr(user, '@', (size_t)(colon - user)) == NULL)
        return qp_fail_at(q, line, "no user and password: write user@domain:password");
    *colon = '\0';
    *out = (struct entry){.user = user, .line = line};
    if (qp_password_is_crypt(colon + 1))
        out->password.crypt = colon + 1;
    else
        out->password.clear = colon + 1;
    return true;
}

static int
compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return strcasecmp(x->user, y->user);
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    struct qp_lines lines = qp_config_lines(q, "flat_auth_pw");
    size_t clear = 0;

    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv, (const struct qp_arg[]){{0}}))
        return false;
    c->entry = qp_alloc(q, QP_INSTANCE, lines.n * sizeof *c->entry);
    for (c->n = 0; c->n < lines.n; c->n++) {
        struct entry *e = &c->entry[c->n];

        if (!is_private(q, &lines.line[c->n]) || !entry_parse(q, &lines.line[c->n], e))
            return false;
        clear += e->password.clear != NULL;
        if (e->password.crypt != NULL)
            c->decoy = e->password.crypt;
    }
    qsort(c->entry, c->n, sizeof *c->entry, compare);
    for (size_t i = 1; i < c->n; i++)
        if (compare(&c->entry[i - 1], &c->entry[i]) == 0)
            return qp_fail_at(q, c->entry[i].line, "%s is listed twice", c->entry[i].user);
    if (clear == 0)
        qp_auth_no_secrets(q);
    return true;
}

/* ---- deciding ---- */

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    const struct entry key = {.user = a->user}, *e;

    if (strchr(a->user, '@') == NULL)
        return QP_DECLINED;
    e = bsearch(&key, c->entry, c->n, sizeof key, compare);
    return qp_password_check(q, a, e != NULL ? &e->password : NULL, c->decoy);
}

QP_PLUGIN(.name = "auth/auth_flat_file", .init = on_init, .auth_plain = on_auth,
    .auth_login = on_auth, .auth_cram_md5 = on_auth, .auth_scram = on_auth);
