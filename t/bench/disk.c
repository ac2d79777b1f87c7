/*
 * disk - how many files a second a disk makes safe
 *
 *   disk DIRECTORY PROCESSES SECONDS BYTES
 *
 * Each process writes files of that size to DIRECTORY/tmp, one after the other: write, fsync, rename to
 * DIRECTORY/new, fsync of that directory. This is the least that a durable delivery to a maildir can do
 * with names; prints the number for all processes together. The files stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES_MAX 1000
#define BYTES_MAX     (1L << 30)

struct disk {
    char tmp[3000], new[3000];
    char *bytes;
    size_t n;
    double end;
};

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void
die(const char *what)
{
    fprintf(stderr, "disk: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void
one_file(const struct disk *d, long number)
{
    char from[4000], to[4000];
    int fd;

    snprintf(from, sizeof from, "%s/%ld.%ld", d->tmp, (long)getpid(), number);
    snprintf(to, sizeof to, "%s/%ld.%ld", d->new, (long)getpid(), number);
    fd = open(from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, d->bytes, d->n) != (ssize_t)d->n || fsync(fd) < 0 || close(fd) < 0)
        die(from);
    if (rename(from, to) < 0)
        die(to);
    fd = open(d->new, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        die(d->new);
    close(fd);
}

static _Noreturn void
work(const struct disk *d, int out)
{
    long n = 0;

    while (now() < d->end)
        one_file(d, n++);
    if (write(out, &n, sizeof n) != sizeof n)
        die("pipe");
    exit(0);
}

static long
number(const char *word, long min, long max)
{
    char *end;
    long n = strtol(word, &end, 10);

    if (end == word || *end || n < min || n > max) {
        fprintf(stderr, "disk: %s: want a number from %ld to %ld\n", word, min, max);
        exit(2);
    }
    return n;
}

int
main(int argc, char *argv[])
{
    long processes, seconds, sum = 0, n;
    struct disk d;
    double begin;
    int out[2];

    if (argc != 5) {
        fprintf(stderr, "usage: disk DIRECTORY PROCESSES SECONDS BYTES\n");
        return 2;
    }
    processes = number(argv[2], 1, PROCESSES_MAX);
    seconds = number(argv[3], 1, 3600);
    d.n = (size_t)number(argv[4], 1, BYTES_MAX);
    d.bytes = malloc(d.n);
    if (!d.bytes || pipe(out) < 0)
        die("start");
    memset(d.bytes, 'x', d.n);
    snprintf(d.tmp, sizeof d.tmp, "%s/tmp", argv[1]);
    snprintf(d.new, sizeof d.new, "%s/new", argv[1]);
    if ((mkdir(d.tmp, 0700) < 0 || mkdir(d.new, 0700) < 0) && errno != EEXIST)
        die(argv[1]);
    begin = now();
    d.end = begin + (double)seconds;
    for (long i = 0; i < processes; i++) {
        pid_t pid = fork();

        if (pid < 0)
            die("fork");
        if (pid == 0)
            work(&d, out[1]);
    }
    close(out[1]);
    while (read(out[0], &n, sizeof n) == sizeof n)
        sum += n;
    printf("%.1f\n", (double)sum / (now() - begin));
    while (wait(NULL) > 0)
        ;
    free(d.bytes);
    return 0;
}
