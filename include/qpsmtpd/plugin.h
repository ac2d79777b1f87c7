/*
 * qpsmtpd/plugin.h - what nearly every plugin needs: results, memory, identity, log
 *
 * With it come args.h (words behind the plugin's name), config.h (files and tables), connection.h,
 * envelope.h, hooks.h and notes.h. Further headers by subject: header.h (header fields), body.h (the
 * message), dns.h, auth.h, process.h (run a program), peer.h (ask a daemon), regex.h, client.h.
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
#include <qpsmtpd/connection.h>
#include <qpsmtpd/envelope.h>
#include <qpsmtpd/hooks.h>
#include <qpsmtpd/notes.h>
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
