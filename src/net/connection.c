#include "net/connection.h"

#include <time.h>

static bool
is_safe(char c)
{
    return ascii_alnum(c) || (c && strchr(".@%+/=:-[]_", c));
}

static bool
is_host(char c)
{
    return ascii_alnum(c) || (c && strchr(".-[]:", c));
}

const char *
connection_safe(struct arena *a, const char *text, size_t max)
{
    size_t n = strnlen(text, max);
    char *copy = arena_dup(a, (struct str){text, n});

    for (size_t i = 0; i < n; i++)
        if (!is_safe(copy[i]))
            copy[i] = '?';
    return copy;
}

/* What is left of a host name without the bytes that no host name has (qpsmtpd deletes them). */
static const char *
host_only(struct arena *a, const char *text)
{
    size_t n = strnlen(text, 255), kept = 0;
    char *copy = arena_alloc(a, n + 1);

    for (size_t i = 0; i < n; i++)
        if (is_host(text[i]))
            copy[kept++] = text[i];
    return copy;
}

/* 30 bits of seconds (34 years) and 25 bits of the server's counter, most significant first, so
 * that ids sort by time. */
static void
make_id(char id[CONNECTION_ID_LEN + 1], uint32_t sequence)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    uint64_t bits = ((uint64_t)time(NULL) & 0x3fffffff) << 25 | (sequence & 0x1ffffff);

    for (int i = CONNECTION_ID_LEN - 1; i >= 0; i--, bits >>= 5)
        id[i] = digits[bits & 31];
    id[CONNECTION_ID_LEN] = '\0';
}

static const char *
text_or(const char *text, const char *otherwise)
{
    return text && *text ? text : otherwise;
}

void
connection_begin(struct connection *c, struct arena *a, struct stream *stream, const struct peer *p)
{
    const char *ip = connection_safe(a, text_or(p->remote_ip, "unknown"), IP_TEXT_MAX);
    const char *host = text_or(p->remote_host, arena_printf(a, "[%s]", ip));
    const char *info = text_or(p->remote_info, "");

    *c = (struct connection){
        .arena = a,
        .stream = stream,
        .remote_ip = ip,
        .remote_port = p->remote_port,
        .local_ip = connection_safe(a, text_or(p->local_ip, ""), IP_TEXT_MAX),
        .local_host = host_only(a, text_or(p->local_host, "")),
        .local_port = p->local_port,
        .env = p->env,
        .env_whole = p->env_whole,
        .env_unset = map_new(a),
        .notes = map_new(a),
        .from_ip = p->from_ip,
        .from_ip_max = p->from_ip_max,
        .hello = "",
        .hello_host = "",
    };
    make_id(c->id, p->sequence);
    c->has_ip = ip_parse(str_of(ip), &c->ip);
    c->remote_info =
        connection_safe(a, *info ? arena_printf(a, "%.255s@%.255s", info, host) : host, 512);
    c->remote_host = host_only(a, host);
    for (size_t i = 0; i < p->n_notes; i++)
        map_set(c->notes, str_of(p->notes[i].name), arena_dup(a, str_of(p->notes[i].text)));
    if (p->env_of_proxy) {
        connection_env_unset(c, "RELAYCLIENT");
        connection_env_unset(c, "RBLSMTPD");
    }
}

const char *
connection_env(const struct connection *c, const char *name)
{
    size_t n = strlen(name);

    if (!c->env || map_get(c->env_unset, str_of(name)))
        return NULL;
    for (const char *const *e = c->env; *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

void
connection_env_unset(struct connection *c, const char *name)
{
    map_set(c->env_unset, str_of(name), c);
}
