/*
 * queue/pipe - run a program with the message on its input: sendmail, or anything called like it
 *
 *   plugins file: queue/pipe [timeout DURATION] [recipients N] PROGRAM [ARGUMENT ...]
 *     timeout       1s..1d, default 300s: for one run of the program
 *     recipients    1..10000, default all: in one run; more recipients, more runs
 *     PROGRAM       absolute path; no shell sees it, nor what follows it
 *     ARGUMENT      default -i -f %s -- %r. %s is the sender, "" for the null sender; %r a recipient, %l
 *                   its local part, %d its domain: the word is there once for each; %% a percent sign
 *   hook queue:     QP_OK "Queued! <message-id>" when all runs end with 0
 *                   4xx and 5xx by exit code, see the table below; 451 for signals and timeouts
 *                   452 4.5.3: the words are more than the kernel takes
 *                   553 5.1.3, 553 5.1.7: an address that the program would take for an option
 * Sources: sysexits.h, sendmail(8), Postfix's pipe(8), qmail-command(8)
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>

#include "program.parts/program.h"

#define TIMEOUT_MS     300000
#define RECIPIENTS_MAX 10000

struct conf {
    int64_t timeout_ms;
    int recipients;
    const char *const *words; /* the program, then its arguments; NULL at the end */
    size_t n_words;
};

/* What a failure is for the client; the code decides whether it is for good. */
struct verdict {
    int exit;
    int code;
    const char *enhanced, *text;
};

/* In doubt temporary: a program that is called wrongly, or has lost its disk, refuses no mail. */
static const struct verdict verdicts[] = {
    {EX_DATAERR, 554, "5.6.0", "message not accepted"},
    {EX_NOUSER, 550, "5.1.1", "no such mailbox"},
    {EX_NOHOST, 550, "5.1.2", "no such host"},
    {EX_NOPERM, 554, "5.7.1", "not permitted"},
    {100, 554, "5.3.0", "refused for good"}, /* qmail-command(8) */
    {EX_OSERR, 451, "4.3.0", "system error"},
    {EX_CANTCREAT, 451, "4.2.0", "cannot write"},
    {EX_IOERR, 451, "4.3.0", "input/output error"},
    {EX_CONFIG, 451, "4.3.5", "configuration error"},
    {EX_USAGE, 451, "4.3.5", "configuration error"},
    {-1, 451, "4.3.0", "temporary failure"},
};

static const struct verdict cannot_spool = {0, 451, "4.3.0", "queue error (spool)"};
static const struct verdict cannot_start = {0, 451, "4.3.0", "queue error (start)"};
static const struct verdict too_long = {
    0, 452, "4.5.3", "too many recipients for one command line"};
static const struct verdict timed_out = {0, 451, "4.3.0", "queue error (timeout)"};
static const struct verdict crashed = {0, 451, "4.3.0", "queue error (crash)"};
static const struct verdict not_collected = {0, 451, "4.3.0", "queue error (wait)"};

/* ---- words ---- */

static bool
names_recipient(const char *word)
{
    for (; (word = strchr(word, '%')); word += 2)
        if (strchr("rld", word[1]))
            return true;
    return false;
}

/* An address as a program parses it: quoted where needed, without the angle brackets. */
static const char *
plain(struct qp *q, const struct qp_address *a)
{
    size_t n = strlen(a->format);

    return n < 2 ? "" : qp_printf(q, QP_TRANSACTION, "%.*s", (int)n - 2, a->format + 1);
}

static const char *
value(struct qp *q, char what, const struct qp_address *to)
{
    switch (what) {
    case 's':
        return plain(q, qp_sender(q));
    case 'r':
        return plain(q, to);
    case 'l':
        return to->user;
    case 'd':
        return to->host;
    default:
        return "%";
    }
}

