/*
 * qpsmtpd - serve one SMTP client on descriptors 0 and 1, for tcpserver, inetd, systemd and pipes
 *
 * Who the client is comes from the tcp-environ(5) variables, else from the socket itself, else it
 * is unknown. With --pool a waiting child of qpsmtpd-prefork does it, if there is one, and this process
 * only stays for who counts it. Exit status: 0 after QUIT, hang-up and timeout; 1 when the connection failed; 2 wrong
 * options; 111 when the service could not start, after a 421 to the client.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/arena.h"
#include "server/caller.h"
#include "server/fault.h"
#include "server/pool_give.h"
#include "server/service.h"
#include "server/startup.h"
#include "smtp/session.h"

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
refuse(const struct options *o, const char *reason)
{
    startup_complain(OPTIONS_QPSMTPD, reason);
    return o->check ? 1 : say_unavailable();
}

static int
serve(struct service *service, const struct options *o)
{
    struct peer p = {.in = 0,
        .out = 1,
        .env = (const char *const *)environ,
        .env_whole = true,
        .sequence = (uint32_t)getpid()};
    struct sigaction sa = {.sa_handler = on_term, .sa_flags = SA_RESTART};
    struct caller caller;
    struct session *session;
    enum session_end end;
    sigset_t waiting;
    struct err e;

    if (!caller_find(&caller, &p, service, true))
        return 1;
    sigaction(SIGTERM, &sa, NULL);
    sigemptyset(&waiting);
    sigaddset(&waiting, SIGTERM); /* let in by net/wait */
    sigprocmask(SIG_BLOCK, &waiting, NULL);
    host_child_init(service->host);
    session = session_open(service->config, service->host, &e);
    if (!session)
        return refuse(o, e.text);
    fault_client(1);
    end = session_run(session, &p);
    fault_client(-1);
    session_close(&session);
    return end == SESSION_ERROR ? 1 : 0;
}

/* why: NULL, or why no pool does it */
static int
serve_here(const char *argv0, const struct options *o, const char *why)
{
    static struct activity activity; /* static: the fault handler reads it to the very end */
    struct arena *arena;
    struct service service;
    struct paths paths;
    struct service_load load = {
        .paths = &paths, .options = o, .activity = &activity, .serves_many = o->check};
    struct err e;
    int status = 0;

    if (o->syslog)
        log_to_syslog("qpsmtpd");
    fault_install(&activity);
    if (!o->check)
        fault_client(1);                       /* also while plugins are loaded */
    arena = arena_open_small("process", 1024); /* a few paths */
    if (!paths_find(&paths, arena, argv0, o, &e) || !service_open(&service, NULL, &load, &e)) {
        status = refuse(o, e.text);
    } else {
        if (why)
            log_at(LOG_LEVEL_NOTICE, "--pool %s: %s; serving without it", o->pool, why);
        if (o->check)
            printf("configuration ok: %zu plugins\n", host_count(service.host));
        else
            status = serve(&service, o);
        arena_process_ends();
        service_close(&service);
    }
    arena_close(&arena);
    return status;
}

/* What one session needs, in one piece: a process that lives as long has no use for giving it back. */
static void
spare_memory_calls(void)
{
    mallopt(M_TOP_PAD, 1 << 20);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

int
main(int argc, char *argv[])
{
    struct options options;
    struct err e;
    bool pool;
    int status;

    spare_memory_calls();
    startup_process(OPTIONS_QPSMTPD);
    status = startup_options(OPTIONS_QPSMTPD, argc, argv, &options);
    if (status >= 0)
        return status;
    pool = options.pool && !options.check;
    if (pool)
        status = pool_give(options.pool, &e);
    return status >= 0 ? status : serve_here(argv[0], &options, pool ? e.text : NULL);
}
