#include "server/obituary.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"

/* What happened, with the number and its meaning. */
static void
how_it_ended(int status, char *out, size_t room)
{
    if (WIFSIGNALED(status))
        snprintf(
            out, room, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, room, "ended with status %d", WEXITSTATUS(status));
}

void
obituary_log(pid_t pid, int status, const struct activity *a)
{
    enum log_level level = WIFSIGNALED(status) ? LOG_LEVEL_CRIT : LOG_LEVEL_ERROR;
    char how[80];

    how_it_ended(status, how, sizeof how);
    if (a->plugin[0])
        log_at(level, "child %ld %s session=%.*s plugin=%.*s hook=%.*s after=%lldms", (long)pid,
            how, (int)sizeof a->session, a->session, (int)sizeof a->plugin, a->plugin,
            (int)sizeof a->hook, a->hook, (long long)(clock_ms() - a->since_ms));
    else if (a->session[0])
        log_at(level, "child %ld %s session=%.*s outside of plugins", (long)pid, how,
            (int)sizeof a->session, a->session);
    else
        log_at(level, "child %ld %s between sessions", (long)pid, how);
}
