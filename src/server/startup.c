#include "server/startup.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {
    [OPTIONS_QPSMTPD] = "qpsmtpd",
    [OPTIONS_PREFORK] = "qpsmtpd-prefork",
};

/* Variables by which a shell or a program that a plugin starts could be steered. */
static const char *const unsafe_variables[] = {"ENV", "IFS", "CDPATH", "BASH_ENV"};

/* What describes one client under tcpserver, and what it may, describes none of ours: no plugin may
 * find it, and no program inherit it. What is left holds for all clients: qp_env(). */
static const char *const client_variables[] = {"PROTO", "TCPREMOTEIP", "TCPREMOTEHOST",
    "TCPREMOTEINFO", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALHOST", "TCPLOCALPORT", "RELAYCLIENT",
    "RBLSMTPD", "DATABYTES", "WHITELISTCLIENT"};

static void
unset_all(const char *const list[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        unsetenv(list[i]);
}

/* A missing 0, 1 or 2 would be filled by the first file that is opened, and then be talked to. */
static void
fill_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            _exit(111);
}

/* What the parent blocked or ignored was not meant for us. */
static void
reset_signals(void)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGCHLD, SIG_DFL); /* ignored, waitpid(2) would never tell an exit code */
    signal(SIGPIPE, SIG_IGN); /* a write fails, it does not kill; */
    signal(SIGXFSZ, SIG_IGN); /* nor under `ulimit -f` */
}

void
startup_process(enum options_program program)
{
    fill_standard_descriptors();
    close_range(3, UINT_MAX, 0);
    unset_all(unsafe_variables, sizeof unsafe_variables / sizeof *unsafe_variables);
    if (program == OPTIONS_PREFORK)
        unset_all(client_variables, sizeof client_variables / sizeof *client_variables);
    if (program == OPTIONS_PREFORK)
        tzset(); /* children inherit the time zone, instead of reading its file each */
    setenv("PATH", "/bin:/usr/bin:/var/qmail/bin", 1);
    reset_signals();
    umask(077);
}

int
startup_options(enum options_program program, int argc, char *argv[], struct options *out)
{
    struct err e;

    switch (options_parse(program, argc, argv, out, &e)) {
    case OPTIONS_RUN:
        return -1;
    case OPTIONS_HELP:
        fputs(options_help(program), stdout);
        break;
    case OPTIONS_VERSION:
        printf("%s %s\n", names[program], QPSMTPD_VERSION);
        break;
    case OPTIONS_WRONG:
        fprintf(stderr, "%s: %s; try --help\n", names[program], e.text);
        return 2;
    }
    return fflush(stdout) == 0 ? 0 : 1;
}

void
startup_complain(enum options_program program, const char *text)
{
    fprintf(stderr, "%s: %s\n", names[program], text);
}
