#include "server/service.h"

#include <stdio.h>

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

/* One or several a line, one list for c-ares. */
static bool
read_dns_servers(struct config *c, char *out, size_t room, struct err *e)
{
    struct config_value value = {.n = 0};
    size_t n = 0;

    *out = '\0';
    if (config_get(c, "dns_servers", &value, e) == CONFIG_BROKEN)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        n += (size_t)snprintf(out + n, room - n, "%s%s", n ? "," : "", value.line[i].text);
        if (n >= room)
            return err_set(e, "%s: more than %zu bytes", value.line[i].file, room);
    }
    return true;
}

static void
apply_log(const struct service *s)
{
    log_level_set(s->level);
    log_format_set(s->format);
}

bool
service_open(struct service *s, const struct service *before, const struct paths *paths,
    const struct options *o, struct err *e)
{
    const struct host_options host_options = {
        .plugin_dirs = paths->plugin_dirs,
        .default_dirs = paths->default_plugin_dirs,
        .qmail_defaults = paths->qmail_defaults,
    };
    struct service fresh = {.config = config_open(paths->config_dirs)};

    if (!read_level(fresh.config, o, &fresh.level, e) ||
        !read_format(fresh.config, &fresh.format, e) ||
        !read_dns_servers(fresh.config, fresh.dns_servers, sizeof fresh.dns_servers, e))
        goto fail;
    apply_log(&fresh);
    fresh.host = host_open(fresh.config, &host_options, e);
    if (!fresh.host || !session_check(fresh.config, fresh.host, e))
        goto fail;
    host_log_attach(fresh.host);
    *s = fresh;
    return true;
fail:
    if (before)
        apply_log(before);
    host_close(&fresh.host);
    config_close(&fresh.config);
    return false;
}

void
service_close(struct service *s)
{
    host_close(&s->host);
    config_close(&s->config);
}
