/*
 * mail/address - what stands between the angle brackets
 *
 * Owns   the grammar of RFC 5321, 4.1.2, with the leniencies that real mail needs, and the
 *        canonical form
 * Uses   base, net/ip
 * Keep   what is accepted holds no NUL, CR, LF or other control byte, and its format is accepted
 *        again and gives the same address (t/fuzz/address)
 */
#ifndef QPSMTPD_MAIL_ADDRESS_H
#define QPSMTPD_MAIL_ADDRESS_H

#include <qpsmtpd/types.h>

#include "base/arena.h"

#define ADDRESS_PATH_MAX   900 /* inside the brackets; qmail-smtpd's limit */
#define ADDRESS_DOMAIN_MAX 255

enum address_rules {
    ADDRESS_STRICT = 0,
    ADDRESS_LENIENT = 1, /* config lenient_addresses: unquoted blanks, specials, several @ */
    ADDRESS_VERP = 2,    /* senders ending in -@[] (qmail's VERP request), for relay clients */
};

/*
 * address_parse - read "<user@host>", "<>", "<@route:user@host>", "<postmaster>"
 *
 * text     with its angle brackets; borrowed for the call
 * rules    bits of enum address_rules
 * returns  in the arena; NULL: not acceptable. "<>" and "<#@[]>" (qmail's double bounce) give the
 *          null address: address, user and host are "", format is "<>".
 */
const struct qp_address *address_parse(struct arena *a, struct str text, unsigned rules);

/* address_new - from parts that are already unquoted and known to be good (localiphost) */
const struct qp_address *address_new(struct arena *a, struct str user, struct str host);

/* address_copy - the same, in that arena */
const struct qp_address *address_copy(struct arena *a, const struct qp_address *from);

/* address_eq - same user (case counts) and same host (case ignored) */
bool address_eq(const struct qp_address *a, const struct qp_address *b);

#endif
