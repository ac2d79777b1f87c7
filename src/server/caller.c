#include "server/caller.h"

#include <string.h>
#include <sys/socket.h>

/* NULL: not set, or empty */
static const char *
env_text(const char *const *env, const char *name)
{
    size_t n = strlen(name);

    for (; *env; env++)
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return (*env)[n + 1] ? *env + n + 1 : NULL;
    return NULL;
}

static int
env_port(const char *const *env, const char *name)
{
    const char *value = env_text(env, name);
    uint64_t n = 0;

    return value && str_number(str_of(value), 65535, &n) ? (int)n : 0;
}

static void
from_environment(struct peer *p)
{
    p->remote_ip = env_text(p->env, "TCPREMOTEIP");
    p->remote_host = env_text(p->env, "TCPREMOTEHOST");
    p->remote_info = env_text(p->env, "TCPREMOTEINFO");
    p->remote_port = env_port(p->env, "TCPREMOTEPORT");
    p->local_ip = env_text(p->env, "TCPLOCALIP");
    p->local_host = env_text(p->env, "TCPLOCALHOST");
    p->local_port = env_port(p->env, "TCPLOCALPORT");
}

/* A terminal, a pipe, a Unix socket: stays unknown. */
static void
from_socket(struct caller *c, struct peer *p, struct dns *dns)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof sa;
    struct ip ip;

    if (getpeername(p->in, (struct sockaddr *)&sa, &len) < 0 ||
        !ip_from_sockaddr((struct sockaddr *)&sa, &ip, &p->remote_port))
        return;
    ip_format(&ip, c->remote);
    p->remote_ip = c->remote;
    if (dns && rdns_name(dns, &ip, c->host))
        p->remote_host = c->host;
    len = sizeof sa;
    if (getsockname(p->in, (struct sockaddr *)&sa, &len) < 0 ||
        !ip_from_sockaddr((struct sockaddr *)&sa, &ip, &p->local_port))
        return;
    ip_format(&ip, c->local);
    p->local_ip = c->local;
}

/* A proxy of ours says who the client is, before anything else. false: it said it wrongly. */
static bool
from_proxy(struct caller *c, struct peer *p, const struct proxied_list *proxies, struct dns *dns)
{
    struct ip ip;

    if (!p->remote_ip || !ip_parse(str_of(p->remote_ip), &ip) || !proxied_has(proxies, &ip))
        return true;
    if (!proxied_read(p->in, p->remote_ip, &c->proxied))
        return false;
    if (c->proxied.proxy.known) {
        proxied_fill(p, &c->proxied);
        p->env_of_proxy = true;
        if (dns && rdns_name(dns, &c->proxied.proxy.source, c->host))
            p->remote_host = c->host;
    }
    return true;
}

bool
caller_find(struct caller *c, struct peer *p, const struct service *service, bool ask_names)
{
    struct dns *dns = ask_names ? service->dns : NULL;

    from_environment(p);
    if (!p->remote_ip)
        from_socket(c, p, dns);
    return from_proxy(c, p, &service->proxies, dns);
}
