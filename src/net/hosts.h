/*
 * net/hosts - names that this machine knows by itself
 *
 * Owns   the format of /etc/hosts: an address, then names, the rest of a line behind # is comment
 * Uses   net/ip. Nothing is cached: the file is small and seldom asked for
 * Keep   a line that cannot be understood is passed over
 */
#ifndef QPSMTPD_NET_HOSTS_H
#define QPSMTPD_NET_HOSTS_H

#include "net/ip.h"

#define HOSTS_FILE "/etc/hosts"

/*
 * hosts_find - the addresses of a name, in the order of the file; localhost has two even without it
 *
 * file     HOSTS_FILE; absent: empty
 * out      room for max addresses
 * returns  how many were written
 */
size_t hosts_find(const char *file, const char *name, struct ip out[], size_t max);

#endif
