/*
 * auth/authnull - let everybody in: for tests, never installed
 *
 *   plugins file: auth/authnull
 *   hook auth:    QP_OK with "USER is free to abuse my relay": 235
 *
 * Source: r356; 1.00 removed it.
 */
#include <qpsmtpd/plugin.h>

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    return qp_ok(q, "%s is free to abuse my relay", a->user);
}

QP_PLUGIN(.name = "auth/authnull", .auth = on_auth);
