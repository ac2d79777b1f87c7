/*
 * auth/authdeny - say no to whom no other plugin has let in
 *
 *   plugins file: auth/authdeny        the last one that has to do with AUTH
 *   hook auth:    QP_DECLINED with "USER is not free to abuse my relay": 535
 *
 * With it alone PLAIN, LOGIN and CRAM-MD5 are announced, and nobody gets in. Source: r356, 1.00.
 */
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    return qp_declined(q, "%s is not free to abuse my relay", a->user);
}

QP_PLUGIN(.name = "auth/authdeny", .auth = on_auth);
