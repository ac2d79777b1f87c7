/*
 * qpsmtpd-prefork - serve SMTP with a pool of processes
 *
 * The order of the start: the keeper of keys, sockets and pid file as root, then the user, then configuration and
 * plugins, so that no code of a plugin and no line of a client ever meets root. Exit status: 0
 * after a signal to end; 1 when it could not start; 2 wrong options.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/fault.h"
#include "server/keeper.h"
#include "server/privileges.h"
#include "server/startup.h"
#include "server/supervisor.h"

struct daemon {
    struct service_load load; /* its activity is shared memory: a trial writes there too */
    struct options options;
    struct identity identity;
    struct paths paths;
    struct arena *arena;
    struct listeners listeners;
    struct pidfile pidfile;
    struct keeper keeper;
    struct service service;
    struct tcprules tcprules;
    struct scoreboard *board;
    int nice; /* how far the listener is ahead of its children */
};

/* More priority for who has to answer signals and bury the dead. Only root can; others do without.
 */
static int
renice(int by)
{
    int now;

    errno = 0;
    now = getpriority(PRIO_PROCESS, 0);
    if (by == 0)
        return 0;
    if (errno == 0 && now - by >= -20 && setpriority(PRIO_PROCESS, 0, now - by) == 0)
        return by;
    log_at(LOG_LEVEL_INFO, "--renice-parent %d: no permission; the priority stays %d", by, now);
    return 0;
}

/* What only root may do on most hosts. */
static bool
open_as_root(struct daemon *d, struct err *e)
{
    if (d->options.check)
        return true;
    if (!listeners_open(&d->listeners, &d->options, e) ||
        !pidfile_open(&d->pidfile, d->options.pid_file, e))
        return false;
    d->nice = renice(d->options.renice_parent);
    return true;
}

static bool
open_as_user(struct daemon *d, struct err *e)
{
    const struct options *o = &d->options;

    if (!service_open(&d->service, NULL, &d->load, e))
        return false;
    if (o->tcprules && !tcprules_open(&d->tcprules, o->tcprules, e))
        return false;
    if (!d->keeper.used)
        keeper_end(&d->keeper);
    d->board = scoreboard_open((size_t)o->children, e);
    /* Last: a daemon that does not start must not make anybody wait for it. */
    return d->board && (o->check || listeners_open_pool(&d->listeners, o, e));
}

static bool
start(struct daemon *d, const char *argv0, struct err *e)
{
    return paths_find(&d->paths, d->arena, argv0, &d->options, e) &&
           privileges_choose(d->options.user, &d->identity, e) &&
           (d->identity.uid == 0 || keeper_open(&d->keeper, d->paths.config_dirs, e)) &&
           open_as_root(d, e) && privileges_drop(&d->identity, e) && open_as_user(d, e);
}

static void
announce(const struct daemon *d)
{
    char text[LISTENER_TEXT_MAX];

    for (size_t i = 0; i < d->listeners.n; i++) {
        if (d->listeners.v[i].pool) {
            log_at(LOG_LEVEL_NOTICE, "Waiting for qpsmtpd --pool %s", d->options.pool);
            continue;
        }
        listener_text(&d->listeners.v[i].ip, d->listeners.v[i].port, text);
        log_at(LOG_LEVEL_NOTICE, "Listening on %s", text);
    }
    log_at(LOG_LEVEL_NOTICE, "Running as user %s, group %s", d->identity.user, d->identity.group);
    if (d->identity.uid == 0)
        log_at(LOG_LEVEL_WARN, "--user root: clients and plugins are served by root");
}

/* stderr stays when it goes to a file or a pipe: somebody wants the log there. */
static bool
leave_descriptors(struct err *e)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return err_sys(e, "/dev/null");
    if (dup2(fd, 0) < 0 || dup2(fd, 1) < 0 || (isatty(2) && dup2(fd, 2) < 0)) {
        err_sys(e, "/dev/null");
        goto fail;
    }
    close(fd);
    return true;
fail:
    close(fd);
    return false;
}

/* The first process writes the file, so that who waited for it finds the daemon's id there. */
static bool
detach(struct daemon *d, struct err *e)
{
    pid_t pid = fork();

    if (pid < 0)
        return err_sys(e, "fork");
    if (pid > 0) {
        if (pidfile_write(&d->pidfile, pid, e))
            _exit(0);
        startup_complain(OPTIONS_PREFORK, e->text);
        _exit(1);
    }
    return (setsid() > 0 || err_sys(e, "setsid")) && leave_descriptors(e);
}

static bool
run(struct daemon *d, struct err *e)
{
    const struct supervised what = {
        .options = &d->options,
        .load = &d->load,
        .keeper = &d->keeper,
        .listeners = &d->listeners,
        .board = d->board,
        .service = &d->service,
        .tcprules = d->options.tcprules ? &d->tcprules : NULL,
        .pidfile = &d->pidfile,
        .nice = d->nice,
    };

    announce(d);
    if (d->options.detach ? !detach(d, e) : !pidfile_write(&d->pidfile, getpid(), e))
        return false;
    return supervisor_run(&what, e);
}

static void
stop(struct daemon *d)
{
    listeners_close(&d->listeners);
    pidfile_remove(&d->pidfile);
    service_close(&d->service);
    tcprules_close(&d->tcprules);
    scoreboard_close(&d->board);
    arena_close(&d->arena);
}

/* Who can connect may think that we are up: a SIGHUP that comes before the supervisor waits for it. */
static void
hold_back_hup(void)
{
    sigset_t hup;

    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hup, NULL);
}

int
main(int argc, char *argv[])
{
    static struct daemon d = {.pidfile.fd = -1, .keeper.fd = -1}; /* static: 15 KiB, zeroed */
    struct err e;
    bool good;
    int status;

    startup_process(OPTIONS_PREFORK);
    hold_back_hup();
    status = startup_options(OPTIONS_PREFORK, argc, argv, &d.options);
    if (status >= 0)
        return status;
    if (d.options.syslog)
        log_to_syslog("qpsmtpd");
    d.load = (struct service_load){.paths = &d.paths,
        .options = &d.options,
        .activity = mmap(NULL, sizeof *d.load.activity, PROT_READ | PROT_WRITE,
            MAP_SHARED | MAP_ANONYMOUS, -1, 0),
        .serves_many = true,
        .open_as_root = keeper_ask,
        .open_as_root_data = &d.keeper};
    if (d.load.activity == MAP_FAILED) {
        startup_complain(OPTIONS_PREFORK, "out of memory");
        return 1;
    }
    fault_install(d.load.activity);
    d.arena = arena_open("process");
    good = start(&d, argv[0], &e);
    if (good && d.options.check)
        printf("configuration ok: %zu plugins\n", host_count(d.service.host));
    else if (good)
        good = run(&d, &e);
    if (!good)
        startup_complain(OPTIONS_PREFORK, e.text);
    stop(&d);
    return good ? 0 : 1;
}
