/*
 * auth_ldap_bind template - a user's name in a filter or in a distinguished name
 *
 * Owns   %u, %d, %m, and how a name is written there so that it stays a name
 * Uses   nothing; knows nothing of directories
 * Keep   whatever the name is, what the administrator wrote around it keeps its meaning
 *        (t/fuzz/ldap_template)
 */
#ifndef AUTH_LDAP_BIND_TEMPLATE_H
#define AUTH_LDAP_BIND_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#define TEMPLATE_NAME_MAX 255  /* bytes of a user's name; a longer one is nobody's */
#define TEMPLATE_MAX      4096 /* bytes of what is made, with the NUL */

/* template_check - is every % followed by u, d, m or %, and is the user in it, as %u or %m? */
bool template_check(const char *template);

/*
 * template_fill - %u: the user's name as far as the last @; %d: what stands behind it; %m: all of it
 *
 * Bytes other than letters, digits, - . and _ become \XX, which means the same in a filter (RFC 4515,
 * 3) and in a name (RFC 4514, 2.4).
 *
 * template  template_check() has approved of it
 * user      any bytes but NUL
 * returns   false: nobody can be called so here: it is too long, or empty, or has no domain where %d
 *           asks for one; out is "" then
 */
bool template_fill(const char *template, const char *user, char out[TEMPLATE_MAX]);

#endif
