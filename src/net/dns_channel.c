#include "net/dns_channel.h"

#include <ares.h>

#include "base/library.h"
#include "base/log.h"
#include "net/dns_packet.h"

#define CARES_LIBRARY  "libcares.so.2"
#define CLASS_IN       1
#define PORT           53
#define EDNS_SIZE      1232 /* fits into every path's packet: the value of DNS flag day 2020 */
#define RCODE_SERVFAIL 2
#define ESCAPED_MAX    (2 * DNS_NAME_MAX)

/* ---- the library ---- */

/* Process-wide, as the library is. */
static struct {
    bool loaded;
    __typeof__(&ares_cancel) cancel;
    __typeof__(&ares_destroy) destroy;
    __typeof__(&ares_free_data) free_data;
    __typeof__(&ares_get_servers_ports) get_servers_ports;
    __typeof__(&ares_getsock) getsock;
    __typeof__(&ares_init) init;
    __typeof__(&ares_init_options) init_options;
    __typeof__(&ares_process_fd) process_fd;
    __typeof__(&ares_query) query;
    __typeof__(&ares_set_servers_ports) set_servers_ports;
} cares;

bool
dns_library_load(void)
{
    static const struct library_symbol wanted[] = {
        {"ares_cancel", &cares.cancel},
        {"ares_destroy", &cares.destroy},
        {"ares_free_data", &cares.free_data},
        {"ares_get_servers_ports", &cares.get_servers_ports},
        {"ares_getsock", &cares.getsock},
        {"ares_init", &cares.init},
        {"ares_init_options", &cares.init_options},
        {"ares_process_fd", &cares.process_fd},
        {"ares_query", &cares.query},
        {"ares_set_servers_ports", &cares.set_servers_ports},
    };

    if (!cares.loaded)
        cares.loaded = library_open(CARES_LIBRARY, wanted, sizeof wanted / sizeof *wanted);
    if (!cares.loaded)
        log_at(LOG_LEVEL_ERROR, "no DNS: " CARES_LIBRARY " (package libc-ares2) cannot be loaded");
    return cares.loaded;
}

/* ---- servers ---- */

bool
dns_server_parse(struct str text, struct dns_server *out)
{
    struct str address = text, port = {NULL, 0};
    size_t colon = str_find(text, ':');
    uint64_t number = PORT;

    if (text.n && text.p[0] == '[') {
        size_t close = str_find(text, ']');

        if (close == text.n)
            return false;
        address = (struct str){text.p + 1, close - 1};
        port = str_from(text, close + 1);
    } else if (colon < text.n && str_find(text, '.') < colon) {
        address.n = colon;
        port = str_from(text, colon);
    }
    if (port.n && (port.p[0] != ':' || !str_number(str_from(port, 1), 65535, &number) || !number))
        return false;
    out->port = (uint16_t)number;
    return ip_parse(address, &out->ip);
}

static void
server_from_ares(struct dns_server *out, const struct ares_addr_port_node *node)
{
    out->ip = (struct ip){{[10] = 0xff, [11] = 0xff}};
    if (node->family == AF_INET)
        memcpy(out->ip.b + 12, &node->addr.addr4, 4);
    else
        memcpy(out->ip.b, &node->addr.addr6, 16);
    out->port = (uint16_t)(node->udp_port ? node->udp_port : PORT);
}

static void
server_to_ares(struct ares_addr_port_node *out, const struct dns_server *server)
{
    *out = (struct ares_addr_port_node){.udp_port = server->port, .tcp_port = server->port};
    out->family = ip_is_v4(&server->ip) ? AF_INET : AF_INET6;
    if (out->family == AF_INET)
        memcpy(&out->addr.addr4, server->ip.b + 12, 4);
    else
        memcpy(&out->addr.addr6, server->ip.b, 16);
}

size_t
dns_servers_find(struct dns_server out[], size_t room)
{
    struct ares_addr_port_node *list = NULL;
    ares_channel probe;
    size_t n = 0;

    if (!dns_library_load() || cares.init(&probe) != ARES_SUCCESS)
        return 0;
    if (cares.get_servers_ports(probe, &list) == ARES_SUCCESS)
        for (const struct ares_addr_port_node *node = list; node && n < room; node = node->next)
            server_from_ares(&out[n++], node);
    cares.free_data(list);
    cares.destroy(probe);
    return n;
}

