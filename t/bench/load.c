/*
 * load - SMTP sessions as fast as a server takes them, or so many at a time, and how long they took
 *
 *   load [-c CONNECTIONS] [-n SESSIONS | -t SECONDS] [-m MESSAGES] [-r RECIPIENTS] [-s BYTES] [-p]
 *        [-f SENDER] [-d DOMAIN] [-w SECONDS] [-q] ADDRESS PORT
 *
 *   -c   at the same time, default 10                   -s   of a message on the wire, default 4096
 *   -n   in all, default 1000                           -p   MAIL, RCPT and DATA in one write (RFC 2920)
 *   -t   instead: start sessions for so long            -f   default sender@client.test
 *   -m   in one session, default 1                      -d   recipients are user1, user2 ... @DOMAIN,
 *   -r   of a message, default 1                             default example.test
 *   -w   nothing happens for so long: give up, default 30
 *   -q   close our direction after QUIT: some servers wait for that
 *
 * One thread, epoll. Prints one line of key=value: sessions and messages a second, and how long a session
 * took from connect to the answer to QUIT. Any other reply than the one that is expected, an early end or
 * silence is an error: the first is told on stderr, and the exit status is 1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS     256
#define ERRORS_MAX 100

enum step { GREETING, EHLO, MAIL, RCPT, DATA, MESSAGE, QUIT, STEPS };

static const struct {
    const char *name;
    char expected; /* first digit of the reply */
} steps[STEPS] = {{"greeting", '2'}, {"EHLO", '2'}, {"MAIL", '2'}, {"RCPT", '2'}, {"DATA", '3'},
    {"message", '2'}, {"QUIT", '2'}};

struct text {
    char *p;
    size_t n;
};

struct options {
    long connections, sessions, messages, recipients, size;
    double seconds, patience;
    bool pipelining, half_close;
    const char *sender, *domain;
};

/* One of the connections; fd -1: not in use. */
struct connection {
    int fd;
    enum step step;            /* whose reply is awaited */
    long messages, recipients; /* done; accepted for the present message */
    const char *out;           /* still to be sent */
    size_t out_n, in_n;
    bool waits_for_room; /* EPOLLOUT is asked for */
    double began;
    char in[4096];
};

struct load {
    struct options o;
    struct addrinfo *address;
    int epoll;
    struct text said[STEPS]; /* what is sent in a step; RCPT: each has the same length */
    struct text envelope;    /* MAIL, all RCPT, DATA */
    struct connection *connections;
    long started, done, messages, open, errors;
    double begin, last, progress;
    float *ms; /* of each session */
    long ms_room;
};

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

__attribute__((format(printf, 1, 2))) static _Noreturn void
die(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    exit(2);
}

static void *
allocate(size_t n)
{
    void *p = calloc(1, n);

    if (!p)
        die("no memory");
    return p;
}

__attribute__((format(printf, 2, 3))) static void
append(struct text *t, const char *format, ...)
{
    va_list ap;
    char part[1024];
    int n;

    va_start(ap, format);
    n = vsnprintf(part, sizeof part, format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof part || !(t->p = realloc(t->p, t->n + (size_t)n + 1)))
        die("text too long");
    memcpy(t->p + t->n, part, (size_t)n + 1);
    t->n += (size_t)n;
}

/* ---- what is said ---- */

static void
rcpt_append(struct text *t, const struct options *o, long i)
{
    append(t, "RCPT TO:<user%ld@%s>\r\n", i + 1, o->domain);
}

/* Header, whole lines of at most 78 bytes, and the dot. */
static struct text
message_of(const struct options *o)
{
    static const char line[] =
        "the quick brown fox jumps over the lazy dog, and packs five dozen liquor jugs\r\n";
    struct text t = {0};
    size_t n = sizeof line - 1;

    append(&t, "From: <%s>\r\nTo: <user1@%s>\r\nSubject: load\r\n", o->sender, o->domain);
    append(&t,
        "Date: Mon, 02 Mar 2026 01:02:03 +0000\r\nMessage-Id: <load.%ld@client.test>\r\n\r\n",
        (long)getpid());
    t.p = realloc(t.p, t.n + (size_t)o->size + n + sizeof ".\r\n");
    if (!t.p)
        die("no memory");
    while ((long)(t.n + n) <= o->size) {
        memcpy(t.p + t.n, line, n);
        t.n += n;
    }
    memcpy(t.p + t.n, ".\r\n", 3);
    t.n += 3;
    return t;
}

static void
prepare(struct load *l)
{
    const struct options *o = &l->o;

    append(&l->said[EHLO], "EHLO client.test\r\n");
    append(&l->said[MAIL], "MAIL FROM:<%s>\r\n", o->sender);
    rcpt_append(&l->said[RCPT], o, 0);
    append(&l->said[DATA], "DATA\r\n");
    l->said[MESSAGE] = message_of(o);
    append(&l->said[QUIT], "QUIT\r\n");
    append(&l->envelope, "%s", l->said[MAIL].p);
    for (long i = 0; i < o->recipients; i++)
        rcpt_append(&l->envelope, o, i);
    append(&l->envelope, "%s", l->said[DATA].p);
}

