/*
 * queue/qmail-queue - hand the message to qmail-queue(8), or to a program that behaves like it
 *
 *   plugins file: queue/qmail-queue [PATH] [timeout DURATION] [fallback 0|1]
 *     PATH          absolute, of A-Za-z0-9/_.-; default bin/qmail-queue in $QMAIL or /var/qmail. The
 *                   variable QMAILQUEUE overrides it
 *     timeout       1s..1d, default 300s: without progress while it reads, and for its end afterwards;
 *                   ten times as long for all of it
 *     fallback 1    temporary failures are QP_DECLINED, so that the next queue plugin is asked
 *   hook queue:     QP_OK "Queued! TIME qp PID <message-id>" after exit 0 of a program that has read all
 *                   554 and 451 by exit code, see the table below
 *
 * Descriptor 0 of the program is the message, 1 the envelope, 2 our log, 6 takes its error text. It
 * runs in qmail's home directory when there is one.
 * Sources: qmail-queue(8), qmail's qmail.c, notqmail's custom error text
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/clock.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/process.h>

#include "program.parts/program.h"

#define QMAIL_HOME    "/var/qmail"
#define PATH_BYTES    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_.-"
#define ERROR_TEXT_FD 6
#define ERROR_TEXT    255 /* notqmail keeps no more */
#define TIMEOUT_MS    300000
#define TOTAL         10 /* times the time limit, for a program that makes small progress */
#define GIVE_UP_MS    5000 /* qmail-queue removes its files when the pipes end; then it gets SIGKILL */
#define ADDRESS_MAX                                                                                \
    1003 /* qmail-queue takes no longer ones, and would read the message before it said so */
#define EXIT_ADDRESS 11
#define EXIT_READ    54
#define EXIT_TIMEOUT 52
#define EXIT_CUSTOM  82

struct conf {
    const char *path; /* NULL: the default */
    int64_t timeout_ms;
    bool fallback;
};

/* The program, which speaks through descriptor 6, and our ends of what it reads; -1: closed. */
struct child {
    struct program program;
    int message, envelope;
};

struct verdict {
    int first, last; /* exit codes */
    bool permanent;
    const char *text;
};

static const struct verdict verdicts[] = {
    {11, 11, true, "envelope address too long for qq (#5.1.3)"},
    {31, 31, true, "mail server permanently rejected message (#5.3.0)"},
    {12, 40, true, "qq permanent problem (#5.3.0)"},
    {51, 51, false, "qq out of memory (#4.3.0)"},
    {52, 52, false, "qq timeout (#4.3.0)"},
    {53, 53, false, "qq write error or disk full (#4.3.0)"},
    {54, 54, false, "qq read error (#4.3.0)"},
    {55, 55, false, "qq unable to read configuration (#4.3.0)"},
    {56, 56, false, "qq trouble making network connection (#4.3.0)"},
    {61, 61, false, "qq trouble in home directory (#4.3.0)"},
    {62, 66, false, "qq trouble creating files in queue (#4.3.0)"},
    {71, 71, false, "mail server temporarily rejected message (#4.3.0)"},
    {72, 72, false, "connection to mail server timed out (#4.4.1)"},
    {73, 73, false, "connection to mail server rejected (#4.4.1)"},
    {74, 74, false, "communication with mail server failed (#4.4.2)"},
    {81, 81, false, "qq internal bug (#4.3.0)"},
    {91, 91, false, "qq internal bug (#4.3.0)"},
    {115, 115, true, "envelope address too long for qq (#5.1.3)"},
    {120, 120, false, "unable to exec qq (#4.3.0)"},
    {0, 255, false, "qq temporary problem (#4.3.0)"},
};

static const struct verdict crashed = {.text = "qq crashed (#4.3.0)"};
static const struct verdict not_collected = {.text = "qq waitpid surprise (#4.3.0)"};
static const struct verdict not_started = {.text = "unable to exec qq (#4.3.0)"};
static const struct verdict no_pipes = {.text = "qqt failure (#4.3.0)"};

