#include "server/service.h"

#include <stdio.h>

#include "conf/resolver.h"
#include "net/dns_channel.h"
#include "plugin/hooks.h"
#include "smtp/session.h"

static bool
first_line(struct config *c, const char *name, const struct qp_line **out, struct err *e)
{
    struct config_value value;

    *out = NULL;
    switch (config_get(c, name, &value, e)) {
    case CONFIG_OK:
        *out = value.n > 0 ? value.line : NULL;
        return true;
    case CONFIG_ABSENT:
        return true;
    case CONFIG_BROKEN:
        break;
    }
    return false;
}

static bool
wrong_line(const struct qp_line *line, const char *right, struct err *e)
{
    return err_set(e, "%s:%u: \"%s\" is not %s", line->file, line->number, line->text, right);
}

static bool
read_level(struct config *c, const struct options *o, enum log_level *out, struct err *e)
{
    const struct qp_line *line;

    *out = LOG_LEVEL_WARN;
    if (!first_line(c, "loglevel", &line, e))
        return false;
    if (line && !log_level_parse(str_of(line->text), out))
        return wrong_line(line, "a log level (0 to 7, or a name from emergency to debug)", e);
    if (o->debug)
        *out = LOG_LEVEL_DEBUG;
    if (o->quiet)
        *out = LOG_LEVEL_ERROR;
    return true;
}

static bool
read_format(struct config *c, enum log_format *out, struct err *e)
{
    const struct qp_line *line;

    *out = LOG_FORMAT_R356;
    if (!first_line(c, "log_format", &line, e))
        return false;
    if (!line || str_ieq(str_of(line->text), STR("r356")))
        return true;
    *out = LOG_FORMAT_100;
    return str_eq(str_of(line->text), STR("1.00")) || wrong_line(line, "r356 or 1.00", e);
}

static void
apply_log(const struct service *s)
{
    log_level_set(s->level);
    log_format_set(s->format);
}

/* Ports that begin with a handshake, and nobody who could shake hands? */
static bool
check_tls(const struct host *h, const struct options *o, struct err *e)
{
    return o->tls_ports_n == 0 || hook_used(h, HOOK_TLS) ||
           err_set(e, "--tls-port: no plugin supplies TLS: add `tls` to config/plugins");
}

bool
service_open(
    struct service *s, const struct service *before, const struct service_load *from, struct err *e)
{
    struct resolver_settings resolver;
    struct host_options host_options = {
        .plugin_dirs = from->paths->plugin_dirs,
        .default_dirs = from->paths->default_plugin_dirs,
        .qmail_defaults = from->paths->qmail_defaults,
        .before = before ? before->host : NULL,
        .activity = from->activity,
        .serves_many = from->serves_many,
        .open_as_root = from->open_as_root,
        .open_as_root_data = from->open_as_root_data,
    };
    struct service fresh = {.arena = arena_open_small("service", 1024),
        .config = config_open(from->paths->config_dirs)};

    if (!from->serves_many)
        config_list(fresh.config);
    if (!read_level(fresh.config, from->options, &fresh.level, e) ||
        !read_format(fresh.config, &fresh.format, e) ||
        !proxied_load(&fresh.proxies, fresh.config, fresh.arena, e) ||
        !resolver_load(fresh.config, &resolver, e))
        goto fail;
    if (from->serves_many && !dns_library_load()) {
        err_set(e, "the library of the DNS is missing");
        goto fail;
    }
    fresh.dns = host_options.dns = dns_open(&resolver.dns);
    host_options.dns_hook_timeout_ms = resolver.hook_timeout_ms;
    apply_log(&fresh);
    fresh.host = host_open(fresh.config, &host_options, e);
    if (!fresh.host || !check_tls(fresh.host, from->options, e))
        goto fail;
    if (from->serves_many && !(fresh.session = session_open(fresh.config, fresh.host, e)))
        goto fail;
    host_log_attach(fresh.host);
    *s = fresh;
    return true;
fail:
    if (before)
        apply_log(before);
    host_close(&fresh.host);
    dns_close(&fresh.dns);
    config_close(&fresh.config);
    arena_close(&fresh.arena);
    return false;
}

void
service_close(struct service *s)
{
    if (s->session)
        session_close(&s->session);
    host_close(&s->host);
    dns_close(&s->dns);
    config_close(&s->config);
    arena_close(&s->arena);
}
