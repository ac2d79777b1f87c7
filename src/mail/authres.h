/*
 * mail/authres - Authentication-Results: ours is written, forged ones are taken out
 *
 * Owns   the grammar of that field as far as it says who wrote it, and the part about AUTH
 * Uses   mail/header, net/connection (its set of safe characters)
 * Keep   no field that a reader could take for ours passes, however its authserv-id is folded,
 *        quoted, encoded or hidden behind comments, and whatever rules that reader leaves out
 *        (t/unit/authres); fields of other servers stay
 *
 * Source: RFC 8601, 2.2 and 5.
 */
#ifndef QPSMTPD_MAIL_AUTHRES_H
#define QPSMTPD_MAIL_AUTHRES_H

#include "mail/header.h"

enum authres_auth { AUTHRES_NONE, AUTHRES_PASS, AUTHRES_FAIL };

/*
 * authres_strip - remove the fields whose authserv-id is our_id, case ignored; how many these were
 *
 * Lines that are a field only to generous readers ("Authentication-Results : …") go as well, and
 * fields in which one stands behind a CR.
 */
size_t authres_strip(struct header *h, struct str our_id);

/*
 * authres_auth - what AUTH has shown: "auth=none", "auth=pass (PLAIN) smtp.auth=joe"
 *
 * mechanism, user  made safe, borrowed for the call; not looked at for AUTHRES_NONE
 */
const char *authres_auth(
    struct arena *a, enum authres_auth result, const char *mechanism, const char *user);

/*
 * authres_value - what follows "Authentication-Results: ", no LF at the end
 *
 * id       our authserv-id
 * auth     from authres_auth()
 * items    further results, "spf=pass …; dkim=none", from plugins; NULL or "": there are none
 */
const char *authres_value(struct arena *a, const char *id, const char *auth, const char *items);

#endif
