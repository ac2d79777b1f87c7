/*
 * auth_ldap_bind.late/limit - reading and writing that ends, below all that libldap does on a socket
 *
 * libldap polls with a time limit and then reads without one, so half a message would hold it for ever;
 * and when it shakes hands for TLS on a socket that does not wait (libldap 2.5 with GnuTLS), it asks for
 * the next bytes again and again, at full speed, and looks at no limit. So a layer of our own lies
 * directly upon the socket: it waits until there are bytes, and past the deadline it fails.
 */
#ifndef AUTH_LDAP_BIND_LIMIT_H
#define AUTH_LDAP_BIND_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include <lber.h>

/* limit_left - milliseconds until the deadline; 0 or less: it has passed */
int64_t limit_left(int64_t deadline);

/*
 * limit_add - put the layer onto a new socket
 *
 * deadline   milliseconds of the monotonic clock, looked at in each call; lives longer than the socket
 * returns    false: no memory
 */
bool limit_add(Sockbuf *sb, int64_t *deadline);

#endif
