/*
 * qpsmtpd/plugin.h - what nearly every plugin needs: results, memory, notes, facts, envelope, log
 *
 * Further headers by subject: config.h (files and tables), args.h (words behind the plugin's name),
 * header.h (header fields), body.h (the message), dns.h (questions to the DNS), process.h (run a
 * program), regex.h, client.h.
 * The manual page is qpsmtpd-plugin(3); a complete plugin stands there.
 *
 * Texts that are given out are NUL-terminated and valid as long as the scope told beside them.
 * Nothing is freed by the plugin. No function here fails for lack of memory: that ends the session.
 */
#ifndef QPSMTPD_PLUGIN_H
#define QPSMTPD_PLUGIN_H

#include <stdarg.h>

#include <qpsmtpd/args.h>
#include <qpsmtpd/config.h>
#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

#define QP_PRINTF(at, first) __attribute__((format(printf, at, first)))

/* ---- results: `return qp_deny(q, "mail to %s not accepted here", to->address);` ---- */

/*
 * qp_deny and the others - set the reply's text and give the result, both at once
 *
 * format   printf's; several lines are separated by \n. CR and other control bytes become `?`, each
 *          line is cut at 500 bytes. NULL or "" keeps the default text of the hook.
 */
enum qp_rc qp_ok(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);
enum qp_rc qp_deny(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);
enum qp_rc qp_denysoft(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);
enum qp_rc qp_deny_disconnect(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);
enum qp_rc qp_denysoft_disconnect(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);
/* A queue plugin that cannot take the message says why; the text is used when nobody else takes it.
 */
enum qp_rc qp_declined(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);

/* qp_result - the same with a result that was chosen before (reject_type, an enum argument) */
enum qp_rc qp_result(struct qp *q, enum qp_rc rc, const char *format, ...) QP_PRINTF(3, 4);

/*
 * qp_deny_code - refuse with a code of your own: 4xx gives QP_DENYSOFT, 5xx QP_DENY
 *
 * enhanced  RFC 3463 status without text, "4.5.3"; its class must be that of code
 */
enum qp_rc qp_deny_code(struct qp *q, int code, const char *enhanced, const char *format, ...)
    QP_PRINTF(4, 5);

/*
 * qp_respond - answer the command yourself; return QP_DONE after it
 *
 * code     200..599. May be called several times: the replies are sent in this order, once the
 *          handler has returned QP_DONE; with any other result they are dropped.
 */
void qp_respond(struct qp *q, int code, const char *format, ...) QP_PRINTF(3, 4);

/* qp_disconnect - close the connection after the reply to this command, whatever the result is */
void qp_disconnect(struct qp *q);

/* ---- memory and state ---- */

/* qp_alloc - n zeroed bytes that live as long as scope; QP_INSTANCE only during init. Never NULL.
 */
void *qp_alloc(struct qp *q, enum qp_scope scope, size_t n);
char *qp_strdup(struct qp *q, enum qp_scope scope, const char *text);
char *qp_printf(struct qp *q, enum qp_scope scope, const char *format, ...) QP_PRINTF(3, 4);

/* qp_at_end - call fn(data) when scope ends: for descriptors, library objects */
void qp_at_end(struct qp *q, enum qp_scope scope, void (*fn)(void *data), void *data);

/* qp_instance - what qp_instance_set() was given in init; NULL before. Read only after init: the
 * memory is shared by all children. */
void qp_instance_set(struct qp *q, void *data);
const void *qp_instance(struct qp *q);

/* qp_state - this instance's own memory of that scope: size zeroed bytes at the first call, the
 * same ones until the scope ends. size is the same in each call. Not for QP_INSTANCE. */
void *qp_state(struct qp *q, enum qp_scope scope, size_t size);

/* ---- notes: named texts that plugins leave for each other (the names are qpsmtpd's) ---- */

/* qp_note - the text, or NULL; valid until it is set again or the scope ends. Not for QP_INSTANCE.
 */
const char *qp_note(struct qp *q, enum qp_scope scope, const char *name);
/* qp_note_set - copies; NULL removes the note */
void qp_note_set(struct qp *q, enum qp_scope scope, const char *name, const char *text);
/* qp_note_true - set, not empty and not "0" */
bool qp_note_true(struct qp *q, enum qp_scope scope, const char *name);
/* qp_note_int - the note as a number; 0 when unset or no number */
int qp_note_int(struct qp *q, enum qp_scope scope, const char *name);
/* qp_note_add - add to such a number (karma, counters); returns the new value */
int qp_note_add(struct qp *q, enum qp_scope scope, const char *name, int add);

/* qp_result_of - what that plugin ("check_relay:1") answered in that hook ("connect") of this
 * transaction, or, for hooks outside of one, of this connection; 0 when it was not asked */
enum qp_rc qp_result_of(struct qp *q, const char *plugin, const char *hook);

