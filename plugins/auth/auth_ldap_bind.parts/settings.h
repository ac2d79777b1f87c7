/*
 * auth_ldap_bind settings - what the file `ldap` and the arguments say
 *
 * Owns   the keys, their ranges and defaults, which of them exclude each other
 * Uses   template; the host, for files and messages
 * Keep   whatever is wrong refuses the start, with the file and the line where it stands
 */
#ifndef AUTH_LDAP_BIND_SETTINGS_H
#define AUTH_LDAP_BIND_SETTINGS_H

#include <stdbool.h>

struct qp;

/* Texts live as long as the instance. */
struct settings {
    const char *uri; /* one or more, separated by blanks */
    bool starttls;
    const char *ca_file;                 /* NULL: the library's */
    int timeout;                         /* seconds, of one attempt */
    const char *base, *filter;           /* NULL with a template */
    const char *template;                /* NULL: there is a search */
    const char *bind_dn, *bind_password; /* both or none: NULL */
};

/* settings_read - in init. false: qp_fail() was called */
bool settings_read(struct qp *q, int argc, const char *const argv[], struct settings *out);

#endif