/* ---- questions ---- */

/* Everything is given, so that resolv.conf is not read for it. */
static bool
channel_open(struct dns_channel *c, int64_t life_ms)
{
    struct ares_addr_port_node server;
    struct in_addr replaced = {0};
    char lookups[] = "b";
    struct ares_options o = {
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOCHECKRESP | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = (int)life_ms,
        .tries = 1,
        .ndots = 1,
        .servers = &replaced,
        .nservers = 1,
        .lookups = lookups,
        .ednspsz = EDNS_SIZE,
    };
    const int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
                     ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
                     ARES_OPT_EDNSPSZ;

    if (c->ares)
        return true;
    if (!dns_library_load())
        return false;
    c->stale = false;
    server_to_ares(&server, &c->server);
    if (cares.init_options(&c->ares, &o, mask) == ARES_SUCCESS) {
        if (cares.set_servers_ports(c->ares, &server) == ARES_SUCCESS)
            return true;
        cares.destroy(c->ares);
    }
    c->ares = NULL;
    return false;
}

static enum dns_reply
reply_of(int status)
{
    switch (status) {
    case ARES_ETIMEOUT:
        return DNS_REPLY_SILENCE;
    case ARES_ENOTFOUND: /* without a message: it was not asked */
        return DNS_REPLY_NO_NAME;
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return DNS_REPLY_DROPPED;
    default:
        return DNS_REPLY_UNREACHABLE;
    }
}

static void
on_reply(void *data, int status, int timeouts, unsigned char *message, int n)
{
    struct dns_request *r = data;

    (void)timeouts;
    if (!message || n <= 0) {
        r->reply(r, reply_of(status), NULL, 0);
        return;
    }
    if (n > 3 && (message[3] & 15) == RCODE_SERVFAIL)
        r->channel->stale = true;
    r->reply(r, DNS_REPLY_MESSAGE, message, (size_t)n);
}

/* For ares_query() a backslash quotes what follows. */
static void
escape(const char *name, char out[ESCAPED_MAX])
{
    for (; *name; name++) {
        if (*name == '\\')
            *out++ = '\\';
        *out++ = *name;
    }
    *out = '\0';
}

void
dns_channel_ask(struct dns_channel *c, enum qp_dns_type type, const char *name,
    struct dns_request *r, int64_t life_ms)
{
    char escaped[ESCAPED_MAX];

    r->channel = c;
    if (!channel_open(c, life_ms)) {
        r->reply(r, DNS_REPLY_UNREACHABLE, NULL, 0);
        return;
    }
    escape(name, escaped);
    cares.query(c->ares, escaped, CLASS_IN, (int)type, on_reply, r);
}

void
dns_channel_close(struct dns_channel *c)
{
    if (c->ares)
        cares.destroy(c->ares);
    c->ares = NULL;
}

void
dns_channel_end(struct dns_channel *c)
{
    if (c->ares)
        cares.cancel(c->ares); /* the sockets go with the last question */
    if (c->stale)
        dns_channel_close(c);
}

/* ---- waiting ---- */

nfds_t
dns_channel_poll_set(const struct dns_channel *c, struct pollfd set[], nfds_t room)
{
    ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
    unsigned bits;
    nfds_t n = 0;

    if (!c->ares)
        return 0;
    bits = (unsigned)cares.getsock(c->ares, sockets, ARES_GETSOCK_MAXNUM);
    for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM && n < room; i++) {
        int events = ARES_GETSOCK_READABLE(bits, i) ? POLLIN : 0;

        /* ARES_GETSOCK_WRITABLE would shift 1 into the sign of an int. */
        if (bits >> (i + ARES_GETSOCK_MAXNUM) & 1)
            events |= POLLOUT;
        if (events)
            set[n++] = (struct pollfd){.fd = sockets[i], .events = (short)events};
    }
    return n;
}

void
dns_channel_process(struct dns_channel *c, const struct pollfd *ready)
{
    bool in = ready->revents & (POLLIN | POLLERR | POLLHUP), out = ready->revents & POLLOUT;

    if (c->ares && ready->revents)
        cares.process_fd(
            c->ares, in ? ready->fd : ARES_SOCKET_BAD, out ? ready->fd : ARES_SOCKET_BAD);
}
