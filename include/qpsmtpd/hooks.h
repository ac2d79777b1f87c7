/*
 * qpsmtpd/hooks.h - what a plugin exports: one constant, a typed pointer for each hook it uses
 *
 * Handlers of one hook run in the order of config/plugins; the first result other than QP_DECLINED
 * ends the chain. Which reply a result becomes is told beside each hook; text set with qp_deny()
 * and its kin replaces the default text. All four QP_DENY* are honoured wherever a reply can be
 * given. Names are those of qpsmtpd (r356, and "1.00" where only the last Perl release had the
 * hook).
 */
#ifndef QPSMTPD_HOOKS_H
#define QPSMTPD_HOOKS_H

#include <qpsmtpd/auth.h>
#include <qpsmtpd/types.h>

/* Changes when a plugin that was compiled before could no longer run. Growing at the end is no
 * change. */
#define QP_ABI 1

struct qp_tls_offer;

/* One call: which plugin, in which hook, for which connection and transaction. Valid during the
 * call. */
struct qp;

/* What qp_log() and the engine say; for the hook `logging` (1.00). */
struct qp_log_event {
    enum qp_log_level level;
    const char *session; /* id of the connection; NULL outside of one */
    const char *hook;    /* NULL outside of a hook */
    const char *plugin;  /* NULL when the engine speaks */
    const char *text;    /* one line, control bytes escaped */
};

/* What a handler has just answered; for the hooks `deny` and `ok`. */
struct qp_verdict {
    const char *plugin; /* as in config/plugins: check_relay:1 */
    const char *hook;
    enum qp_rc rc;
    const char *text; /* "" when none was given */
};

/* What a *_parse hook has understood. Texts must live at least as long as the transaction. */
struct qp_parsed {
    const char *argument; /* host name, mechanism, or the address with its angle brackets */
    const struct qp_param *params; /* ESMTP parameters; NULL when n_params is 0 */
    size_t n_params;
};

struct qp_plugin {
    uint32_t abi;  /* QP_ABI; set by QP_PLUGIN */
    uint32_t size; /* sizeof(struct qp_plugin); set by QP_PLUGIN */
    const char *name;

    /* ---- life of the plugin ---- */

    /* Once for each line of config/plugins, before any client, with the words of that line
     * (argv[0] is its first word; argv[argc] is NULL). false refuses to start: say why with
     * qp_fail(). */
    bool (*init)(struct qp *q, int argc, const char *const argv[]);

    /* In each process that serves clients, after privileges were dropped: the place to open what
     * must not be shared (1.00: post-fork). Result ignored. */
    void (*child_init)(struct qp *q);

    /* ---- connection ---- */

    /* After accept(), before the greeting and before `connect` (1.00). DENY 554, DENYSOFT 421; then
     * close. */
    enum qp_rc (*pre_connection)(struct qp *q);

    /* Before the greeting. DENY 554, DENYSOFT 421, both close; DONE: the plugin greeted. */
    enum qp_rc (*connect)(struct qp *q);

    /* HELO and EHLO. DENY 550, DENYSOFT 450; with _DISCONNECT 550 and 421. qp_hello() is not set
     * yet. */
    enum qp_rc (*helo)(struct qp *q, const char *host);
    enum qp_rc (*ehlo)(struct qp *q, const char *host);

    /* ---- envelope ---- */

    /* Instead of the engine's own parser (1.00). args is what followed the verb. QP_OK: *out holds
     * the result; DENY: 501 with the text given; DECLINED: the engine parses. */
    enum qp_rc (*helo_parse)(struct qp *q, const char *args, struct qp_parsed *out);
    enum qp_rc (*ehlo_parse)(struct qp *q, const char *args, struct qp_parsed *out);
    enum qp_rc (*mail_parse)(struct qp *q, const char *args, struct qp_parsed *out);
    enum qp_rc (*rcpt_parse)(struct qp *q, const char *args, struct qp_parsed *out);

    /* Between parsing and checking (1.00): address is the text as sent, with or without angle
     * brackets. QP_OK with a text, `return qp_ok(q, "<%s>", address)`, replaces it; other results
     * change nothing. */
    enum qp_rc (*mail_pre)(struct qp *q, const char *address);
    enum qp_rc (*rcpt_pre)(struct qp *q, const char *address);

    /* MAIL. DENY 550, DENYSOFT 450 (_DISCONNECT 421); otherwise the sender is accepted. */
    enum qp_rc (*mail)(struct qp *q, const struct qp_address *sender);

    /* RCPT. Only OK accepts. DENY 550, DENYSOFT 450 (_DISCONNECT 421); nobody decided: 450. A
     * plugin that only refuses answers DECLINED for the rest: OK would let the recipient in. */
    enum qp_rc (*rcpt)(struct qp *q, const struct qp_address *recipient);

    /* ---- message ---- */

    /* DATA or the first BDAT, before 354. DENY 554, DENYSOFT 451 (_DISCONNECT 421). */
    enum qp_rc (*data)(struct qp *q);

    /* The header is complete, the body still comes (1.00). DENY 554, DENYSOFT 451: the rest is read
     * and thrown away, then refused; with _DISCONNECT at once. */
    enum qp_rc (*data_headers_end)(struct qp *q);

    /* The message is complete, our own fields are not added yet (1.00). Result ignored. */
    enum qp_rc (*data_post_headers)(struct qp *q);

    /* Building our Received field (1.00). OK with a text replaces what follows "Received: ". */
    enum qp_rc (*received_line)(struct qp *q);

