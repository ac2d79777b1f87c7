/*
 * mail/received - the trace field that we put on top of each message
 *
 * Owns   the layout of "Received:", which is that of qpsmtpd 0.28, and the protocol's name in it
 * Uses   base/arena, net/connection (its set of safe characters)
 * Keep   nothing that the client chose can end the field or begin another clause; no line is
 *        longer than 998 bytes (t/unit/received)
 *
 * Source: RFC 5321, 4.4; RFC 3848 for the protocol's name.
 */
#ifndef QPSMTPD_MAIL_RECEIVED_H
#define QPSMTPD_MAIL_RECEIVED_H

#include <time.h>

#include "base/arena.h"

/* All texts are borrowed for the call and made safe by it: each byte that qmail would not print is
 * '?'. */
struct received_facts {
    const char *remote_info;
    const char *hello_host; /* cut at 255 bytes */
    const char *remote_ip;
    const char *me;
    const char *version;
    const char *protocol;       /* received_protocol() */
    const char *tls_version;    /* "TLSv1.3"; "": none */
    const char *cipher;         /* of the TLS session; "": none */
    const char *auth_user;      /* NULL: say nothing of AUTH */
    const char *auth_mechanism; /* as it shall stand there: "cram-md5" */
    time_t now;
};

/* What the session was; bits for received_protocol(). */
enum received_with { RECEIVED_EHLO = 1, RECEIVED_TLS = 2, RECEIVED_AUTH = 4 };

/* received_protocol - "SMTP", "ESMTP", "ESMTPS", "ESMTPA" or "ESMTPSA"; after HELO always "SMTP" */
const char *received_protocol(unsigned with);

/* received_value - what follows "Received: ", folded with LF, no LF at the end; in local time */
const char *received_value(struct arena *a, const struct received_facts *facts);

#endif
