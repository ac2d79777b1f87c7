/*
 * smtp/state - what a session is, shared by the files of smtp/ that make it go on
 *
 * Owns   the definition of struct session, and the steps that every command needs: ask a hook, end
 *        a transaction
 * Keep   included by smtp/ only; session.c is the one that creates and ends
 */
#ifndef QPSMTPD_SMTP_STATE_H
#define QPSMTPD_SMTP_STATE_H

#include "smtp/outcome.h"
#include "smtp/session.h"
#include "smtp/settings.h"

/* A message on its way in, from the accepted DATA or first BDAT to the reply behind its end. */
struct incoming {
    bool active; /* between two BDATs, or inside of DATA */
    struct data decoder;
    struct reply
        refusal; /* of the hook data_headers_end, given when the message has ended; code 0: none */
    bool refused;
    char *block; /* what the decoder has made of one block of input; room for STREAM_IN + 2 */
    size_t used; /* of it, by this client */
};

/* AUTH: what its steps hand to one another. What came of it stands in struct connection. */
struct auth {
    bool offered; /* by an EHLO: it is a command now */
    bool exposed; /* behind AUTH: what is no command may be a response out of place */
    bool relay;   /* it made the client a relay client */
    unsigned failures;
    struct exchange *exchange;
    const char *mechanism;      /* upper case */
    struct hook_result verdict; /* of the hooks; QP_DECLINED: none yet */
};

struct session {
    struct context context; /* first of all: plugins see the session through it */
    struct connection conn;
    struct transaction txn;
    struct settings common;   /* read once, for every session of this process */
    struct settings settings; /* of this session: hooks and tcprules may change some */
    struct storage *storage;  /* the arenas' memory */
    struct arena *process;    /* settings that serve all sessions, the block above */
    struct arena *conn_arena, *txn_arena, *command_arena;
    struct arena *hello_arena; /* what the last accepted HELO or EHLO said, and was told */
    struct stream *stream;
    struct incoming incoming;
    struct auth auth;
    int in, out;                          /* descriptors of the client; for the TLS layer alone */
    const struct qp_tls_offer *tls_offer; /* between STARTTLS and its handshake */
    bool said_quit;                       /* the client did */
    bool leaving;                         /* the connection ends after the reply that is due */
    enum session_end end;
};

/*
 * session_ask - run a hook and look up what its decision means
 *
 * about    see outcome_reply()
 * returns  true: *reply answers the command; false: go on
 */
bool session_ask(struct session *s, enum hook hook, const struct hook_args *args, const char *about,
    struct reply *reply);

/* session_run_hook - run a hook whose decision the caller judges itself */
struct hook_result session_run_hook(
    struct session *s, enum hook hook, const struct hook_args *args);

/* session_end_transaction - the one end of a transaction: hooks reset_transaction, then everything
 * of it, spool included, is gone and an empty one stands in its place */
void session_end_transaction(struct session *s);

/* session_input_ended - no line came: the last reply, if the client can still hear one */
struct reply session_input_ended(struct session *s, enum stream_status status);

/* session_deadline - clock_ms() until which a command line may take, or one read of a message */
int64_t session_command_deadline(const struct session *s);
int64_t session_data_deadline(const struct session *s);

#endif
