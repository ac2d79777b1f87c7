/*
 * plugin/hooks - ask the plugins
 *
 * Owns   the list of hooks, and the one loop that runs a chain: in config order, until somebody
 *        has an opinion; who runs is noted in struct activity, what was answered is logged,
 *        recorded, and told to the hooks `deny` and `ok`
 * Uses   plugin/host
 * Keep   a handler's nonsense (no such result) is logged and skipped; it never decides
 */
#ifndef QPSMTPD_PLUGIN_HOOKS_H
#define QPSMTPD_PLUGIN_HOOKS_H

#include <qpsmtpd/auth.h>
#include <qpsmtpd/hooks.h>
#include <qpsmtpd/tls.h>

#include "conf/config.h"
#include "mail/transaction.h"
#include "net/connection.h"
#include "plugin/host.h"

/* X(constant, member of struct qp_plugin, name for people, shape of its parameters) */
#define HOOK_LIST(X)                                                                               \
    X(PRE_CONNECTION, pre_connection, "pre-connection", NONE)                                      \
    X(CONNECT, connect, "connect", NONE)                                                           \
    X(TLS, tls, "tls", OFFER)                                                                      \
    X(HELO_PARSE, helo_parse, "helo_parse", PARSE)                                                 \
    X(EHLO_PARSE, ehlo_parse, "ehlo_parse", PARSE)                                                 \
    X(HELO, helo, "helo", TEXT)                                                                    \
    X(EHLO, ehlo, "ehlo", TEXT)                                                                    \
    X(AUTH_PARSE, auth_parse, "auth_parse", PARSE)                                                 \
    X(AUTH_PLAIN, auth_plain, "auth-plain", AUTH)                                                  \
    X(AUTH_LOGIN, auth_login, "auth-login", AUTH)                                                  \
    X(AUTH_CRAM_MD5, auth_cram_md5, "auth-cram-md5", AUTH)                                         \
    X(AUTH_SCRAM, auth_scram, "auth-scram", AUTH)                                                  \
    X(AUTH, auth, "auth", AUTH)                                                                    \
    X(MAIL_PARSE, mail_parse, "mail_parse", PARSE)                                                 \
    X(RCPT_PARSE, rcpt_parse, "rcpt_parse", PARSE)                                                 \
    X(MAIL_PRE, mail_pre, "mail_pre", TEXT)                                                        \
    X(RCPT_PRE, rcpt_pre, "rcpt_pre", TEXT)                                                        \
    X(MAIL, mail, "mail", ADDRESS)                                                                 \
    X(RCPT, rcpt, "rcpt", ADDRESS)                                                                 \
    X(RCPT_ACCEPTED, rcpt_accepted, "rcpt_accepted", ADDRESS)                                      \
    X(DATA, data, "data", NONE)                                                                    \
    X(DATA_HEADERS_END, data_headers_end, "data_headers_end", NONE)                                \
    X(DATA_POST_HEADERS, data_post_headers, "data_post_headers", NONE)                             \
    X(RECEIVED_LINE, received_line, "received_line", NONE)                                         \
    X(DATA_POST, data_post, "data_post", NONE)                                                     \
    X(QUEUE_PRE, queue_pre, "queue_pre", NONE)                                                     \
    X(QUEUE, queue, "queue", NONE)                                                                 \
    X(QUEUE_POST, queue_post, "queue_post", NONE)                                                  \
    X(VRFY, vrfy, "vrfy", TEXT)                                                                    \
    X(NOOP, noop, "noop", TEXT)                                                                    \
    X(HELP, help, "help", TEXT)                                                                    \
    X(QUIT, quit, "quit", NONE)                                                                    \
    X(UNRECOGNIZED_COMMAND, unrecognized_command, "unrecognized_command", VERB)                    \
    X(RESET_TRANSACTION, reset_transaction, "reset_transaction", NONE)                             \
    X(DISCONNECT, disconnect, "disconnect", NONE)                                                  \
    X(POST_CONNECTION, post_connection, "post-connection", NONE)                                   \
    X(DENY, deny, "deny", VERDICT)                                                                 \
    X(OK, ok, "ok", VERDICT)                                                                       \
    X(CONFIG, config, "config", TEXT)                                                              \
    X(USER_CONFIG, user_config, "user_config", USER)                                               \
    X(LOGGING, logging, "logging", EVENT)

enum hook {
#define X(constant, member, name, shape) HOOK_##constant,
    HOOK_LIST(X)
#undef X
        HOOK_COUNT,
    HOOK_NONE = HOOK_COUNT, /* init, child_init */
};

/* A reply that a plugin gives itself. */
struct hook_reply {
    int code;
    const char *text;
    struct hook_reply *next;
};

/* What a chain has decided. Texts live in the command's arena. */
struct hook_result {
    enum qp_rc rc;        /* QP_DECLINED when nobody had an opinion */
    const char *text;     /* "" when none was given; the last one of those who declined survives */
    int code;             /* of qp_deny_code(); 0: the hook's own */
    const char *enhanced; /* of qp_deny_code(); NULL */
    const char *plugin;   /* who decided; NULL */
    bool disconnect;      /* qp_disconnect() was called */
    struct hook_reply *replies; /* of qp_respond(), in order */
    const char *secret;         /* of qp_auth_set_secret(); NULL */
    bool doubtful;              /* whether the plugin should have asked at all could not be told */
};

/* Where a chain runs: the session's parts that plugins may see. Owned by smtp/session. */
struct context {
    struct host *host;
    struct config *config;
    struct arena *command; /* reset before each command: texts of replies, parsed lines */
    struct connection *conn;
    struct transaction *txn;
    const char *args;              /* what followed the verb */
    const struct qp_param *params; /* of MAIL or RCPT */
    size_t n_params;
    const char *me;
    unsigned address_rules;    /* enum address_rules */
    const char **capabilities; /* added in the ehlo hook; of the command, until it is accepted */
    size_t n_capabilities;
};

struct config_lines; /* a value in the making */

/* Parameters of the handlers; only those of the hook's shape are read. */
struct hook_args {
    const char *text, *rest;
    const struct qp_address *address;
    struct qp_parsed *parsed;
    const struct qp_verdict *verdict;
    const struct qp_log_event *event;
    const struct qp_auth *auth;
    struct qp_tls_offer *offer;
    struct config_lines *answer; /* CONFIG, USER_CONFIG: where qp_config_answer() puts lines */
};

/* hook_run - ask every plugin that has this hook. args may be NULL for the shape NONE. */
struct hook_result hook_run(struct context *c, enum hook hook, const struct hook_args *args);

/* hook_session - a session begins in this context, or, with NULL, it is over; forgets what was
 * answered before */
void hook_session(struct host *h, struct context *c);

/* hook_transaction - a new transaction: forget what plugins have answered in the hooks of the last
 * one */
void hook_transaction(struct host *h);

/* hook_used - does any plugin have it? Then work that only serves this hook is worth doing. */
bool hook_used(const struct host *h, enum hook hook);

const char *hook_name(enum hook hook);

/* hook_find - by its name for people; HOOK_NONE: there is no such hook */
enum hook hook_find(const char *name);

/* hook_config_answer - what the hook `config` says; false: nothing, so the files count */
bool hook_config_answer(struct context *c, const char *name, struct config_value *out);

/* hook_config - a configuration file: the hook `config`, then the files. The lines live as long as
 * the command. */
enum config_status hook_config(
    struct context *c, const char *name, struct config_value *out, struct err *e);

#endif
