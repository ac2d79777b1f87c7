#include "server/supervisor.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/child.h"
#include "server/obituary.h"

#define FORK_BATCH  32   /* between two looks at the signals */
#define YOUNG_MS    1000 /* who dies earlier, without having served anybody, cannot start */
#define BACK_OFF_MS 1000
#define KILL_MS     2000 /* from SIGINT to SIGKILL */
#define TRIAL_MS    30000
#define PRELOAD_MAX (1UL << 20)
#define PACE_MS     100 /* a client that is served by then was no slow one */
#define PER_CPU     32  /* children that are worth having in any case */

/* Process-wide, for the signal handler. */
static struct {
    volatile sig_atomic_t term, interrupt, hup;
} asked;

enum mode {
    RUNNING,
    DRAINING, /* nobody listens; children finish */
    ENDING,   /* they have been killed */
};

struct kid {
    pid_t pid; /* 0: none in this slot */
    int64_t forked;
};

struct supervisor {
    const struct supervised *what;
    struct kid *kids; /* one for each slot of the scoreboard */
    size_t alive;
    enum mode mode;
    int64_t not_before; /* when forking may go on */
    int64_t kill_at;    /* DRAINING, ENDING */
    int wake;           /* eventfd: children want company */
    bool more;          /* to be looked at again, from not_before on */
    bool replace; /* an idle child was killed: the client that had woken it waits for another */
    sigset_t unblocked;
    size_t enough; /* more children than that only where clients are slow */
    struct {
        int64_t since;
        uint64_t finished; /* clients, until then */
        size_t allowed;    /* children to be born before the next look */
    } pace;
};

static void
on_signal(int number)
{
    if (number == SIGTERM)
        asked.term = asked.term + 1;
    else if (number == SIGINT)
        asked.interrupt = 1;
    else if (number == SIGHUP)
        asked.hup = 1; /* and SIGCHLD: it ends the wait, which is all it has to do */
}

static void
catch_signals(struct supervisor *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
    struct sigaction sa = {.sa_handler = on_signal};
    sigset_t blocked;

    sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(&blocked, numbers[i]);
    sa.sa_mask = blocked;
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    sigemptyset(&s->unblocked);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &sa, NULL);
}

static void
signal_children(const struct supervisor *s, int number)
{
    for (int i = 0; i < s->what->options->children; i++)
        if (s->kids[i].pid > 0)
            kill(s->kids[i].pid, number);
}

/* ---- children that have died ---- */

static int
slot_of(const struct supervisor *s, pid_t pid)
{
    for (int i = 0; i < s->what->options->children; i++)
        if (s->kids[i].pid == pid)
            return i;
    return -1;
}

/* A plugin that kills each child at once must not make us fork without an end. */
static void
back_off(struct supervisor *s, const struct kid *kid, const struct slot *last)
{
    if (last->served > 0 || clock_ms() - kid->forked > YOUNG_MS)
        return;
    if (clock_ms() >= s->not_before)
        log_at(LOG_LEVEL_ERROR, "children die as soon as they start; waiting %d ms", BACK_OFF_MS);
    s->not_before = clock_ms() + BACK_OFF_MS;
}

static void
bury(struct supervisor *s, int slot, int status)
{
    struct kid kid = s->kids[slot];
    struct slot last;

    s->kids[slot].pid = 0;
    s->alive--;
    scoreboard_free(s->what->board, (size_t)slot, &last);
    /* A child that wants to go is not busy: who ends there with 0 was ended by a plugin. */
    if (s->mode == ENDING ||
        (WIFEXITED(status) && WEXITSTATUS(status) == 0 && last.state != SLOT_BUSY))
        return;
    obituary_log(kid.pid, status, &last.activity);
    back_off(s, &kid, &last);
    s->replace |= WIFSIGNALED(status) && last.state == SLOT_IDLE;
}

static void
reap(struct supervisor *s)
{
    int status, slot;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        slot = slot_of(s, pid);
        if (slot >= 0) /* else a program that a plugin started when it was loaded */
            bury(s, slot, status);
    }
}

/* ---- children to be born ---- */

static int
be_child(struct supervisor *s, size_t slot, pid_t listener)
{
    const struct supervised *w = s->what;
    struct child child = {
        .options = w->options,
        .listeners = w->listeners,
        .service = w->service,
        .board = w->board,
        .tcprules = w->tcprules,
        .listener = listener,
        .nice = w->nice,
        .slot = slot,
    };

    pidfile_leave(w->pidfile);
    keeper_leave(w->keeper);
    return child_run(&child);
}

