#include "conf/resolver.h"

#define TIMEOUT_DEFAULT      3000 /* ms */
#define HOOK_TIMEOUT_DEFAULT 10000

static bool
get(struct config *c, const char *name, struct config_value *out, struct err *e)
{
    *out = (struct config_value){0};
    return config_get(c, name, out, e) != CONFIG_BROKEN;
}

static bool
wrong(const struct qp_line *line, const char *right, struct err *e)
{
    return err_set(e, "%s:%u: \"%s\" is not %s", line->file, line->number, line->text, right);
}

static bool
load_servers(struct config *c, struct dns_options *out, struct err *e)
{
    struct config_value v;

    if (!get(c, "dns_servers", &v, e))
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (i == DNS_SERVERS_MAX)
            return err_set(e, "%s:%u: more than %d name servers", v.line[i].file, v.line[i].number,
                DNS_SERVERS_MAX);
        if (!dns_server_parse(str_of(v.line[i].text), &out->server[i]))
            return wrong(
                &v.line[i], "a name server: 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53", e);
    }
    out->n_servers = v.n;
    return true;
}

static bool
load_number(struct config *c, const char *name, uint64_t min, uint64_t max, const char *right,
    unsigned *out, struct err *e)
{
    struct config_value v;
    uint64_t n = *out;

    if (!get(c, name, &v, e))
        return false;
    if (v.n && (!str_number(str_of(v.line->text), max, &n) || n < min))
        return wrong(v.line, right, e);
    *out = (unsigned)n;
    return true;
}

/* "3", "0.5": seconds with up to three digits behind the point, as ms; 100 ms to max */
static bool
parse_seconds(struct str text, int64_t max_ms, int64_t *out)
{
    struct str whole = str_cut(&text, '.'), padded;
    char digits[4] = "000";
    uint64_t seconds, fraction;
    int64_t ms;

    if (text.n > 3 || !str_number(whole, 86400, &seconds))
        return false;
    if (text.n)
        memcpy(digits, text.p, text.n);
    padded = (struct str){digits, 3};
    if (!str_number(padded, 999, &fraction))
        return false;
    ms = (int64_t)(seconds * 1000 + fraction);
    *out = ms;
    return ms >= 100 && ms <= max_ms;
}

static bool
load_seconds(struct config *c, const char *name, int64_t max_ms, const char *right, int64_t *out,
    struct err *e)
{
    struct config_value v;
    int64_t ms = *out;

    if (!get(c, name, &v, e))
        return false;
    if (v.n && !parse_seconds(str_of(v.line->text), max_ms, &ms))
        return wrong(v.line, right, e);
    *out = ms;
    return true;
}

bool
resolver_load(struct config *c, struct resolver_settings *out, struct err *e)
{
    struct dns_options *dns = &out->dns;

    *out = (struct resolver_settings){
        .dns = {.timeout_ms = TIMEOUT_DEFAULT, .tries = 2, .queries_max = 200},
        .hook_timeout_ms = HOOK_TIMEOUT_DEFAULT,
    };
    return load_servers(c, dns, e) &&
           load_seconds(
               c, "dns_timeout", 30000, "a time in seconds, 0.1 to 30", &dns->timeout_ms, e) &&
           load_number(c, "dns_tries", 1, 10, "a number from 1 to 10", &dns->tries, e) &&
           load_number(
               c, "dns_queries_max", 1, 10000, "a number from 1 to 10000", &dns->queries_max, e) &&
           load_seconds(c, "dns_hook_timeout", 300000, "a time in seconds, 0.1 to 300",
               &out->hook_timeout_ms, e);
}