/* The RCPT of recipient i is somewhere in the envelope. */
static struct text
rcpt_text(const struct load *l, long i)
{
    char *p = l->envelope.p + l->said[MAIL].n;

    while (i-- > 0)
        p = strchr(p, '\n') + 1;
    return (struct text){p, (size_t)(strchr(p, '\n') + 1 - p)};
}

/* ---- one connection ---- */

static void
fail(struct load *l, const struct connection *c, const char *what, const char *detail)
{
    if (l->errors++ == 0)
        fprintf(stderr, "load: %s (%s, message %ld): %s\n", what, steps[c->step].name,
            c->messages + 1, detail);
}

static void
watch(struct load *l, struct connection *c, int operation, bool room)
{
    struct epoll_event e = {.events = EPOLLIN | (room ? EPOLLOUT : 0), .data.ptr = c};

    if (epoll_ctl(l->epoll, operation, c->fd, &e) < 0)
        die("epoll_ctl: %s", strerror(errno));
    c->waits_for_room = room;
}

static bool
start(struct load *l, struct connection *c)
{
    *c = (struct connection){.step = GREETING, .began = now()};
    c->fd = socket(l->address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    l->started++;
    if (connect(c->fd, l->address->ai_addr, l->address->ai_addrlen) < 0 && errno != EINPROGRESS) {
        fail(l, c, "cannot connect", strerror(errno));
        close(c->fd);
        c->fd = -1;
        return false;
    }
    watch(l, c, EPOLL_CTL_ADD, false);
    l->open++;
    return true;
}

static void
stop(struct load *l, struct connection *c, bool good)
{
    close(c->fd);
    c->fd = -1;
    l->open--;
    if (!good)
        return;
    if (l->done == l->ms_room) {
        l->ms_room = l->ms_room ? 2 * l->ms_room : 65536;
        l->ms = realloc(l->ms, (size_t)l->ms_room * sizeof *l->ms);
        if (!l->ms)
            die("no memory");
    }
    l->last = now();
    l->ms[l->done++] = (float)((l->last - c->began) * 1000);
}

static bool
send_pending(struct load *l, struct connection *c)
{
    while (c->out_n > 0) {
        ssize_t n = send(c->fd, c->out, c->out_n, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            fail(l, c, "cannot write", strerror(errno));
            return false;
        }
        if (n < 0)
            break;
        c->out += n;
        c->out_n -= (size_t)n;
        l->progress = now();
    }
    if ((c->out_n > 0) != c->waits_for_room)
        watch(l, c, EPOLL_CTL_MOD, c->out_n > 0);
    return true;
}

/* The reply to this step is awaited from now on; say what asks for it, unless that was said already. */
static bool
enter(struct load *l, struct connection *c, enum step step)
{
    struct text say = l->said[step];

    if (step == MAIL && l->o.pipelining)
        say = l->envelope;
    else if (step == RCPT)
        say = rcpt_text(l, c->recipients);
    c->step = step;
    if (l->o.pipelining && (step == RCPT || step == DATA))
        return true;
    c->out = say.p;
    c->out_n = say.n;
    if (!send_pending(l, c))
        return false;
    return step != QUIT || !l->o.half_close || shutdown(c->fd, SHUT_WR) == 0;
}

static bool
next_message(struct load *l, struct connection *c)
{
    c->recipients = 0;
    return enter(l, c, c->messages < l->o.messages ? MAIL : QUIT);
}

/* The last line of a reply. false: the session is over, by an error unless it had come to its end */
static bool
on_reply(struct load *l, struct connection *c, const char *line)
{
    if (line[0] != steps[c->step].expected || c->out_n > 0) {
        fail(l, c, c->out_n > 0 ? "an early reply" : "unexpected reply", line);
        return false;
    }
    switch (c->step) {
    case GREETING:
        return enter(l, c, EHLO);
    case EHLO:
        return next_message(l, c);
    case MAIL:
        return enter(l, c, RCPT);
    case RCPT:
        return enter(l, c, ++c->recipients < l->o.recipients ? RCPT : DATA);
    case DATA:
        return enter(l, c, MESSAGE);
    case MESSAGE:
        c->messages++;
        l->messages++;
        return next_message(l, c);
    default:
        stop(l, c, true);
        return true;
    }
}

static bool
on_input(struct load *l, struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_n, sizeof c->in - 1 - c->in_n, 0);
    char *line = c->in, *lf;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0) {
        fail(l, c, "connection lost", n < 0 ? strerror(errno) : "closed");
        return false;
    }
    l->progress = now();
    c->in_n += (size_t)n;
    c->in[c->in_n] = '\0';
    for (; (lf = strchr(line, '\n')); line = lf + 1) {
        *lf = '\0';
        if (lf - line < 4) {
            fail(l, c, "no reply", line);
            return false;
        }
        if (line[3] != '-' && !on_reply(l, c, line))
            return false;
        if (c->fd < 0)
            return true; /* it was the answer to QUIT */
    }
    c->in_n -= (size_t)(line - c->in);
    memmove(c->in, line, c->in_n);
    if (c->in_n == sizeof c->in - 1)
        fail(l, c, "an endless line", "");
    return c->in_n < sizeof c->in - 1;
}