static bool
fork_one(struct supervisor *s)
{
    pid_t listener = getpid(), pid;
    size_t slot;

    if (!scoreboard_assign(s->what->board, &slot))
        return false;
    pid = fork();
    if (pid == 0)
        exit(be_child(s, slot, listener));
    if (pid < 0) {
        log_at(LOG_LEVEL_ERROR, "fork: %s; waiting %d ms", strerror(errno), BACK_OFF_MS);
        scoreboard_free(s->what->board, slot, NULL);
        s->not_before = clock_ms() + BACK_OFF_MS;
        return false;
    }
    s->kids[slot] = (struct kid){.pid = pid, .forked = clock_ms()};
    s->alive++;
    return true;
}

/*
 * How many more children would serve clients sooner? None when those that are there are done with theirs in no
 * time: then the processors are busy, and a client that waits for a process waits for less than it would for
 * its turn among a thousand of them. Slow clients, which is what many processes are for, let their number
 * grow by half with each look.
 */
static size_t
worth_more(struct supervisor *s)
{
    int64_t now = clock_ms(), passed = now - s->pace.since;
    uint64_t finished;

    if (s->alive < s->enough)
        return s->enough - s->alive;
    if (passed < PACE_MS)
        return s->pace.allowed;
    finished = scoreboard_finished(s->what->board) - s->pace.finished;
    s->pace.since = now;
    s->pace.finished += finished;
    s->pace.allowed =
        passed > INT64_C(2) * PACE_MS || finished * PACE_MS >= s->alive * (uint64_t)passed
            ? 0
            : s->alive / 2;
    return s->pace.allowed;
}

static size_t
wanted(const struct supervisor *s)
{
    size_t idle = scoreboard_idle(s->what->board);
    size_t want = (size_t)s->what->options->idle_children;
    size_t room = (size_t)s->what->options->children - s->alive;
    size_t n = idle < want ? want - idle : s->replace;

    return n < room ? n : room;
}

/* Children tell us that too few are idle only while we could do something about it, and do not look anyway. */
static void
watch_idle(struct supervisor *s)
{
    bool room = s->mode == RUNNING && s->alive < (size_t)s->what->options->children;
    size_t idle = room && !s->more ? (size_t)s->what->options->idle_children : 0;

    if (scoreboard_watch(s->what->board, s->wake, idle))
        s->more = true;
}

static void
fork_children(struct supervisor *s)
{
    size_t n = wanted(s), more;

    s->more = n > 0;
    if (n == 0 || clock_ms() < s->not_before)
        return;
    more = worth_more(s);
    if (more == 0) {
        s->not_before = clock_ms() + PACE_MS / 4;
        return;
    }
    n = n < more ? n : more;
    for (size_t i = 0; i < n && i < FORK_BATCH; i++) {
        if (!fork_one(s))
            return;
        s->pace.allowed -= s->pace.allowed > 0;
    }
    s->replace = false;
    s->more = n > FORK_BATCH;
}

/* ---- signals ---- */

static bool
open_service(const struct supervisor *s, struct service *fresh, struct err *e)
{
    return service_open(fresh, s->what->service, s->what->load, e);
}

enum trial { TRIAL_LOADED, TRIAL_REFUSED };

static enum trial
try_service(const struct supervisor *s)
{
    struct service fresh;
    struct err e;

    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    return open_service(s, &fresh, &e) ? TRIAL_LOADED : TRIAL_REFUSED;
}

/* waitpid(2) with an end: a plugin that hangs in init must not stop the listener. */
static bool
await(pid_t pid, int *status)
{
    struct pollfd end = {.fd = pidfd_open(pid, 0), .events = POLLIN};

    poll(&end, 1, TRIAL_MS);
    if (end.fd >= 0)
        close(end.fd);
    if (waitpid(pid, status, WNOHANG) == pid)
        return true;
    kill(pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    return false;
}

/*
 * A plugin that crashes, hangs or exits when it is loaded costs this process, not the daemon. What the
 * trial only refuses is refused again by the listener, which says why.
 */
static bool
survives_trial(const struct supervisor *s, struct err *e)
{
    const struct activity *a = s->what->load->activity;
    int status = 0, room = (int)sizeof a->plugin;
    pid_t pid = fork();

    if (pid == 0)
        _exit((int)try_service(s));
    if (pid < 0)
        return err_sys(e, "fork");
    if (!await(pid, &status))
        return err_set(e, "plugin %.*s: its init has not returned within %d s", room, a->plugin,
            TRIAL_MS / 1000);
    if (WIFSIGNALED(status))
        return err_set(e, "plugin %.*s: its init was killed by signal %d (%s)", room, a->plugin,
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status) > TRIAL_REFUSED)
        return err_set(e, "plugin %.*s: its init has ended the process", room, a->plugin);
    return true;
}

