#include "server/proxied.h"

#include "base/clock.h"
#include "base/log.h"

#define TIMEOUT_MS 3000 /* a proxy sends it with the first packet */

bool
proxied_load(struct proxied_list *l, struct config *c, struct arena *a, struct err *e)
{
    struct config_value v = {0};
    struct cidr *networks;

    *l = (struct proxied_list){0};
    if (config_get(c, "proxy_from", &v, e) == CONFIG_BROKEN)
        return false;
    if (!v.n)
        return true;
    networks = arena_alloc(a, v.n * sizeof *networks);
    for (size_t i = 0; i < v.n; i++)
        if (!cidr_parse(str_of(v.line[i].text), &networks[i]))
            return err_set(e,
                "%s:%u: \"%s\" is no address: write 192.0.2.1, 192.0.2.0/24 or the like",
                v.line[i].file, v.line[i].number, v.line[i].text);
    *l = (struct proxied_list){networks, v.n};
    return true;
}

bool
proxied_has(const struct proxied_list *l, const struct ip *peer)
{
    for (size_t i = 0; i < l->n; i++)
        if (cidr_has(&l->v[i], peer))
            return true;
    return false;
}

/* A note of printable bytes; *room is what is left of x->texts. */
static void
add_note(struct proxied *x, size_t *used, const char *name, struct str value)
{
    char *text = x->texts + *used;

    if (!value.p || value.n >= sizeof x->texts - *used || x->n_notes == PROXIED_NOTES)
        return;
    for (size_t i = 0; i < value.n; i++)
        text[i] = value.p[i];
    for (size_t i = 0; i < value.n; i++)
        if (ascii_control(text[i]) || (unsigned char)text[i] >= 0x80)
            text[i] = '?';
    text[value.n] = '\0';
    *used += value.n + 1;
    x->note[x->n_notes++] = (struct peer_note){name, text};
}

static void
add_notes(struct proxied *x, const char *peer)
{
    const struct proxy *p = &x->proxy;
    size_t used = 0;

    add_note(x, &used, "proxy", str_of(peer));
    add_note(x, &used, "proxy_alpn", p->alpn);
    add_note(x, &used, "proxy_authority", p->authority);
    add_note(x, &used, "proxy_unique_id", p->unique_id);
    if (!p->tls)
        return;
    add_note(x, &used, "proxy_tls", STR("1"));
    add_note(x, &used, "proxy_tls_version", p->tls_version);
    add_note(x, &used, "proxy_tls_cipher", p->tls_cipher);
    add_note(x, &used, "proxy_tls_client_name", p->tls_name);
    if (p->tls_verified)
        add_note(x, &used, "proxy_tls_client_verified", STR("1"));
}

bool
proxied_read(int fd, const char *peer, struct proxied *x)
{
    const char *why;

    x->n_notes = 0;
    if (!proxy_read(fd, clock_ms() + TIMEOUT_MS, x->header, &x->proxy, &why)) {
        log_at(LOG_LEVEL_WARN, "proxy refused: ip=%s reason=%s", peer, why);
        return false;
    }
    if (!x->proxy.known)
        return true;
    ip_format(&x->proxy.source, x->remote);
    ip_format(&x->proxy.destination, x->local);
    add_notes(x, peer);
    log_at(LOG_LEVEL_INFO, "proxy: ip=%s client=%s:%d reached=%s:%d", peer, x->remote,
        x->proxy.source_port, x->local, x->proxy.destination_port);
    return true;
}

void
proxied_fill(struct peer *p, const struct proxied *x)
{
    p->listening_port = p->local_port;
    p->remote_ip = x->remote;
    p->remote_port = x->proxy.source_port;
    p->remote_host = p->remote_info = NULL; /* they were the proxy's */
    p->local_ip = x->local;
    p->local_port = x->proxy.destination_port;
    p->local_host = NULL;
    p->notes = x->note;
    p->n_notes = x->n_notes;
}