/* ---- all of them ---- */

static bool
more(const struct load *l)
{
    return l->errors < ERRORS_MAX &&
           (l->o.seconds > 0 ? now() - l->begin < l->o.seconds : l->started < l->o.sessions);
}

static void
fill(struct load *l)
{
    for (long i = 0; i < l->o.connections; i++)
        while (l->connections[i].fd < 0 && more(l) && !start(l, &l->connections[i]))
            ;
}

static void
run(struct load *l)
{
    struct epoll_event events[EVENTS];

    l->begin = l->last = l->progress = now();
    for (fill(l); l->open > 0; fill(l)) {
        int n = epoll_wait(l->epoll, events, EVENTS, 500);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            bool good = !(events[i].events & EPOLLOUT) || send_pending(l, c);

            if (good && events[i].events & ~(unsigned)EPOLLOUT)
                good = on_input(l, c);
            if (!good)
                stop(l, c, false);
        }
        if (now() - l->progress > l->o.patience) {
            l->errors++;
            fprintf(stderr, "load: silence, %ld sessions hang\n", l->open);
            return;
        }
    }
}

static int
compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static void
report(struct load *l)
{
    double seconds = l->last - l->begin;
    struct rusage use;

    qsort(l->ms, (size_t)l->done, sizeof *l->ms, compare);
    getrusage(RUSAGE_SELF, &use);
    printf("sessions=%ld messages=%ld seconds=%.3f sessions_s=%.1f messages_s=%.1f mbyte_s=%.2f",
        l->done, l->messages, seconds, (double)l->done / seconds, (double)l->messages / seconds,
        (double)l->messages * (double)l->said[MESSAGE].n / seconds / 1e6);
    if (l->done > 0)
        printf(" p50_ms=%.2f p99_ms=%.2f max_ms=%.2f", (double)l->ms[l->done / 2],
            (double)l->ms[l->done * 99 / 100], (double)l->ms[l->done - 1]);
    printf(" cpu_s=%.2f errors=%ld\n",
        (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
            (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
        l->errors);
}

/* ---- the command line ---- */

static double
number(const char *word, double min, double max)
{
    char *end;
    double n = strtod(word, &end);

    if (end == word || *end || !(n >= min && n <= max))
        die("%s: want a number from %g to %g", word, min, max);
    return n;
}

static void
read_options(struct options *o, int argc, char *argv[])
{
    int c;

    while ((c = getopt(argc, argv, "c:n:t:m:r:s:pf:d:w:q")) != -1)
        switch (c) {
        case 'c':
            o->connections = (long)number(optarg, 1, 100000);
            break;
        case 'n':
            o->sessions = (long)number(optarg, 1, 1e9);
            break;
        case 't':
            o->seconds = number(optarg, 0.1, 86400);
            break;
        case 'm':
            o->messages = (long)number(optarg, 0, 1e9);
            break;
        case 'r':
            o->recipients = (long)number(optarg, 1, 10000);
            break;
        case 's':
            o->size = (long)number(optarg, 0, 1e9);
            break;
        case 'p':
            o->pipelining = true;
            break;
        case 'f':
            o->sender = optarg;
            break;
        case 'd':
            o->domain = optarg;
            break;
        case 'q':
            o->half_close = true;
            break;
        case 'w':
            o->patience = number(optarg, 1, 3600);
            break;
        default:
            exit(2);
        }
    if (argc - optind != 2)
        die("want an address and a port; the options are told at the top of load.c");
}

int
main(int argc, char *argv[])
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct load l = {.o = {.connections = 10,
                         .sessions = 1000,
                         .messages = 1,
                         .recipients = 1,
                         .size = 4096,
                         .patience = 30,
                         .sender = "sender@client.test",
                         .domain = "example.test"}};

    read_options(&l.o, argc, argv);
    if (getaddrinfo(argv[optind], argv[optind + 1], &hints, &l.address) != 0)
        die("%s %s: no address and port in numbers", argv[optind], argv[optind + 1]);
    prepare(&l);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.connections = allocate((size_t)l.o.connections * sizeof *l.connections);
    for (long i = 0; i < l.o.connections; i++)
        l.connections[i].fd = -1;
    run(&l);
    report(&l);
    freeaddrinfo(l.address);
    return l.errors > 0 || (l.o.seconds <= 0 && l.done < l.o.sessions) ? 1 : 0;
}
