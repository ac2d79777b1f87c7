/*
 * sink - what an SMTP dialogue costs at least on this machine; no mail server
 *
 *   sink [-w WORKERS] [-d MAILDIR] PORT      on 127.0.0.1; each worker, default 40, serves one client
 *   sink -i [-d MAILDIR] [-q PROGRAM]        one session on descriptors 0 and 1, for tcpserver
 *
 * Every command is answered with what a client hopes for, unread but for its first letter; a message is
 * read to its end and forgotten. With -d it is kept as queue/maildir keeps it: written to tmp, fsync,
 * rename to new, fsync of that directory. With -q the program gets it, as qmail-queue(8) does: the message on
 * descriptor 0, an envelope on 1; that is the least that a qmail-smtpd can do. Its workers end with it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define END         "\r\n.\r\n"
#define END_N       (sizeof END - 1)
#define WORKERS_MAX 10000

struct session {
    int in, out, file; /* file: of the message, -1: there is none */
    const char *maildir, *program;
    pid_t pid;          /* of the program */
    int envelope;       /* for it, -1: there is none */
    char replies[4096]; /* to what has been read; written at once */
    size_t replies_n;
    char name[64];        /* of its file, in tmp and in new */
    char tail[END_N - 1]; /* the last bytes of a message so far */
    char verb;            /* of the command that is being read, 0: its first byte is awaited */
    bool in_message, over;
};

static char block[256 * 1024];

/* ---- replies ---- */

static bool
write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, bytes, n);

        if (done <= 0)
            return false;
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

static bool
flush(struct session *s)
{
    bool good = write_all(s->out, s->replies, s->replies_n);

    s->replies_n = 0;
    return good;
}

static bool
say(struct session *s, const char *reply)
{
    size_t n = strlen(reply);

    if (s->replies_n + n > sizeof s->replies && !flush(s))
        return false;
    memcpy(s->replies + s->replies_n, reply, n);
    s->replies_n += n;
    return true;
}

/* ---- a message ---- */

static void
path(char to[PATH_MAX], const struct session *s, const char *directory, const char *name)
{
    snprintf(to, PATH_MAX, "%s/%s/%s", s->maildir, directory, name);
}

