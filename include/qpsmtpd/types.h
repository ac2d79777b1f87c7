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
    QP_TRANSACTION, /* until RSET, the next MAIL, HELO or EHLO, the end of DATA, the disconnect; before
                       MAIL, when much is kept, only until the command is answered */
    QP_CONNECTION, /* until the client is gone */
    QP_INSTANCE,   /* as long as this line of config/plugins is loaded */
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

/* What the DNS is asked for; the numbers are its own. */
enum qp_dns_type {
    QP_DNS_A = 1,
    QP_DNS_NS = 2,
    QP_DNS_SOA = 6,
    QP_DNS_PTR = 12,
    QP_DNS_MX = 15,
    QP_DNS_TXT = 16,
    QP_DNS_AAAA = 28,
};

enum qp_dns_status {
    QP_DNS_OK,        /* at least one record of the type asked for */
    QP_DNS_NODATA,    /* the name exists, without such records */
    QP_DNS_NXDOMAIN,  /* no such name */
    QP_DNS_SERVFAIL,  /* the servers have trouble: try again later */
    QP_DNS_REFUSED,   /* they do not want to answer */
    QP_DNS_TIMEOUT,   /* nobody answered within the deadline */
    QP_DNS_MALFORMED, /* what came is no answer: loops, cut records */
    QP_DNS_BUDGET,    /* not asked: this session has asked too much, or there is no session */
    QP_DNS_BAD_NAME,  /* the name cannot be asked for: NULL, empty, a label over 63, over 253 bytes,
                         control or 8-bit bytes */
};

#define QP_DNS_TEXT_MAX 8192 /* bytes of a TXT; a longer one is cut there */

struct qp_dns_record {
    uint32_t ttl;     /* seconds; the smallest on the way through CNAMEs */
    const char *text; /* A, AAAA: the address; MX, NS, PTR, SOA: a name, lower case, no final dot
                         ("" is the root: null MX); TXT: its strings concatenated */
    bool altered;     /* TXT: text is not what was published: bytes became '?', or it was cut */
    int preference;   /* MX */
    uint8_t ip[16];   /* A, AAAA: network order, IPv4 as ::ffff:a.b.c.d */
};

struct qp_dns_answer {
    enum qp_dns_status status;
    const char
        *name; /* lower case: the name that has the records, behind CNAMEs; "" when it was not
                         asked for (BUDGET, BAD_NAME) */
    size_t n;  /* records; 0 unless QP_DNS_OK; at most 100, MX sorted by preference */
    const struct qp_dns_record *record;
};

/* One line of a configuration file, trimmed; and where it stands, for messages to the
 * administrator. */
struct qp_line {
    const char *text;
    const char *file;    /* path; "hook config" when a plugin supplied the value */
    unsigned int number; /* from 1 */
};

#endif
