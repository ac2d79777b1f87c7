/*
 * smtp/starttls - encryption: on demand (STARTTLS, RFC 3207) and from the first byte (RFC 8314)
 *
 * Owns   when a connection may change to TLS, and what is forgotten when it does
 * Uses   net/stream (the layer), the hook `tls` (the library)
 * Keep   nothing that was read before the handshake is acted upon after it; when a handshake was
 *        begun, nothing is ever sent or read in the clear again
 */
#ifndef QPSMTPD_SMTP_STARTTLS_H
#define QPSMTPD_SMTP_STARTTLS_H

#include "smtp/reply.h"

/* starttls_offered - shall EHLO announce it? */
bool starttls_offered(const struct session *s);

struct reply starttls_run(struct session *s, const char *args);

/* starttls_implicit - the client begins with a handshake. false: it failed, the log says why, and
 * nothing can be said to it. */
bool starttls_implicit(struct session *s);

#endif
