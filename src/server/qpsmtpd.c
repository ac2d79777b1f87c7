/*
 * qpsmtpd - serve one SMTP client on descriptors 0 and 1, for tcpserver, inetd, systemd and pipes
 *
 * Who the client is comes from the tcp-environ(5) variables, else from the socket itself, else it
 * is unknown. Exit status: 0 after QUIT, hang-up and timeout; 1 when the connection failed; 2 wrong
 * options; 111 when the service could not start, after a 421 to the client.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "net/ip.h"
#include "net/rdns.h"
#include "server/fault.h"
#include "server/service.h"
#include "server/startup.h"
#include "smtp/session.h"

/* Texts that peer_from_socket makes; the peer borrows them. */
struct socket_names {
    char remote[IP_TEXT_MAX];
    char local[IP_TEXT_MAX];
    char host[RDNS_NAME_MAX];
};

static const char *
env_text(const char *name)
{
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

static int
env_port(const char *name)
{
    const char *value = getenv(name);
    uint64_t n = 0;

    return value && str_number(str_of(value), 65535, &n) ? (int)n : 0;
}

static void
peer_from_environment(struct peer *p)
{
    p->remote_ip = env_text("TCPREMOTEIP");
    p->remote_host = env_text("TCPREMOTEHOST");
    p->remote_info = env_text("TCPREMOTEINFO");
    p->remote_port = env_port("TCPREMOTEPORT");
    p->local_ip = env_text("TCPLOCALIP");
    p->local_host = env_text("TCPLOCALHOST");
    p->local_port = env_port("TCPLOCALPORT");
}

/* A terminal, a pipe, a Unix socket: stays unknown. */
static void
peer_from_socket(struct peer *p, struct dns *dns, struct socket_names *names)
{
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof sa;
    struct ip ip;

    if (getpeername(0, (struct sockaddr *)&sa, &len) < 0 ||
        !ip_from_sockaddr((struct sockaddr *)&sa, &ip, &p->remote_port))
        return;
    ip_format(&ip, names->remote);
    p->remote_ip = names->remote;
    if (rdns_name(dns, &ip, names->host))
        p->remote_host = names->host;
    len = sizeof sa;
    if (getsockname(0, (struct sockaddr *)&sa, &len) < 0 ||
        !ip_from_sockaddr((struct sockaddr *)&sa, &ip, &p->local_port))
        return;
    ip_format(&ip, names->local);
    p->local_ip = names->local;
}

/* A proxy of ours says who the client is, before anything else. false: it said it wrongly. */
static bool
peer_from_proxy(
    struct peer *p, const struct service *service, struct proxied *x, struct socket_names *names)
{
    struct ip ip;

    if (!p->remote_ip || !ip_parse(str_of(p->remote_ip), &ip) ||
        !proxied_has(&service->proxies, &ip))
        return true;
    if (!proxied_read(0, p->remote_ip, x))
        return false;
    if (x->proxy.known) {
        proxied_fill(p, x);
        if (rdns_name(service->dns, &x->proxy.source, names->host))
            p->remote_host = names->host;
    }
    return true;
}

/* A pause of the super-server, or the administrator: no half command is run, a message may finish.
 */
static void
on_term(int number)
{
    (void)number;
    session_leave_soon();
}

/* The client must not be left without an answer because the administrator made a mistake. */
static int
say_unavailable(void)
{
    struct str text = STR("421 service not available, configuration error\r\n");

    if (write(1, text.p, text.n) < 0)
        startup_complain(OPTIONS_QPSMTPD, "the client has gone");
    return 111;
}

static int
serve(struct service *service)
{
    struct peer p = {
        .in = 0, .out = 1, .env = (const char *const *)environ, .sequence = (uint32_t)getpid()};
    struct sigaction sa = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    struct socket_names names;
    struct proxied proxied;
    struct session *session;
    enum session_end end;
    sigset_t waiting;

    peer_from_environment(&p);
    if (!p.remote_ip)
        peer_from_socket(&p, service->dns, &names);
    if (!peer_from_proxy(&p, service, &proxied, &names))
        return 1;
    sigaction(SIGTERM, &sa, NULL);
    sigemptyset(&waiting);
    sigaddset(&waiting, SIGTERM); /* let in by net/wait */
    sigprocmask(SIG_BLOCK, &waiting, NULL);
    host_child_init(service->host);
    session = session_open(service->config, service->host);
    if (!session)
        return say_unavailable();
    fault_client(1);
    end = session_run(session, &p);
    fault_client(-1);
    session_close(&session);
    return end == SESSION_ERROR ? 1 : 0;
}

static int
refuse(const struct options *o, const char *reason)
{
    startup_complain(OPTIONS_QPSMTPD, reason);
    return o->check ? 1 : say_unavailable();
}

int
main(int argc, char *argv[])
{
    static struct activity activity; /* static: the fault handler reads it to the very end */
    struct arena *arena;
    struct options options;
    struct service service;
    struct paths paths;
    struct service_load load = {.paths = &paths, .options = &options, .activity = &activity};
    struct err e;
    int status;

    startup_process(OPTIONS_QPSMTPD);
    status = startup_options(OPTIONS_QPSMTPD, argc, argv, &options);
    if (status >= 0)
        return status;
    if (options.syslog)
        log_to_syslog("qpsmtpd");
    fault_install(&activity);
    load.serves_many = options.check;
    if (!options.check)
        fault_client(1); /* also while plugins are loaded */
    arena = arena_open("process");
    if (!paths_find(&paths, arena, argv[0], &options, &e) ||
        !service_open(&service, NULL, &load, &e)) {
        status = refuse(&options, e.text);
    } else {
        if (options.check)
            printf("configuration ok: %zu plugins\n", host_count(service.host));
        status = options.check ? 0 : serve(&service);
        service_close(&service);
    }
    arena_close(&arena);
    return status;
}