static const char *
expand(struct qp *q, const char *word, const struct qp_address *to)
{
    const char *out = "";

    while (*word) {
        int n = (int)strcspn(word, "%");

        out = qp_printf(
            q, QP_TRANSACTION, "%s%.*s%s", out, n, word, word[n] ? value(q, word[n + 1], to) : "");
        word += n + (word[n] ? 2 : 0);
    }
    return out;
}

/*
 * Is an outside text that begins with a dash safe as the i-th word? Behind "--" all are. The sender is
 * where it is the value of an option, as in "-f %s"; for recipients that is no excuse: a forgotten "--"
 * must not let them in.
 */
static bool
dash_safe(const struct conf *c, size_t i)
{
    const char *before = c->words[i - 1];

    for (size_t at = 1; at < i; at++)
        if (strcmp(c->words[at], "--") == 0)
            return true;
    return !names_recipient(c->words[i]) &&
           (strcmp(before, "-f") == 0 || strncmp(before, "--", 2) == 0);
}

struct command {
    const char **argv; /* ends with NULL */
    size_t n;
    const struct qp_address *option; /* who looks like one; NULL: nobody */
};

/* Once more the i-th word, for that recipient */
static void
add_word(
    struct qp *q, const struct conf *c, struct command *out, size_t i, const struct qp_address *to)
{
    const char *word = c->words[i], *expanded = i == 0 ? word : expand(q, word, to);

    if (word[0] == '%' && expanded[0] == '-' && !dash_safe(c, i) && !out->option)
        out->option = names_recipient(word) ? to : qp_sender(q);
    out->argv[out->n++] = expanded;
}

/* The command for n recipients, at least one, from first on. */
static struct command
command_for(struct qp *q, const struct conf *c, size_t first, size_t n)
{
    struct command out = {
        .argv = qp_alloc(q, QP_TRANSACTION, (c->n_words * n + 1) * sizeof *out.argv)};

    for (size_t i = 0; i < c->n_words; i++) {
        size_t times = i > 0 && names_recipient(c->words[i]) ? n : 1;

        for (size_t to = first; to < first + times; to++)
            add_word(q, c, &out, i, qp_rcpt(q, to));
    }
    return out;
}

/* ---- one run ---- */

static const struct verdict *
judge(int status)
{
    const struct verdict *v = verdicts;

    if (status < 0)
        return errno == ETIMEDOUT ? &timed_out : &not_collected;
    if (WIFSIGNALED(status))
        return &crashed;
    if (WEXITSTATUS(status) == 0)
        return NULL;
    while (v->exit >= 0 && v->exit != WEXITSTATUS(status))
        v++;
    return v;
}

/* NULL: it has taken the message. said: the first line of its output, "" when there is none. */
static const struct verdict *
run(struct qp *q, const struct conf *c, int message, const struct command *command,
    const char **said)
{
    const struct verdict *v;
    struct program p;
    int status;

    *said = "";
    if (lseek(message, 0, SEEK_SET) < 0 ||
        !program_start(q, &p, command->argv, message, c->timeout_ms)) {
        qp_log(
            q, QP_LOG_ERROR, "cannot start program=%s error=\"%s\"", c->words[0], strerror(errno));
        return errno == E2BIG ? &too_long : &cannot_start;
    }
    status = program_end(q, &p);
    v = judge(status);
    *said = program_line(q, &p);
    qp_log(q, v ? QP_LOG_WARN : QP_LOG_INFO, "ended program=%s pid=%ld status=0x%04x output=\"%s\"",
        c->words[0], (long)p.pid, (unsigned)status & 0xffff, *said);
    return v;
}

/* ---- handlers ---- */

static bool
word_valid(struct qp *q, const char *word)
{
    for (const char *at = word; (at = strchr(at, '%')); at += 2)
        if (!at[1] || !strchr("srld%", at[1]))
            return qp_fail(q, "%s: only %%s, %%r, %%l, %%d and %%%% have a meaning", word);
    if (word[0] == '-' && word[1] && word[1] != '-' && strcmp(word + 2, "%s") == 0)
        return qp_fail(q,
            "%s: the null sender would make %.2s take the next word: write it as two words", word,
            word);
    return true;
}

