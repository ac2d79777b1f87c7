#include "base/pid.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

static struct {
    pid_t pid; /* 0: not asked yet in this process */
    bool watched;
} self;

static void
on_fork(void)
{
    self.pid = 0;
}

pid_t
pid_self(void)
{
    if (!self.watched)
        self.watched = pthread_atfork(NULL, NULL, on_fork) == 0;
    if (!self.watched) /* then it cannot be remembered: a child would write its parent's */
        return getpid();
    if (!self.pid)
        self.pid = getpid();
    return self.pid;
}
