/*
 * exec - what one session of qpsmtpd costs from fork to exit, with one configuration and with another
 *
 *   exec PAIRS PROGRAM PLUGINS CONFIG CONFIG
 *
 * As under tcpserver: the program is started for one client, on a socket, with the variables of
 * tcp-environ(5). The client says EHLO, MAIL, RCPT and QUIT. The two configurations take turns, the first
 * of each pair is now the one and now the other. Printed are the medians and quartiles of the time that
 * passes and of the processor time, in microseconds, and the ratio of the medians.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAIRS_MAX 100000

struct cost {
    double wall, cpu; /* us */
};

_Noreturn static void
die(const char *what)
{
    fprintf(stderr, "exec: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double
now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Read one reply, to its last line. */
static void
expect(int fd, char first)
{
    char buffer[4096];
    size_t n = 0;
    char *line = buffer;

    for (;;) {
        ssize_t got = read(fd, buffer + n, sizeof buffer - 1 - n);
        char *end;

        if (got <= 0)
            die("no reply");
        n += (size_t)got;
        buffer[n] = '\0';
        while ((end = strstr(line, "\r\n"))) {
            if (line[0] != first)
                die(line);
            if (line[3] == ' ')
                return;
            line = end + 2;
        }
    }
}

static void
say(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) < 0)
        die("write");
    expect(fd, '2');
}

static struct cost
session(char *const argv[])
{
    static char *const env[] = {"PROTO=TCP", "TCPREMOTEIP=127.0.0.1", "TCPREMOTEPORT=40000",
        "TCPREMOTEHOST=localhost", "TCPLOCALIP=127.0.0.1", "TCPLOCALPORT=25",
        "TCPLOCALHOST=localhost", "PATH=/usr/bin:/bin", NULL};
    struct rusage use;
    struct cost c;
    int pair[2], status;
    char rest[16];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        die("socketpair");
    c.wall = now_us();
    pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        close(pair[0]);
        close(pair[1]);
        execve(argv[0], argv, env);
        _exit(127);
    }
    close(pair[1]);
    expect(pair[0], '2');
    say(pair[0], "EHLO client.test\r\n");
    say(pair[0], "MAIL FROM:<a@client.test>\r\n");
    say(pair[0], "RCPT TO:<user@example.test>\r\n");
    say(pair[0], "QUIT\r\n");
    while (read(pair[0], rest, sizeof rest) > 0)
        ;
    if (wait4(pid, &status, 0, &use) < 0 || status != 0)
        die("the program has failed");
    c.wall = now_us() - c.wall;
    c.cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
            (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    close(pair[0]);
    return c;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
report(const char *what, double *a, double *b, size_t n)
{
    qsort(a, n, sizeof *a, compare);
    qsort(b, n, sizeof *b, compare);
    printf("%-6s %8.0f (%.0f-%.0f) %8.0f (%.0f-%.0f)   ratio %.3f\n", what, a[n / 2], a[n / 4],
        a[3 * n / 4], b[n / 2], b[n / 4], b[3 * n / 4], b[n / 2] / a[n / 2]);
}

int
main(int argc, char *argv[])
{
    static double wall[2][PAIRS_MAX], cpu[2][PAIRS_MAX];
    size_t n = argc == 6 ? strtoul(argv[1], NULL, 10) : 0;

    if (n < 1 || n > PAIRS_MAX) {
        fprintf(stderr, "usage: exec PAIRS PROGRAM PLUGINS CONFIG CONFIG\n");
        return 2;
    }
    for (size_t i = 0; i < 2 * n; i++) {
        size_t which = i % 2 ^ (i / 2 % 2);
        char c[] = "-C", p[] = "-P";
        char *const command[] = {argv[2], c, argv[4 + which], p, argv[3], NULL};
        struct cost cost = session(command);

        wall[which][i / 2] = cost.wall;
        cpu[which][i / 2] = cost.cpu;
    }
    report("wall", wall[0], wall[1], n);
    report("cpu", cpu[0], cpu[1], n);
    return 0;
}
