/*
 * smtp/sasl - one exchange of AUTH, carried by libsasl2
 *
 * Owns   libsasl2 in this process: opened by the first exchange and never closed, so a server that
 *        nobody logs in to neither needs nor pays for it; no file in /etc is read, nothing is sent
 *        to syslog; whatever it frees is wiped
 * Uses   base, plugin/hooks (struct qp_auth). Who is right, somebody else decides: see exchange_ask
 * Keep   nobody passes about whom nobody was asked; he is asked once in an exchange at most
 *
 * PLAIN and LOGIN ask when libsasl2 wants the password checked (SASL_CB_SERVER_USERDB_CHECKPASS),
 * the others when it wants the user's secret, through an auxprop plug-in inside this process. That
 * moment lies behind the client's response to the CRAM-MD5 ticket: so both can be had there, a
 * secret that libsasl2 compares, or a verdict by hash and ticket.
 *
 * Source: RFC 4954, RFC 4422; RFC 4616, RFC 2195, RFC 5802, RFC 7677.
 */
#ifndef QPSMTPD_SMTP_SASL_H
#define QPSMTPD_SMTP_SASL_H

#include "plugin/hooks.h"

struct exchange;

enum exchange_answer {
    EXCHANGE_REFUSE, /* the client learns it at the end of the exchange, as with a wrong proof */
    EXCHANGE_ACCEPT, /* with a secret: if the proof fits it; else as it is */
    EXCHANGE_STOP,   /* refuse here and now */
};

/*
 * exchange_ask - may who come in?
 *
 * secret   to be set where who->password is NULL, and then only for EXCHANGE_ACCEPT; borrowed for
 *          the step
 */
typedef enum exchange_answer exchange_ask(
    void *data, const struct qp_auth *who, const char **secret);

enum exchange_status {
    EXCHANGE_MORE,      /* send the challenge, then step with the response */
    EXCHANGE_PASSED,    /* this and all others end it */
    EXCHANGE_FAILED,    /* the proof is wrong, or who was asked refused */
    EXCHANGE_INVALID,   /* nobody's name, or on behalf of somebody else; nobody was asked */
    EXCHANGE_MALFORMED, /* not what the mechanism prescribes; nobody was asked */
    EXCHANGE_BROKEN,    /* libsasl2 or its mechanism is not there; logged */
};

/*
 * exchange_new - nothing is sent or loaded yet
 *
 * a          where it lives; it ends with a
 * mechanism  upper case, borrowed as long; me, data too
 */
struct exchange *exchange_new(
    struct arena *a, const char *mechanism, const char *me, exchange_ask *ask, void *data);

/*
 * exchange_step - what the client said, and what follows from it
 *
 * response   decoded, borrowed for the call; NULL in the first step: the command had none
 * challenge  not encoded, borrowed until the next step; set for EXCHANGE_MORE
 */
enum exchange_status exchange_step(
    struct exchange *x, const struct str *response, struct str *challenge);

/* exchange_user - whom it was about, as far as that is known by now; "" before. Lives as x. */
const char *exchange_user(const struct exchange *x);

#endif