/* The new set is complete before the old one goes; children that wait leave at once, others after
 * their client. The listening sockets stay, so who arrives meanwhile waits in their queues. */
static void
reload(struct supervisor *s)
{
    struct service fresh;
    struct err e;

    if (!survives_trial(s, &e) || !open_service(s, &fresh, &e)) {
        log_at(LOG_LEVEL_ERROR, "reload failed, the old configuration goes on: %s", e.text);
        return;
    }
    config_preload(fresh.config, PRELOAD_MAX);
    service_close(s->what->service);
    *s->what->service = fresh;
    signal_children(s, SIGHUP);
    log_at(LOG_LEVEL_NOTICE, "configuration and %zu plugins loaded anew", host_count(fresh.host));
}

static void
drain(struct supervisor *s)
{
    log_at(LOG_LEVEL_NOTICE, "SIGTERM: no new clients; %zu children may finish within %d s",
        s->alive, SUPERVISOR_DRAIN_MS / 1000);
    s->mode = DRAINING;
    s->kill_at = clock_ms() + SUPERVISOR_DRAIN_MS;
    listeners_end(s->what->listeners);
    signal_children(s, SIGTERM);
}

static void
end(struct supervisor *s, const char *why)
{
    log_at(LOG_LEVEL_NOTICE, "%s: ending %zu children", why, s->alive);
    s->mode = ENDING;
    s->kill_at = clock_ms() + KILL_MS;
    listeners_end(s->what->listeners);
    signal_children(s, SIGINT);
}

static void
obey(struct supervisor *s)
{
    bool hup = asked.hup;

    asked.hup = 0;
    if (s->mode == ENDING)
        return;
    if (asked.interrupt)
        end(s, "SIGINT");
    else if (asked.term > 1)
        end(s, "second SIGTERM");
    else if (asked.term == 1 && s->mode == RUNNING)
        drain(s);
    else if (hup && s->mode == RUNNING)
        reload(s);
}

static void
keep_deadline(struct supervisor *s)
{
    if (clock_ms() < s->kill_at)
        return;
    if (s->mode == DRAINING) {
        end(s, "time is over");
        return;
    }
    signal_children(s, SIGKILL);
    s->kill_at = clock_ms() + KILL_MS;
}

/* ---- the loop ---- */

static int
patience(const struct supervisor *s)
{
    if (s->mode != RUNNING)
        return clock_left(s->kill_at);
    if (!s->more)
        return -1;
    return clock_left(s->not_before);
}

static void
wait_for_news(struct supervisor *s)
{
    struct pollfd p = {.fd = s->wake, .events = POLLIN};
    int ms = patience(s);
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    eventfd_t count;

    if (ppoll(&p, 1, ms < 0 ? NULL : &limit, &s->unblocked) == 1)
        eventfd_read(s->wake, &count);
}

static void
loop(struct supervisor *s)
{
    while (s->mode == RUNNING || s->alive > 0) {
        if (s->mode == RUNNING)
            fork_children(s);
        else
            keep_deadline(s);
        watch_idle(s);
        wait_for_news(s);
        obey(s); /* before reaping: who dies from our signals is no news */
        reap(s);
    }
}

/* Shared, though nobody else looks: private memory that is written between two forks would be a page of
 * its own in each child. */
static struct kid *
kids_open(size_t n)
{
    void *kids = mmap(
        NULL, n * sizeof(struct kid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return kids == MAP_FAILED ? NULL : kids;
}

bool
supervisor_run(const struct supervised *what, struct err *e)
{
    struct supervisor s = {.what = what, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};

    if (s.wake < 0)
        return err_sys(e, "eventfd");
    s.kids = kids_open((size_t)what->options->children);
    if (!s.kids)
        return err_sys(e, "mmap");
    s.enough = PER_CPU * (size_t)sysconf(_SC_NPROCESSORS_ONLN);
    config_preload(what->service->config, PRELOAD_MAX);
    catch_signals(&s);
    loop(&s);
    munmap(s.kids, (size_t)what->options->children * sizeof *s.kids);
    close(s.wake);
    return true;
}
