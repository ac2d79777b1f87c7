/*
 * qpsmtpd/special.h - recipients that everybody must be able to reach
 *
 * To them complaints are written, also by those whom a list refuses by mistake (RFC 5321, 4.5.1;
 * RFC 2142).
 */
#ifndef QPSMTPD_SPECIAL_H
#define QPSMTPD_SPECIAL_H

#include <strings.h>

#include <qpsmtpd/types.h>

/* qp_special - postmaster, abuse, mailer-daemon or root, at any domain and in any case? */
static inline bool
qp_special(const struct qp_address *to)
{
    static const char *const users[] = {"postmaster", "abuse", "mailer-daemon", "root"};

    for (size_t i = 0; i < sizeof users / sizeof *users; i++)
        if (strcasecmp(to->user, users[i]) == 0)
            return true;
    return false;
}

#endif
