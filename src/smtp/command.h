/*
 * smtp/command - one line in, one reply out
 *
 * Owns   the table of verbs: name, handler, and what must have happened before
 * Keep   the dispatcher answers what the table can answer (503, 500); a handler parses, asks its
 *        hook and changes state, and never writes to the client
 */
#ifndef QPSMTPD_SMTP_COMMAND_H
#define QPSMTPD_SMTP_COMMAND_H

#include "smtp/state.h"

#define COMMAND_LINE_MAX 2048 /* bytes without the line end; RFC 5321, 4.5.3.1.4 wants 512 */

/* command_run - line is a view into the input buffer */
struct reply command_run(struct session *s, struct str line);

/* command_line_max - bytes that the next line may have: AUTH has a bound of its own */
size_t command_line_max(const struct session *s);

/* command_too_long - a line over the bound was dropped */
struct reply command_too_long(struct session *s);

/* The handlers; args is what followed the verb, trimmed. One file holds what belongs together. */
struct reply hello_helo(struct session *s, const char *args);
struct reply hello_ehlo(struct session *s, const char *args);
struct reply auth_auth(struct session *s, const char *args);
struct reply envelope_mail(struct session *s, const char *args);
struct reply envelope_rcpt(struct session *s, const char *args);
struct reply envelope_rset(struct session *s, const char *args);
struct reply receive_data(struct session *s, const char *args);
struct reply receive_bdat(struct session *s, const char *args);
struct reply minor_noop(struct session *s, const char *args);
struct reply minor_help(struct session *s, const char *args);
struct reply minor_vrfy(struct session *s, const char *args);
struct reply minor_quit(struct session *s, const char *args);
struct reply minor_proxy(struct session *s); /* a proxy's header from a client that is none */
struct reply minor_unrecognized(
    struct session *s, const char *verb, const char *args, const char *text);

#endif