    /* The message is complete. DENY 554, DENYSOFT 451 (_DISCONNECT 421); DONE: answered, not
     * queued. */
    enum qp_rc (*data_post)(struct qp *q);

    /* Before `queue` (1.00). OK, DECLINED go on; DONE stops without a reply of the engine; others
     * as queue. */
    enum qp_rc (*queue_pre)(struct qp *q);

    /* Store the message. OK: 250, and it is safe: fsync'ed, or taken by the next hop. DENY 554,
     * DENYSOFT 451. DECLINED: the next queue plugin is asked; when none takes it, 451 with the last
     * text. There is at least one recipient: where plugins have removed all, the engine says 554. */
    enum qp_rc (*queue)(struct qp *q);

    /* After the reply to the message (1.00); the transaction is a new one. Result ignored. */
    enum qp_rc (*queue_post)(struct qp *q);

    /* ---- other commands; args is what followed the verb ---- */

    enum qp_rc (*vrfy)(struct qp *q, const char *args); /* OK 250, DENY 554, else 252 */
    enum qp_rc (*noop)(struct qp *q, const char *args); /* DENY 500, else 250 */
    enum qp_rc (*help)(struct qp *q, const char *args); /* DENY 500, else 214 with the text given */
    enum qp_rc (*quit)(struct qp *q); /* DONE: the plugin said good-bye; else 221 */

    /* A verb the engine does not know, in lower case. DENY and DENY_DISCONNECT: 521 and close;
     * DONE: the plugin implements the command; else 500. */
    enum qp_rc (*unrecognized_command)(struct qp *q, const char *verb, const char *args);

    /* ---- ends; results ignored, but anything other than DECLINED ends the chain ---- */

    enum qp_rc (*reset_transaction)(struct qp *q); /* a transaction is about to be forgotten */
    enum qp_rc (*disconnect)(struct qp *q);        /* once for each connection, whatever ended it */
    enum qp_rc (*post_connection)(struct qp *q);   /* the last of all (1.00) */

    /* ---- watching, configuring, logging ---- */

    enum qp_rc (*deny)(struct qp *q, const struct qp_verdict *v); /* a handler answered QP_DENY* */
    enum qp_rc (*ok)(
        struct qp *q, const struct qp_verdict *v); /* a handler answered something else (1.00) */

    /* A configuration value is asked for: qp_config_answer() for each line, then QP_OK. An answer
     * without lines is an empty value; DECLINED: the next source. */
    enum qp_rc (*config)(struct qp *q, const char *name);
    enum qp_rc (*user_config)(
        struct qp *q, const struct qp_address *user, const char *name); /* 1.00 */

    /* Each line that is logged, of any level (1.00). The engine writes itself only when no loaded
     * plugin has this hook. What a handler logs in here is dropped. */
    enum qp_rc (*logging)(struct qp *q, const struct qp_log_event *event);

    /* ---- AUTH: see auth.h; names for people are auth_parse, auth-plain, auth-login, auth-cram-md5,
     * auth-scram and auth ---- */

    /* Instead of the engine's own parser (1.00), as mail_parse: QP_OK with out->argument, mechanism
     * and, after a blank, the initial response, takes the place of args. */
    enum qp_rc (*auth_parse)(struct qp *q, const char *args, struct qp_parsed *out);

    /* A proof has arrived. OK 235; DENY 535; DENYSOFT 454, nobody can tell now; DENY_DISCONNECT 535
     * and close, DENYSOFT_DISCONNECT 421; a text given is appended. DECLINED: the next one is asked,
     * then those who have `auth`; nobody said OK: 535. auth_scram serves all SCRAM-*. A mechanism is
     * announced when a loaded plugin has its hook or `auth`, and config auth_mechanisms lists it. */
    enum qp_rc (*auth_plain)(struct qp *q, const struct qp_auth *a);
    enum qp_rc (*auth_login)(struct qp *q, const struct qp_auth *a);
    enum qp_rc (*auth_cram_md5)(struct qp *q, const struct qp_auth *a);
    enum qp_rc (*auth_scram)(struct qp *q, const struct qp_auth *a);
    enum qp_rc (*auth)(struct qp *q, const struct qp_auth *a);

    /* ---- TLS: see tls.h ---- */

    /* A client wants encryption, by STARTTLS or on a port that begins with it. OK: *offer is
     * complete; anything else: TLS is not available now (454). STARTTLS is announced when a loaded
     * plugin has this hook. */
    enum qp_rc (*tls)(struct qp *q, struct qp_tls_offer *offer);

    /* ---- envelope again: what came later stands at the end ---- */

    /* RCPT was accepted by the hook rcpt, the recipient is not in the envelope yet: for who must be
     * told of those recipients alone, a peer that keeps the envelope. DENY 550, DENYSOFT 450
     * (_DISCONNECT 421); otherwise it goes in. */
    enum qp_rc (*rcpt_accepted)(struct qp *q, const struct qp_address *recipient);
};

/*
 * QP_PLUGIN - define what the plugin exports
 *
 *     QP_PLUGIN(.name = "check_badrcptto", .rcpt = on_rcpt);
 */
#define QP_PLUGIN(...)                                                                             \
    __attribute__((visibility("default"))) const struct qp_plugin qp_plugin = {                    \
        .abi = QP_ABI, .size = sizeof(struct qp_plugin), __VA_ARGS__}

extern const struct qp_plugin qp_plugin;

#endif
