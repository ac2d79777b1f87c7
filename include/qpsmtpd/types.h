/*
 * qpsmtpd/types.h - the values that the engine and its plugins share
 *
 * The numbers of enum qp_rc are part of the ABI; they are those of qpsmtpd since 2002.
 */
#ifndef QPSMTPD_TYPES_H
#define QPSMTPD_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a handler answers. Anything but QP_DECLINED ends the hook's chain. */
enum qp_rc {
    QP_OK = 900,                  /* allowed; done with success */
    QP_DENY = 901,                /* refused for good: 5xx */
    QP_DENYSOFT = 902,            /* refused for now: 4xx */
    QP_DENY_DISCONNECT = 903,     /* refused for good, then the connection is closed */
    QP_DENYSOFT_DISCONNECT = 904, /* refused for now, then the connection is closed */
    QP_DECLINED = 909,            /* no opinion: ask the next plugin */
    QP_DONE = 910, /* the plugin has answered itself (qp_respond) or none is needed */
};
#define QP_DENYHARD QP_DENY_DISCONNECT /* its name before 2004 */

/* How long something lives. */
enum qp_scope {
    QP_TRANSACTION, /* until RSET, the next MAIL, HELO or EHLO, the end of DATA, the disconnect */
    QP_CONNECTION,  /* until the client is gone */
    QP_INSTANCE,    /* as long as this line of config/plugins is loaded */
};

/* syslog's numbers, which are those of qpsmtpd 1.00 */
enum qp_log_level {
    QP_LOG_EMERG,
    QP_LOG_ALERT,
    QP_LOG_CRIT,
    QP_LOG_ERROR,
    QP_LOG_WARN,
    QP_LOG_NOTICE,
    QP_LOG_INFO,
    QP_LOG_DEBUG,
};

/*
 * A mailbox of the envelope, as the parser of the engine let it through (RFC 5321, 4.1.2): no NUL,
 * no control byte; all texts NUL-terminated, in the spelling of the client: compare without case.
 */
struct qp_address {
    const char
        *address;     /* user@host, unquoted; "" for the null sender; user alone for <postmaster> */
    const char *user; /* local part, unquoted; "" for the null sender */
    const char *host; /* domain or address literal; "" for the null sender and for <postmaster> */
    const char
        *format; /* canonical, with angle brackets, quoted where needed: what a peer can parse */
};

/* One ESMTP parameter of MAIL or RCPT: SIZE=1000 */
struct qp_param {
    const char *name;  /* upper case */
    const char *value; /* as sent; "" when there was no = */
};

/* One line of a configuration file, trimmed; and where it stands, for messages to the
 * administrator. */
struct qp_line {
    const char *text;
    const char *file;    /* path; "hook config" when a plugin supplied the value */
    unsigned int number; /* from 1 */
};

#endif
