/*
 * nexthop/sasl - who we are: the client's side of AUTH
 *
 * Owns   libsasl2's client functions in this process, loaded by the first AUTH; which mechanisms may
 *        be used; base64
 * Keep   a mechanism that shows the password is not used where others may listen; nothing here
 *        reaches a log
 */
#ifndef NEXTHOP_SASL_H
#define NEXTHOP_SASL_H

#include <stdbool.h>
#include <stddef.h>

#include <sasl/sasl.h>
#include <sasl/saslutil.h>

#define SASL_LIST_MAX 256
#define SASL_LINE_MAX 2048 /* of base64; no mechanism of ours needs more */

#define SASL_FUNCTIONS(X)                                                                          \
    X(sasl_client_init)                                                                            \
    X(sasl_client_new)                                                                             \
    X(sasl_client_start)                                                                           \
    X(sasl_client_step)                                                                            \
    X(sasl_setprop)                                                                                \
    X(sasl_dispose)                                                                                \
    X(sasl_encode64)                                                                               \
    X(sasl_decode64)                                                                               \
    X(sasl_errstring)

/* clang-format off */
#define SASL_MEMBER(f) __typeof__(&(f)) f;
struct sasl_library {
    bool ready;
    SASL_FUNCTIONS(SASL_MEMBER)
};
/* clang-format on */
#undef SASL_MEMBER

struct sasl_credentials {
    const char *user, *password;
};

struct sasl_exchange {
    const struct sasl_library *lib;
    const struct sasl_credentials *who;
    sasl_conn_t *conn;
    sasl_callback_t callbacks[5];
    sasl_secret_t *secret;
    const char *mechanism;   /* that was chosen */
    char out[SASL_LINE_MAX]; /* what is to be sent, base64 */
    bool has_out;            /* in sasl_begin: there is an initial response */
    const char *why;
};

/* sasl_load - find and start the library. false: *why; may be called again. */
bool sasl_load(struct sasl_library *lib, const char **why);

/* sasl_usable - out of the words of `offered`, those that this module speaks; room SASL_LIST_MAX */
void sasl_usable(const char *offered, char *out);

/*
 * sasl_begin - choose a mechanism, make its first message
 *
 * service   "smtp", "lmtp"; host: the server's name
 * list      of sasl_usable()
 * clear     may the password itself be sent?
 * returns   false: x->why. sasl_end() is due in any case.
 */
bool sasl_begin(struct sasl_exchange *x, const struct sasl_library *lib,
    const struct sasl_credentials *who, const char *service, const char *host, const char *list,
    bool clear);

/* sasl_answer - to a challenge, base64; false: x->why */
bool sasl_answer(struct sasl_exchange *x, const char *challenge);

void sasl_end(struct sasl_exchange *x);

#endif
