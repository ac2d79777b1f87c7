/*
 * smtp/auth - AUTH: who may try it and how often, and what follows from it
 *
 * Owns   which mechanisms are announced, the order of the checks, the replies, the two log lines
 *        ("auth passed: …", "auth failed: …": config.sample/fail2ban reads them), and what a
 *        session remembers
 * Uses   smtp/sasl for the exchange; the hooks decide
 * Keep   no password, no AUTH line and no response is ever logged or shown to a plugin that is not
 *        asked for a verdict; what was read is wiped as soon as it was judged
 *
 * Source: RFC 4954; qpsmtpd 1.00 for the texts.
 */
#ifndef QPSMTPD_SMTP_AUTH_H
#define QPSMTPD_SMTP_AUTH_H

#include "smtp/state.h"

#define AUTH_LINE_MAX 12288 /* bytes without the line end, the command's too; RFC 4954, 4 */

/* auth_offer - the mechanisms for the EHLO that is being answered, "PLAIN LOGIN"; "": none, or not
 * before TLS. From now on AUTH is a command. Lives as long as the command. */
const char *auth_offer(struct session *s);

#endif