/* ---- the connection; texts live as long as it ---- */

const char *qp_remote_ip(struct qp *q); /* textual; "unknown" when the client is no network peer */
const char *qp_remote_host(struct qp *q); /* PTR name, else [ip]; only A-Z a-z 0-9 . - [ ] : */
const char *qp_remote_info(
    struct qp *q);                /* info@host when ident answered, else the host; safe to print */
int qp_remote_port(struct qp *q); /* 0: unknown */
const char *qp_local_ip(struct qp *q);   /* "": unknown */
int qp_local_port(struct qp *q);         /* 0: unknown */
const char *qp_local_host(struct qp *q); /* TCPLOCALHOST; "": unknown */

/* qp_env - an environment variable of this connection (tcprules: RELAYCLIENT, RBLSMTPD …); NULL:
 * unset */
const char *qp_env(struct qp *q, const char *name);
void qp_env_unset(struct qp *q, const char *name);

/* qp_connections - how many connections this client's address has open now, this one included, in
 * qpsmtpd-prefork; 0 where nobody counts. qp_connections_max: --max-from-ip, 0 for no limit */
int qp_connections(struct qp *q);
int qp_connections_max(struct qp *q);

/* qp_relay_client - may this connection relay? Set by a plugin (check_relay) and by AUTH. */
bool qp_relay_client(struct qp *q);
void qp_relay_client_set(struct qp *q, bool allowed);

/* qp_immune - shall checks be skipped for this client? True for relay clients, and when a note
 * whitelisthost, whitelistclient (connection) or whitelistsender (transaction) is true (1.00
 * is_immune) */
bool qp_immune(struct qp *q);

const char *qp_hello(struct qp *q);      /* "helo", "ehlo" or, before an accepted greeting, "" */
const char *qp_hello_host(struct qp *q); /* as sent; "" before */
unsigned int qp_command_count(struct qp *q);

/* qp_command_args - what followed the verb of the command that is being run; "" when nothing did */
const char *qp_command_args(struct qp *q);

/* qp_capability_add - in the ehlo hook: announce one more line ("XCLIENT NAME ADDR"). Its first
 * word is then accepted as a parameter of MAIL and RCPT. */
void qp_capability_add(struct qp *q, const char *line);

/* ---- the envelope; addresses live as long as the transaction ---- */

/* qp_sender - NULL before an accepted MAIL */
const struct qp_address *qp_sender(struct qp *q);
void qp_sender_set(struct qp *q, const struct qp_address *sender);

size_t qp_rcpt_count(struct qp *q);
const struct qp_address *qp_rcpt(struct qp *q, size_t i); /* NULL when i is too large */
void qp_rcpt_add(struct qp *q, const struct qp_address *recipient);
/* qp_rcpt_remove - all whose address is equal, case of the domain ignored; how many these were */
size_t qp_rcpt_remove(struct qp *q, const char *address);
/* qp_rcpt_suffix - what tcprules' RELAYCLIENT wants appended to each recipient (qmail-smtpd);
 * mostly "" */
const char *qp_rcpt_suffix(struct qp *q);

/* qp_param - value of a parameter of the MAIL or RCPT command that is being run; "" for one without
 * value, NULL when it was not sent. name in any case. */
const char *qp_param(struct qp *q, const char *name);

/* qp_address_parse - check "<user@host>" by the engine's rules. NULL: not acceptable. */
const struct qp_address *qp_address_parse(struct qp *q, enum qp_scope scope, const char *text);

/* ---- identity and log ---- */

const char *qp_plugin_name(struct qp *q); /* first word of the line in config/plugins */
const char *qp_hook_name(struct qp *q);
const char *qp_session_id(
    struct qp *q); /* 11 characters, unique on this host; "" outside of a session */
const char *qp_transaction_id(struct qp *q); /* session id, '.', number of the transaction from 1 */
const char *qp_me(struct qp *q);             /* config me: the name of this server */
const char *qp_version(void);                /* "1.0.0" */

/* qp_log - one line; what stands in front (session, plugin, hook) is added. Control and 8-bit bytes
 * arrive escaped. Formats nothing when nobody wants that level. Never give it a password. */
void qp_log(struct qp *q, enum qp_log_level level, const char *format, ...) QP_PRINTF(3, 4);

/* qp_logging_wants - in init of a plugin with the hook `logging`: the highest level it cares for,
 * so that lines above it are not even formatted; QP_LOG_DEBUG otherwise */
void qp_logging_wants(struct qp *q, enum qp_log_level level);

/* qp_fail - in init: the reason why the plugin cannot be loaded; file and line are put in front.
 * Gives false. */
bool qp_fail(struct qp *q, const char *format, ...) QP_PRINTF(2, 3);
/* qp_fail_at - the same for a line of a configuration file */
bool qp_fail_at(struct qp *q, const struct qp_line *line, const char *format, ...) QP_PRINTF(3, 4);

#endif