static bool
program_start(struct session *s)
{
    int message[2], envelope[2];
    posix_spawn_file_actions_t actions;
    char *argv[] = {(char[]){"queue"}, NULL};
    bool good;

    if (pipe2(message, O_CLOEXEC) < 0 || pipe2(envelope, O_CLOEXEC) < 0 ||
        posix_spawn_file_actions_init(&actions) != 0)
        return false;
    good = posix_spawn_file_actions_adddup2(&actions, message[0], 0) == 0 &&
           posix_spawn_file_actions_adddup2(&actions, envelope[0], 1) == 0 &&
           posix_spawn(&s->pid, s->program, &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(message[0]);
    close(envelope[0]);
    s->file = message[1];
    s->envelope = envelope[1];
    return good;
}

static bool
program_end(struct session *s)
{
    static const char envelope[] = "Fsender@client.test\0Tuser1@example.test\0";
    int status;
    bool good;

    close(s->file);
    s->file = -1;
    good = write_all(s->envelope, envelope, sizeof envelope);
    close(s->envelope);
    return good && waitpid(s->pid, &status, 0) == s->pid && status == 0;
}

static bool
message_begin(struct session *s)
{
    static unsigned long number;
    char tmp[PATH_MAX];

    s->in_message = true;
    memcpy(s->tail, "\0\0\r\n", sizeof s->tail); /* an empty message begins with its dot */
    if (s->program)
        return program_start(s);
    if (!s->maildir)
        return true;
    snprintf(s->name, sizeof s->name, "%ld.%lu", (long)getpid(), number++);
    path(tmp, s, "tmp", s->name);
    s->file = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return s->file >= 0;
}

static bool
directory_sync(const char *name)
{
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

static bool
message_keep(struct session *s)
{
    char tmp[PATH_MAX], new[PATH_MAX], directory[PATH_MAX];
    bool good = fsync(s->file) == 0;

    close(s->file);
    s->file = -1;
    path(tmp, s, "tmp", s->name);
    path(new, s, "new", s->name);
    path(directory, s, "new", "");
    return good && rename(tmp, new) == 0 && directory_sync(directory);
}

/* Where a message ends that goes on in this block; NULL: not here. Its end may have begun in the last one. */
static const char *
message_end(const struct session *s, const char *p, size_t n)
{
    char seam[2 * sizeof s->tail];
    size_t more = n < sizeof s->tail ? n : sizeof s->tail;
    const char *found;

    memcpy(seam, s->tail, sizeof s->tail);
    memcpy(seam + sizeof s->tail, p, more);
    found = memmem(seam, sizeof s->tail + more, END, END_N);
    if (found)
        return p + (found + END_N - (seam + sizeof s->tail));
    found = memmem(p, n, END, END_N);
    return found ? found + END_N : NULL;
}

static void
tail_update(struct session *s, const char *p, size_t n)
{
    size_t all = sizeof s->tail;

    if (n >= all) {
        memcpy(s->tail, p + n - all, all);
        return;
    }
    memmove(s->tail, s->tail + n, all - n);
    memcpy(s->tail + all - n, p, n);
}

/* Gives what is left of the block. false: it cannot be kept */
static bool
message_read(struct session *s, const char **p, const char *end)
{
    const char *stop = message_end(s, *p, (size_t)(end - *p));
    size_t n = (size_t)((stop ? stop : end) - *p);

    if (s->file >= 0 && !write_all(s->file, *p, n))
        return false;
    if (!stop)
        tail_update(s, *p, n);
    *p += n;
    if (!stop)
        return true;
    s->in_message = false;
    return (s->program ? program_end(s) : s->file < 0 || message_keep(s)) &&
           say(s, "250 kept or not\r\n");
}

/* ---- a session ---- */

static bool
answer(struct session *s)
{
    switch (s->verb) {
    case 'E':
        return say(s, "250-mx.example.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n");
    case 'D':
        return message_begin(s) && say(s, "354 go on\r\n");
    case 'Q':
        s->over = true;
        return say(s, "221 bye\r\n");
    default:
        return say(s, "250 ok\r\n");
    }
}

static bool
command_read(struct session *s, const char **p, const char *end)
{
    const char *lf = memchr(*p, '\n', (size_t)(end - *p));
    bool good = true;

    if (!s->verb)
        s->verb = (char)(**p & ~32);
    *p = lf ? lf + 1 : end;
    if (lf) {
        good = answer(s);
        s->verb = 0;
    }
    return good;
}

static bool
block_read(struct session *s, const char *p, size_t n)
{
    const char *end = p + n;
    bool good = true;

    while (good && p < end && !s->over)
        good = s->in_message ? message_read(s, &p, end) : command_read(s, &p, end);
    return good && flush(s);
}

static void
serve(int in, int out, const char *maildir, const char *program)
{
    struct session s = {
        .in = in, .out = out, .file = -1, .envelope = -1, .maildir = maildir, .program = program};
    bool good = say(&s, "220 mx.example.test ESMTP\r\n") && flush(&s);

    while (good && !s.over) {
        ssize_t n = read(in, block, sizeof block);

        good = n > 0 && block_read(&s, block, (size_t)n);
    }
    if (s.file >= 0)
        close(s.file);
}

/* ---- workers ---- */

static _Noreturn void
die(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long
number(const char *word, long max)
{
    char *end;
    long n = strtol(word, &end, 10);

    if (end == word || *end || n < 1 || n > max) {
        fprintf(stderr, "sink: %s: want a number from 1 to %ld\n", word, max);
        exit(2);
    }
    return n;
}

static int
listen_on(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, SOMAXCONN) < 0)
        die("listen");
    return fd;
}

static _Noreturn void
work(int listener, const char *maildir)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        serve(fd, fd, maildir, NULL);
        close(fd);
    }
}

int
main(int argc, char *argv[])
{
    const char *maildir = NULL, *program = NULL;
    bool one_session = false;
    long workers = 40;
    int c, listener;

    while ((c = getopt(argc, argv, "d:iq:w:")) != -1)
        if (c == 'd')
            maildir = optarg;
        else if (c == 'i')
            one_session = true;
        else if (c == 'q')
            program = optarg;
        else if (c == 'w')
            workers = number(optarg, WORKERS_MAX);
        else
            return 2;
    signal(SIGPIPE, SIG_IGN);
    if (one_session) {
        serve(0, 1, maildir, program);
        return 0;
    }
    if (optind + 1 != argc) {
        fprintf(stderr,
            "usage: sink [-w WORKERS] [-d MAILDIR] PORT | sink -i [-d MAILDIR] [-q PROGRAM]\n");
        return 2;
    }
    listener = listen_on((uint16_t)number(argv[optind], UINT16_MAX));
    for (; workers > 0; workers--) {
        pid_t pid = fork();

        if (pid < 0)
            die("fork");
        if (pid == 0)
            work(listener, maildir);
    }
    while (wait(NULL) > 0)
        ;
    return 0;
}
