#include "server/fault.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/mapping.h"
#include "base/str.h"

#define FAULT_STACK 32768 /* the kernel's frame with AVX-512 state takes 3.5 KiB of it */

/* Process-wide, because a signal handler has no other way to know. */
static struct {
    const struct activity *activity;
    volatile sig_atomic_t client;
    alignas(16) char stack[FAULT_STACK];
} fault = {.client = -1};

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGSEGV, "caught SIGSEGV"},
    {SIGBUS, "caught SIGBUS"},
    {SIGFPE, "caught SIGFPE"},
    {SIGILL, "caught SIGILL"},
    {SIGABRT, "caught SIGABRT"},
};

struct line {
    char text[256];
    size_t n;
};

/* At most max bytes of z, up to its NUL: activity may be half written, so its NUL may be missing.
 */
static void
line_add(struct line *l, const char *z, size_t max)
{
    for (size_t i = 0; i < max && z[i] && l->n < sizeof l->text - 1; i++)
        l->text[l->n++] = ascii_control(z[i]) ? '?' : z[i];
}

static void
line_add_pid(struct line *l)
{
    char digits[24];
    size_t i = sizeof digits;
    unsigned long n = (unsigned long)getpid();

    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    line_add(l, digits + i, sizeof digits - i);
}

static void
line_add_activity(struct line *l)
{
    const struct activity *a = fault.activity;

    if (!a || !a->plugin[0])
        return;
    line_add(l, " plugin=", 8);
    line_add(l, a->plugin, sizeof a->plugin);
    line_add(l, " hook=", 6);
    line_add(l, a->hook, sizeof a->hook);
}

static void
say_on_log(const char *what)
{
    const struct activity *a = fault.activity;
    struct line l = {.n = 0};

    line_add_pid(&l);
    line_add(&l, " ", 1);
    line_add(&l, a && a->session[0] ? a->session : "-", a ? sizeof a->session : 1);
    line_add(&l, " ", 1);
    line_add(&l, what, 32);
    line_add_activity(&l);
    l.text[l.n++] = '\n';
    if (write(2, l.text, l.n) < 0)
        return; /* nowhere left to complain */
}

/* Without waiting: a client that does not read must not keep a dying process alive. */
static void
say_to_client(struct str text)
{
    struct pollfd p = {.fd = fault.client, .events = POLLOUT};

    fault.client = -1;
    if (p.fd < 0 || (fault.activity && fault.activity->encrypted) ||
        send(p.fd, text.p, text.n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return;
    if (errno == ENOTSOCK && poll(&p, 1, 0) == 1 && write(p.fd, text.p, text.n) < 0)
        return;
}

static void on_fault(int number, siginfo_t *info, void *context);

/* On a stack of its own; the second one kills. */
static void
arm(int number)
{
    struct sigaction sa = {
        .sa_sigaction = on_fault,
        .sa_flags = (int)(SA_ONSTACK | SA_RESETHAND | SA_NODEFER | SA_SIGINFO),
    };

    sigemptyset(&sa.sa_mask);
    sigaction(number, &sa, NULL);
}

static void
on_fault(int number, siginfo_t *info, void *context)
{
    const char *name = "caught a signal";

    (void)context;
    if (number == SIGBUS && mapping_lost(info->si_addr)) {
        arm(number);
        mapping_rescue();
    }
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signals[i].number == number)
            name = signals[i].name;
    say_to_client(STR("421 internal error, closing connection\r\n"));
    say_on_log(name);
    raise(number); /* SA_RESETHAND: the default action now */
}

static void
on_exhausted(void)
{
    say_to_client(STR("421 out of memory (#4.3.0)\r\n"));
    say_on_log("out of memory");
    _exit(111);
}

void
fault_install(const struct activity *activity)
{
    stack_t stack = {.ss_sp = fault.stack, .ss_size = sizeof fault.stack};

    fault.activity = activity;
    fault.client = -1;
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        arm(signals[i].number);
    arena_when_exhausted(on_exhausted);
}

void
fault_client(int fd)
{
    fault.client = fd;
}
