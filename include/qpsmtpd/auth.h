/*
 * qpsmtpd/auth.h - SMTP AUTH: who wants in, and with what proof
 *
 * The engine carries the exchange, the hooks decide: first those of the mechanism (auth_plain,
 * auth_login, auth_cram_md5, auth_scram), and when none of them has an opinion, `auth`.
 *
 *     static enum qp_rc
 *     on_auth(struct qp *q, const struct qp_auth *a)
 *     {
 *         const char *secret = lookup(q, a->user);
 *
 *         if (secret == NULL)
 *             return QP_DECLINED;
 *         if (a->password == NULL)
 *             return qp_auth_set_secret(q, secret);
 *         return qp_auth_equal(a->password, secret) ? QP_OK : QP_DENY;
 *     }
 *
 * A plugin that has hashes of crypt(3) includes password.h as well.
 */
#ifndef QPSMTPD_AUTH_H
#define QPSMTPD_AUTH_H

#include <qpsmtpd/types.h>

struct qp;

/* One attempt. Texts are the client's, without NUL but otherwise any bytes; they live as long as the
 * call. Never log password, hash or ticket. */
struct qp_auth {
    const char *mechanism; /* lower case: "plain", "login", "cram-md5", "scram-sha-256" */
    const char *user;      /* who wants in; not empty */
    const char *password;  /* not empty; NULL: the mechanism does not send it */
    const char *hash;      /* of CRAM-MD5: 32 hex digits, the HMAC-MD5 of ticket; else NULL */
    const char *ticket;    /* of CRAM-MD5: our challenge, <...> included; else NULL */
    const char *authzid;   /* as whom: "" or the same as user, all else was refused before */
};

/*
 * qp_auth_set_secret - the clear password of that user, where a->password is NULL; return QP_OK
 *
 * The engine checks the client's proof with it. Copied, and wiped after the exchange. In a hook of
 * CRAM-MD5 a plugin may instead compare a->hash itself and answer QP_OK without a secret; for SCRAM
 * a QP_OK without a secret is a refusal.
 */
enum qp_rc qp_auth_set_secret(struct qp *q, const char *secret);

/* qp_auth_no_secrets - in init: this instance knows hashes only. Its hooks auth_cram_md5 and
 * auth_scram are not used, so that these mechanisms are not announced on its account. */
void qp_auth_no_secrets(struct qp *q);

/* qp_auth_equal - are they the same? The time taken tells nothing but the length of `given`. */
bool qp_auth_equal(const char *given, const char *secret);

/* qp_auth_user, qp_auth_mechanism - of the AUTH that succeeded on this connection, the mechanism in
 * lower case; NULL before */
const char *qp_auth_user(struct qp *q);
const char *qp_auth_mechanism(struct qp *q);

#endif