static bool
read_words(struct qp *q, struct conf *c, size_t n, const char *const words[])
{
    static const char *const sendmail[] = {"-i", "-f", "%s", "--", "%r"};
    size_t more = n == 1 ? sizeof sendmail / sizeof *sendmail : 0, named = 0;
    const char **copy = qp_alloc(q, QP_INSTANCE, (n + more + 1) * sizeof *copy);

    for (size_t i = 0; i < n + more; i++) {
        copy[i] = i < n ? qp_strdup(q, QP_INSTANCE, words[i]) : sendmail[i - n];
        if (i > 0 && !word_valid(q, copy[i]))
            return false;
        named += i > 0 && names_recipient(copy[i]);
    }
    c->words = copy;
    c->n_words = n + more;
    if (named == 0)
        return qp_fail(q, "nobody would know the recipients: use %%r in an argument");
    if (named > 1 && c->recipients != 1)
        return qp_fail(q, "several arguments name the recipient: that needs \"recipients 1\"");
    if (access(words[0], X_OK) < 0)
        return qp_fail(q, "cannot run %s: %s", words[0], strerror(errno));
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    int program = 1;

    c->timeout_ms = TIMEOUT_MS;
    c->recipients = RECIPIENTS_MAX;
    qp_instance_set(q, c);
    while (program < argc && argv[program][0] != '/')
        program++;
    if (!qp_args(q, program, argv,
            (const struct qp_arg[]){
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 86400},
                {.name = "recipients", .number = &c->recipients, .min = 1, .max = RECIPIENTS_MAX},
                {0}}))
        return false;
    if (program == argc)
        return qp_fail(q, "the program is missing: an absolute path");
    return read_words(q, c, (size_t)(argc - program), argv + program);
}

static enum qp_rc
refuse_option(struct qp *q, const struct qp_address *who)
{
    bool sender = who == qp_sender(q);

    qp_log(q, QP_LOG_NOTICE, "an address that looks like an option address=%s", who->format);
    return qp_deny_code(q, 553, sender ? "5.1.7" : "5.1.3",
        sender ? "sender address not allowed" : "mailbox name not allowed");
}

static enum qp_rc
refuse(struct qp *q, const struct verdict *v, const char *said, size_t before)
{
    qp_log(q, QP_LOG_ERROR, "not queued reason=\"%s\" delivered=%zu of=%zu", v->text, before,
        qp_rcpt_count(q));
    return qp_deny_code(q, v->code, v->enhanced, "%s%s%s", v->text, *said ? ": " : "", said);
}

static enum qp_rc
on_queue(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    size_t all = qp_rcpt_count(q), most = (size_t)c->recipients;
    const char *id = qp_message_id(q), *said = "";
    const struct qp_address *option;
    int message;

    option = command_for(q, c, 0, all).option;
    if (option)
        return refuse_option(q, option);
    /* A file: were this process killed, a pipe would end, and the program take a part for the whole. */
    message = qp_message_file(q, NULL, 0600, NULL);
    if (message < 0) {
        qp_log(q, QP_LOG_ERROR, "no copy of the message error=\"%s\"", strerror(errno));
        return refuse(q, &cannot_spool, "", 0);
    }
    for (size_t done = 0; done < all; done += most) {
        size_t n = all - done < most ? all - done : most;
        struct command command = command_for(q, c, done, n);
        const struct verdict *v = run(q, c, message, &command, &said);

        if (v)
            return refuse(q, v, said, done);
    }
    qp_log(q, QP_LOG_NOTICE, "queued program=%s recipients=%zu id=%s", c->words[0], all, id);
    return qp_ok(q, "Queued!%s%s", *id ? " " : "", id);
}

QP_PLUGIN(.name = "queue/pipe", .init = on_init, .queue = on_queue);
