/*
 * smtp/settings - the engine's own configuration, as values
 *
 * Owns   the name, the default and the range of each configuration file that the engine itself
 *        reads
 * Uses   plugin/hooks (the hook `config` may answer for any of them)
 * Keep   one snapshot serves a whole session; what an administrator wrote wrongly is told at start
 */
#ifndef QPSMTPD_SMTP_SETTINGS_H
#define QPSMTPD_SMTP_SETTINGS_H

#include "mail/message.h"
#include "plugin/hooks.h"
#include "smtp/data.h"

struct settings {
    const char *me;         /* me; default: the host's name */
    const char *greeting;   /* smtpgreeting; NULL: qpsmtpd's own */
    const char *local_host; /* localiphost; default me: what replaces [our address] in recipients;
                               NULL: neither file */
    const char *authres_id; /* me-auth-results; default me; NULL: "none", no such field */
    int64_t command_timeout_ms;  /* timeoutsmtpd, else timeout, else 1200 s */
    int64_t data_timeout_ms;     /* timeout, else timeoutsmtpd, else 1200 s; for each read */
    uint64_t max_recipients;     /* 1000; 0: no limit */
    uint64_t max_hops;           /* 100; 0: no limit */
    enum data_newlines newlines; /* bare_newlines */
    bool require_brackets;       /* require_angle_brackets */
    bool lenient_addresses;
    bool received_auth_user;            /* Received tells who logged in; 1 */
    const char *const *auth_mechanisms; /* upper case, the last is NULL; PLAIN LOGIN CRAM-MD5 */
    bool tls_before_auth;
    const int *tls_ports; /* local ports where clients begin with a handshake */
    size_t tls_ports_n;
    int64_t tls_timeout_ms;        /* tls_timeout, 30 s: for a handshake */
    uint64_t max_auth_failures;    /* 3; 0: no limit */
    int64_t auth_failure_delay_ms; /* auth_failure_delay, 1 s: for each failure before */
    bool enhanced;                 /* enhanced_status_codes */
    struct message_limits message; /* databytes, size_threshold, spool_dir, spool_perms */
};

#define SETTINGS_MECHANISM_MAX 20 /* bytes of a SASL mechanism's name; RFC 4422, 3.1 */

/* settings_mechanism_char - is c one of A-Z 0-9 - _ ? */
bool settings_mechanism_char(char c);

/*
 * settings_load - read them all
 *
 * c        answers of `config` hooks are asked for in it; texts live in arena a
 * returns  false: see e, which names file, line and remedy. What is only doubtful is a warning in
 * the log.
 */
bool settings_load(struct settings *s, struct context *c, struct arena *a, struct err *e);

#endif
