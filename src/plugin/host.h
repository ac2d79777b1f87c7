/*
 * plugin/host - the loaded plugins
 *
 * Owns   dlopen, the order of config/plugins, instances, chains of handlers per hook, and the
 *        built-in list that makes a bare qmail control directory work
 * Uses   conf, mail, net, base; calls nothing above it
 * Keep   a set that could not be loaded whole is not loaded at all, and says in one line which
 *        file, line and reason
 */
#ifndef QPSMTPD_PLUGIN_HOST_H
#define QPSMTPD_PLUGIN_HOST_H

#include "base/err.h"
#include "conf/config.h"
#include "plugin/activity.h"

struct host;
struct dns;

struct host_options {
    const char *const
        *plugin_dirs; /* from the command line; NULL or empty: config plugin_dirs, then defaults */
    const char *const *default_dirs; /* when config plugin_dirs has no lines; NULL at the end */
    bool qmail_defaults; /* no configuration of our own exists: load what qmail-smtpd does when
                            there is no `plugins` */
    const struct host *before;   /* whose place it shall take, still open; NULL: nobody's */
    struct dns *dns;             /* whom plugins ask; borrowed as long as the host; NULL: nobody */
    int64_t dns_hook_timeout_ms; /* how long all plugins of one hook may wait for it together */
    bool serves_many;            /* qp_serves_many() */
    int (*open_as_root)(void *data, const char *path); /* qp_open_secret(); NULL: nobody can */
    void *open_as_root_data;
    struct activity *activity; /* as for host_activity_set(), from the first init on */
};

/* host_open - load `logging`, then `plugins`, and run their init. NULL: see e; nothing stays
 * loaded. config is borrowed as long as the host. */
struct host *host_open(struct config *config, const struct host_options *options, struct err *e);

/* host_log_attach - from now on its plugins with the hook `logging` take every line, in the place of those
 * of any other host; without such plugins nothing changes. host_close() takes them off. */
void host_log_attach(struct host *h);

/* host_close - end the instances (qp_at_end) and unload. *h may be NULL; it becomes NULL. */
void host_close(struct host **h);

/* host_activity_set - where to note which plugin runs; NULL: nowhere. Borrowed. */
void host_activity_set(struct host *h, struct activity *a);

/* host_encrypted - the session's bytes are no longer plain text, until it ends */
void host_encrypted(struct host *h);

/* host_child_init - run the hook child_init of every plugin: once in each process that serves
 * clients */
void host_child_init(struct host *h);

/* host_dns - whom it was given to ask */
struct dns *host_dns(const struct host *h);

size_t host_count(const struct host *h); /* instances */

#endif
