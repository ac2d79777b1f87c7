/*
 * qpsmtpd/password.h - is it the password of that user? (1.00 Auth.pm, validate_password)
 *
 * For plugins that keep clear passwords or hashes of crypt(3). The engine loads that library for the first hash.
 */
#ifndef QPSMTPD_PASSWORD_H
#define QPSMTPD_PASSWORD_H

#include <string.h>

#include <qpsmtpd/auth.h>
#include <qpsmtpd/plugin.h>

/* What is stored of a user; NULL: nothing of that kind. */
struct qp_password {
    const char *clear;
    const char *crypt; /* $y$..., $6$..., any that crypt(3) knows */
};

/* qp_password_is_crypt - does text look like a hash that crypt(3) here can compute? */
bool qp_password_is_crypt(const char *text);

/* qp_password_crypt_is - is `crypted` the hash of that password? */
bool qp_password_crypt_is(const char *password, const char *crypted);

/*
 * qp_password_check - the verdict for a hook of AUTH
 *
 * stored   of that user; NULL: there is no such user here, QP_DECLINED
 * decoy    some hash as good as those that are stored, or NULL: who has no hash, or does not exist,
 *          costs the client as much time as who has one, and reads the same in the reply
 * returns  QP_OK with the plugin's name as text, QP_DENY "NAME - wrong password", or QP_DECLINED.
 *          For mechanisms without a password the clear one is given to the engine, which compares;
 *          with a hash alone nothing can be compared: QP_DECLINED
 */
static inline enum qp_rc
qp_password_check(
    struct qp *q, const struct qp_auth *a, const struct qp_password *stored, const char *decoy)
{
    const char *name = strrchr(qp_plugin_name(q), '/');
    const char *clear = stored != NULL ? stored->clear : NULL;
    const char *crypted = stored != NULL && stored->crypt != NULL ? stored->crypt : NULL;
    bool right = false;

    name = name != NULL ? name + 1 : qp_plugin_name(q);
    if (stored != NULL && clear == NULL && crypted == NULL)
        return qp_deny(q, "%s - no such user", name);
    if (a->password == NULL) {
        if (clear == NULL) /* without a text: a wrong proof has none either */
            return QP_DECLINED;
        qp_auth_set_secret(q, clear);
        return qp_ok(q, "%s", name);
    }
    if (crypted != NULL)
        right = qp_password_crypt_is(a->password, crypted);
    else if (decoy != NULL)
        qp_password_crypt_is(a->password, decoy);
    if (clear != NULL && qp_auth_equal(a->password, clear))
        right = true;
    if (right)
        return qp_ok(q, "%s", name);
    return qp_result(q, stored != NULL ? QP_DENY : QP_DECLINED, "%s - wrong password", name);
}

#endif
