/*
 * conf/resolver - the configuration files of the resolver
 *
 * Owns   name, default and range of dns_servers, dns_timeout, dns_tries, dns_queries_max and
 *        dns_hook_timeout
 * Keep   what an administrator wrote wrongly is told at start, with file and line
 */
#ifndef QPSMTPD_CONF_RESOLVER_H
#define QPSMTPD_CONF_RESOLVER_H

#include "base/err.h"
#include "conf/config.h"
#include "net/dns.h"

struct resolver_settings {
    struct dns_options dns;
    int64_t hook_timeout_ms; /* for all waiting in one hook */
};

/* resolver_load - false: see e, which names file, line and what would be right */
bool resolver_load(struct config *c, struct resolver_settings *out, struct err *e);

#endif