static const struct verdict *
verdict_of(int code)
{
    const struct verdict *v = verdicts;

    while (code < v->first || code > v->last)
        v++;
    return v;
}

/* ---- starting ---- */

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void
close_all(int fds[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        close_fd(&fds[i]);
}

static bool
path_valid(const char *path)
{
    return path[0] == '/' && path[strspn(path, PATH_BYTES)] == '\0';
}

static const char *
qmail_home(struct qp *q)
{
    const char *home = qp_env(q, "QMAIL");

    return home && *home ? home : QMAIL_HOME;
}

static const char *
program(struct qp *q, const struct conf *c)
{
    const char *override = qp_env(q, "QMAILQUEUE");

    if (override && *override)
        return override;
    return c->path ? c->path : qp_printf(q, QP_TRANSACTION, "%s/bin/qmail-queue", qmail_home(q));
}

/* ends: read and write end of the pipes for message, envelope and error text. -1 with errno. */
static pid_t
launch(struct qp *q, const char *path, const int ends[6])
{
    const struct qp_fd_map map[] = {{ends[0], 0}, {ends[2], 1}, {ends[5], ERROR_TEXT_FD}};
    const char *home = qmail_home(q);
    struct stat st;

    if (!path_valid(path)) {
        errno = EINVAL;
        return -1;
    }
    return qp_process_start(q, (const char *const[]){path, NULL}, map, 3,
        stat(home, &st) == 0 && S_ISDIR(st.st_mode) ? home : NULL);
}

/* NULL: it runs; otherwise why not, and nothing is left open. */
static const struct verdict *
start(struct qp *q, const struct conf *c, struct child *child)
{
    int ends[6] = {-1, -1, -1, -1, -1, -1};
    const char *path = program(q, c);
    pid_t pid;

    for (size_t i = 0; i < 6; i += 2)
        if (pipe2(ends + i, O_CLOEXEC) < 0) {
            qp_log(q, QP_LOG_ERROR, "no pipe: error=\"%s\"", strerror(errno));
            close_all(ends, 6);
            return &no_pipes;
        }
    pid = launch(q, path, ends);
    if (pid < 0) {
        qp_log(q, QP_LOG_ERROR, "cannot start path=%s error=\"%s\"", path, strerror(errno));
        close_all(ends, 6);
        return &not_started;
    }
    close_fd(&ends[5]);
    program_adopt(&child->program, pid, ends[4], (int[]){ends[0], ends[2]}, c->timeout_ms,
        TOTAL * c->timeout_ms);
    child->message = ends[1];
    child->envelope = ends[3];
    fcntl(child->message, F_SETFL, O_NONBLOCK); /* ours alone: the program's ends still block */
    fcntl(child->envelope, F_SETFL, O_NONBLOCK);
    return NULL;
}

/* ---- talking ---- */

/* F sender NUL, T recipient NUL for each, NUL. Without the last one qmail-queue forgets the
 * message. */
static bool
write_envelope(struct qp *q, struct child *child)
{
    const char *suffix = qp_rcpt_suffix(q), *sender = qp_sender(q)->address;
    size_t room = strlen(sender) + 3, n;
    char *text;

    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        room += strlen(qp_rcpt(q, i)->address) + strlen(suffix) + 2;
    text = qp_alloc(q, QP_TRANSACTION, room); /* zeroed: the last NUL is there */
    n = (size_t)snprintf(text, room, "F%s", sender) + 1;
    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        n += (size_t)snprintf(text + n, room - n, "T%s%s", qp_rcpt(q, i)->address, suffix) + 1;
    return program_write(&child->program, child->envelope, text, room);
}

/* What the program wrote to descriptor 6: D or Z, and why. NULL: nothing of that kind. */
static const struct verdict *
custom_verdict(struct qp *q, struct program *p)
{
    size_t n = p->n < ERROR_TEXT ? p->n : ERROR_TEXT;
    char *text = p->output;
    struct verdict *v;

    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (n <= 2)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            text[i] = '?';
    text[n] = '\0';
    v = qp_alloc(q, QP_TRANSACTION, sizeof *v);
    *v = (struct verdict){
        .permanent = text[0] == 'D', .text = qp_strdup(q, QP_TRANSACTION, text + 1)};
    return v;
}

/*
 * The program has ended, or was ended: NULL is success
 *
 * status   as qp_process_wait() gives it, with errno
 * trouble  errno of what could not be written; 0: all was
 */
static const struct verdict *
judge(struct qp *q, struct program *p, int status, int trouble)
{
    const struct verdict *custom;
    bool whole = trouble == 0 && p->unread == 0;

    if (trouble == ETIMEDOUT || (status < 0 && errno == ETIMEDOUT))
        return verdict_of(EXIT_TIMEOUT);
    if (status < 0)
        return &not_collected;
    if (WIFSIGNALED(status))
        return &crashed;
    if ((trouble != 0 && trouble != EPIPE) || (WEXITSTATUS(status) == 0 && !whole))
        return verdict_of(EXIT_READ); /* it has not got all, whatever it says */
    if (WEXITSTATUS(status) == EXIT_CUSTOM && (custom = custom_verdict(q, p)))
        return custom;
    return WEXITSTATUS(status) == 0 ? NULL : verdict_of(WEXITSTATUS(status));
}

/* Order matters: qmail-queue reads the message to its end before it looks at the envelope. */
static const struct verdict *
hand_over(struct qp *q, const struct conf *c, struct child *child)
{
    struct program *p = &child->program;
    int trouble = program_write_message(q, p, child->message) ? 0 : errno;
    const struct verdict *v;
    int status;

    close_fd(&child->message);
    if (trouble == 0 && !write_envelope(q, child))
        trouble = errno;
    close_fd(&child->envelope);
    p->deadline = qp_clock_ms() + (trouble == 0 || trouble == EPIPE ? c->timeout_ms : GIVE_UP_MS);
    status = program_end(q, p);
    v = judge(q, p, status, trouble);
    if (v)
        qp_log(q, QP_LOG_WARN,
            "not queued pid=%ld status=0x%04x write=\"%s\" unread=%zu reason=\"%s\"", (long)p->pid,
            (unsigned)status & 0xffff, trouble ? strerror(trouble) : "complete", p->unread,
            v->text);
    return v;
}

/* Refused before the program has to read a large message to say the same. */
static const struct verdict *
check_envelope(struct qp *q)
{
    size_t suffix = strlen(qp_rcpt_suffix(q));

    if (strlen(qp_sender(q)->address) > ADDRESS_MAX)
        return verdict_of(EXIT_ADDRESS);
    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        if (strlen(qp_rcpt(q, i)->address) + suffix > ADDRESS_MAX)
            return verdict_of(EXIT_ADDRESS);
    return NULL;
}

/* ---- handlers ---- */

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    c->timeout_ms = TIMEOUT_MS;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "path", .positional = true, .text = &c->path},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 86400},
                {.name = "fallback", .flag = &c->fallback}, {0}}))
        return false;
    if (c->path && !path_valid(c->path))
        return qp_fail(q, "%s: want an absolute path of letters, digits and / _ . -", c->path);
    return true;
}

static enum qp_rc
on_queue(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *id = qp_message_id(q);
    const struct verdict *v;
    struct child child;
    long long now;

    if ((v = check_envelope(q)))
        qp_log(q, QP_LOG_NOTICE, "not queued reason=\"%s\"", v->text);
    else if (!(v = start(q, c, &child)))
        v = hand_over(q, c, &child);
    if (v && v->permanent)
        return qp_deny(q, "%s", v->text);
    if (v)
        return c->fallback ? qp_declined(q, "%s", v->text) : qp_denysoft(q, "%s", v->text);
    now = (long long)time(NULL);
    qp_log(q, QP_LOG_NOTICE, "queued qp=%ld id=%s", (long)child.program.pid, id);
    return qp_ok(q, "Queued! %lld qp %ld%s%s", now, (long)child.program.pid, *id ? " " : "", id);
}

QP_PLUGIN(.name = "queue/qmail-queue", .init = on_init, .queue = on_queue);
