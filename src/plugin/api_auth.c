/*
 * SMTP AUTH as plugins see it: <qpsmtpd/auth.h>.
 */
#include <qpsmtpd/auth.h>

#include "plugin/instance.h"

enum qp_rc
qp_auth_set_secret(struct qp *q, const char *secret)
{
    q->result->secret = arena_dup(q->context->command, str_of(secret));
    return QP_OK;
}

void
qp_auth_no_secrets(struct qp *q)
{
    q->instance->plugin.auth_cram_md5 = NULL;
    q->instance->plugin.auth_scram = NULL;
}

bool
qp_auth_equal(const char *given, const char *secret)
{
    size_t n = strlen(given), m = strlen(secret);
    volatile size_t differs = n ^ m; /* volatile: no early end may be optimised in */

    for (size_t i = 0; i < n; i++)
        differs |= (size_t)(unsigned char)(given[i] ^ secret[m ? i % m : 0]);
    return differs == 0;
}

const char *
qp_auth_user(struct qp *q)
{
    const struct connection *c = q->context->conn;

    return c && c->auth == CONNECTION_AUTH_PASSED ? c->auth_user : NULL;
}

const char *
qp_auth_mechanism(struct qp *q)
{
    const struct connection *c = q->context->conn;

    return c && c->auth == CONNECTION_AUTH_PASSED ? c->auth_mechanism : NULL;
}
