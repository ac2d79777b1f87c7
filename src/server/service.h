/*
 * server/service - one snapshot of configuration with the plugins that it names
 *
 * Owns   config and host together, and the config files that both programs need themselves:
 *        loglevel, log_format, proxy_from; the resolver that plugins and the servers ask
 * Uses   conf, plugin, base/log
 * Keep   a service that does not open changes nothing: the one before goes on
 */
#ifndef QPSMTPD_SERVER_SERVICE_H
#define QPSMTPD_SERVER_SERVICE_H

#include "base/log.h"
#include "conf/config.h"
#include "plugin/host.h"
#include "server/options.h"
#include "server/paths.h"
#include "server/proxied.h"

struct service {
    struct arena *arena;
    struct config *config;
    struct host *host;
    enum log_level level;
    enum log_format format;
    struct dns *dns;
    struct session *session; /* where serves_many: opened once, and every child has it */
    struct proxied_list proxies;
};

/* From what a service is made. All borrowed. */
struct service_load {
    const struct paths *paths;
    const struct options *options;
    struct activity
        *activity;    /* NULL, or where to note which plugin is being loaded; as long as the
                                  service */
    bool serves_many; /* qp_serves_many() */
    int (*open_as_root)(void *data, const char *path); /* qp_open_secret(); NULL: nobody can */
    void *open_as_root_data;
};

/*
 * service_open - read the configuration, load the plugins, set the log's level and format
 *
 * before   NULL, or the one that goes on when this one fails: the log is set back to it
 * returns  false: see e; *s is as it was
 */
bool service_open(struct service *s, const struct service *before, const struct service_load *from,
    struct err *e);

/* service_close - unload the plugins, drop the configuration; *s may be closed already */
void service_close(struct service *s);

#endif
