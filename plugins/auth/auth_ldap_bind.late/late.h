/*
 * auth_ldap_bind.late - one connection to a directory, through OpenLDAP's library
 *
 * Owns   what libldap is told: protocol 3, no referrals, no aliases, answers of bounded size, TLS that
 *        is verified
 * Keep   every call ends at its deadline, whatever the server does; nobody is bound with an empty name
 *        or an empty password (RFC 4513, 5.1.2: that succeeds and proves nothing)
 *
 * The names of hosts in the URI are looked up by libldap, and that knows no deadline.
 */
#ifndef AUTH_LDAP_BIND_LATE_H
#define AUTH_LDAP_BIND_LATE_H

#include <stdbool.h>
#include <stdint.h>

#define DIRECTORY_DN_MAX    1024 /* bytes, with the NUL */
#define DIRECTORY_ERROR_MAX 256

struct directory;

struct directory_settings {
    const char *uri; /* one or more, separated by blanks: tried in this order */
    bool starttls;
    const char *ca_file;       /* NULL: as ldap.conf(5) says */
    const char *base;          /* NULL: nothing is searched */
    const char *bind_dn;       /* who searches; NULL: nobody, anonymously */
    const char *bind_password; /* NULL with bind_dn */
};

enum directory_status {
    DIRECTORY_YES,
    DIRECTORY_NO,
    DIRECTORY_TROUBLE, /* error says why. The connection has to be closed */
};

/* Deadlines are milliseconds of the monotonic clock. */
struct directory_calls {
    /* open - connect, and encrypt if wanted; NULL: error says why. s is borrowed until close */
    struct directory *(*open)(
        const struct directory_settings *s, int64_t deadline, char error[DIRECTORY_ERROR_MAX]);

    /* find - the one entry that matches the filter; two are trouble. dn is written for YES only */
    enum directory_status (*find)(struct directory *d, const char *filter,
        char dn[DIRECTORY_DN_MAX], int64_t deadline, char error[DIRECTORY_ERROR_MAX]);

    /* bind - is that the password of this entry? */
    enum directory_status (*bind)(struct directory *d, const char *dn, const char *password,
        int64_t deadline, char error[DIRECTORY_ERROR_MAX]);

    void (*close)(struct directory **d);
};

#endif
