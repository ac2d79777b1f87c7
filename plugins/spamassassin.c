/*
 * spamassassin - let spamd score the message; tag or refuse spam
 *
 *   plugins file:   spamassassin [option value ...]
 *     reject N|userprefs            refuse from this score on; userprefs: from spamd's own; 0: never (default)
 *     reject_threshold N            the same
 *     reject_type TYPE              perm (default), temp, disconnect, temp_disconnect
 *     munge_subject_threshold N     above this score, and above spamd's own, Subject gets a prefix
 *     subject_prefix TEXT           it; default: file subject_prefix, else "*** SPAM ***"
 *     spamd_socket WHERE            /path or host:port; default localhost:783
 *     spamd_user NAME               default: who runs this; vpopmail: the recipient, when it is one
 *     verb headers|symbols          default headers: the fields are spamd's; symbols: made here (r356)
 *     headers add|none              default add
 *     leave_old_headers HOW         drop, rename (default) or keep X-Spam-* that the client has sent
 *     relayclient skip|scan         default skip
 *     size_limit SIZE               larger messages are not scored; default 500000, 0: no limit
 *     timeout TIME                  1s..10m for the answer, default 120s
 *     on_error accept|tempfail      without an answer; default accept
 *   hook data_post: reject_type "spam score exceeded threshold"; DENYSOFT with on_error tempfail; else
 *                   QP_DECLINED
 *
 * Notes (transaction): spamassassin, "is_spam=Yes score=18.3 required=5.0 tests=A,B autolearn=no
 * version=4.0.1", and spamassassin_KEY for each of these keys. Connection note karma: -1 for spam, +1
 * and -1 for what was learnt as ham and spam.
 *
 * Source: r356, 1.00 (options, texts); spamd/PROTOCOL of SpamAssassin. As there immune clients are not
 * scored, nor are those whom another plugin calls naughty. The message goes as it lies here, LF line
 * ends, in pieces; X-Envelope-From stands in front of it.
 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#include "spamassassin.parts/answer.h"

#define SPAMD_PORT      783
#define CONNECT_MS      5000
#define PAYLOAD_MAX     (1L << 20) /* lines: a header of ours cannot have more */
#define HEADER_MAX      64         /* lines of the answer in front of it */
#define OLD_BEGIN       "X-Spam-"
#define RENAMED_MAX     100 /* of these; what is more is dropped */
#define NEVER           INT64_MAX
#define BY_SPAMD        (INT64_MAX - 1) /* reject userprefs */
#define TIMEOUT_DEFAULT 120000

enum verb { HEADERS, SYMBOLS };
enum old { DROP, RENAME, KEEP };

struct conf {
    struct qp_peer_at spamd;
    const char *user;   /* NULL: who runs this */
    const char *prefix; /* of Subject */
    int64_t reject, munge;
    enum qp_rc reject_type;
    int verb, old, headers, relay, on_error;
    uint64_t size_limit;
    int64_t timeout_ms;
};

/* ---- init ---- */

static bool
read_threshold(struct qp *q, const char *name, const char *word, int64_t *out)
{
    if (!word)
        return true;
    if (spamd_score_parse(word, out))
        return true;
    return qp_fail(q, "%s: \"%s\" is no score: a number like 12 or 7.5%s", name, word,
        *name == 'r' ? ", or userprefs" : "");
}

/* Both names mean one thing. */
static bool
read_reject(struct qp *q, struct conf *c, const char *reject, const char *threshold)
{
    if (reject && threshold)
        return qp_fail(q, "reject and reject_threshold are the same: give one of them");
    c->reject = NEVER;
    if (reject && strcasecmp(reject, "userprefs") == 0) {
        c->reject = BY_SPAMD;
        return true;
    }
    if (!read_threshold(q, "reject", reject, &c->reject) ||
        !read_threshold(q, "reject_threshold", threshold, &c->reject))
        return false;
    if (c->reject == 0)
        c->reject = NEVER;
    return true;
}

/* It becomes a line of the request. */
static bool
is_user(const char *name)
{
    if (!*name || strlen(name) > 255)
        return false;
    for (; *name; name++)
        if (*name < ' ' || *name == 0x7f)
            return false;
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *reject = NULL, *threshold = NULL, *munge = NULL, *at = "localhost";
    const char *prefix = qp_config(q, "subject_prefix");

    *c = (struct conf){.munge = NEVER,
        .reject_type = QP_DENY,
        .old = RENAME,
        .size_limit = 500000,
        .timeout_ms = TIMEOUT_DEFAULT,
        .prefix = prefix ? prefix : "*** SPAM ***"};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "reject", .text = &reject},
                {.name = "reject_threshold", .text = &threshold},
                {.name = "reject_type", .reject_type = &c->reject_type},
                {.name = "munge_subject_threshold", .text = &munge},
                {.name = "subject_prefix", .text = &c->prefix},
                {.name = "spamd_socket", .text = &at},
                {.name = "spamd_user", .text = &c->user},
                {.name = "verb", .choice = &c->verb, .choices = "headers symbols"},
                {.name = "headers", .choice = &c->headers, .choices = "add none"},
                {.name = "leave_old_headers", .choice = &c->old, .choices = "drop rename keep"},
                {.name = "relayclient", .choice = &c->relay, .choices = "skip scan"},
                {.name = "size_limit", .size = &c->size_limit},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 600},
                {.name = "on_error", .choice = &c->on_error, .choices = "accept tempfail"},
                {0},
            }))
        return false;
    if (c->user && !is_user(c->user))
        return qp_fail(q, "spamd_user: that is no name");
    return read_reject(q, c, reject, threshold) &&
           read_threshold(q, "munge_subject_threshold", munge, &c->munge) &&
           qp_peer_arg(q, at, SPAMD_PORT, &c->spamd);
}

/* ---- the request ---- */

/* Of one recipient the address, which cannot hold a control byte. */
static const char *
user_of(struct qp *q, const struct conf *c)
{
    const struct passwd *pw;

    if (c->user && strcmp(c->user, "vpopmail") == 0 && qp_rcpt_count(q) == 1 &&
        is_user(qp_rcpt(q, 0)->address))
        return qp_rcpt(q, 0)->address;
    if (c->user)
        return c->user;
    pw = getpwuid(geteuid());
    return pw ? pw->pw_name : "nobody";
}

/* false: it was not sent to its end: the spool cannot be read, or spamd has had enough */
static bool
send_message(struct qp *q, struct qp_peer *p)
{
    char block[16384];
    uint64_t offset = 0;
    ptrdiff_t n;

    while ((n = qp_message_read(q, offset, block, sizeof block)) > 0) {
        if (!qp_peer_offer(p, block, (size_t)n))
            return false;
        offset += (uint64_t)n;
    }
    if (n < 0)
        qp_peer_fail(p, "the spool cannot be read");
    return n == 0 && qp_peer_finish(p);
}

static bool
send_request(struct qp *q, const struct conf *c, struct qp_peer *p)
{
    const char *from = qp_printf(q, QP_TRANSACTION, "X-Envelope-From: %s\n", qp_sender(q)->format);
    unsigned long long length = strlen(from) + qp_message_size(q);
    const char *head =
        qp_printf(q, QP_TRANSACTION, "%s SPAMC/1.5\r\nUser: %s\r\nContent-length: %llu\r\n\r\n%s",
            c->verb == HEADERS ? "HEADERS" : "SYMBOLS", user_of(q, c), length, from);

    return qp_peer_offer(p, head, strlen(head)) && send_message(q, p);
}

/* ---- the answer ---- */

/* true: it is complete. What is wrong otherwise, the peer's error tells. */
static bool
read_answer(struct qp_peer *p, struct spamd_answer *a)
{
    const char *line;
    long left = HEADER_MAX;

    while (a->step < SPAMD_PAYLOAD && left-- > 0 && (line = qp_peer_line(p, SPAMD_LINE_MAX)))
        if (!spamd_answer_line(a, line))
            qp_peer_fail(p, "that is no answer of spamd");
    if (a->step == SPAMD_END)
        qp_peer_fail(p, "spamd could not");
    else if (a->step < SPAMD_PAYLOAD)
        qp_peer_fail(p, "the answer has no end");
    else if (!a->verdict)
        qp_peer_fail(p, "the answer has no verdict");
    return !qp_peer_error(p);
}

static bool
read_fields(struct qp_peer *p, struct spamd_answer *a)
{
    const char *line;
    long left = PAYLOAD_MAX;

    while (a->step == SPAMD_PAYLOAD && left-- > 0 && (line = qp_peer_cut(p, SPAMD_LINE_MAX)))
        spamd_answer_line(a, line);
    if (a->step != SPAMD_END)
        qp_peer_fail(p, "the answer has no end");
    return !qp_peer_error(p);
}

/* Names between commas, on one line. */
static bool
read_tests(struct qp_peer *p, struct spamd_status *s)
{
    const char *text = qp_peer_rest(p, sizeof s->tests - 1);
    size_t n = 0;

    for (; text && *text; text++)
        if (*text > ' ')
            s->tests[n++] = *text <= '~' ? *text : '?';
    s->tests[n] = '\0';
    return !qp_peer_error(p);
}

/* One decimal, as spamd writes it. */
static void
print_score(int64_t score, char *out, size_t room)
{
    int64_t n = (score < 0 ? -score : score) % SPAMD_SCORE_MAX;

    snprintf(out, room, "%s%lld.%lld", score < 0 ? "-" : "", (long long)(n / SPAMD_UNIT),
        (long long)(n % SPAMD_UNIT / (SPAMD_UNIT / 10)));
}

/* The first line is the verdict; the field X-Spam-Status has only what that lacks. */
static void
make_status(const struct spamd_answer *a, struct spamd_status *s)
{
    for (size_t i = 0; i < a->fields; i++)
        if (strcasecmp(a->field[i].name, "X-Spam-Status") == 0 &&
            spamd_status_parse(a->field[i].value, s))
            break;
    s->spam = a->spam;
    print_score(a->score, s->score, sizeof s->score);
    print_score(a->required, s->required, sizeof s->required);
}

static bool
ask(struct qp *q, const struct conf *c, struct spamd_answer *a, struct spamd_status *s)
{
    struct qp_peer *p = qp_peer_open(q, c->spamd.where, c->spamd.port, CONNECT_MS);
    bool sent, good;

    qp_peer_limit(p, c->timeout_ms);
    sent = send_request(q, c, p);
    good = read_answer(p, a) && (c->verb == HEADERS ? read_fields(p, a) : read_tests(p, s));
    if (good && !sent)
        qp_peer_fail(p, "it has answered before it had heard all");
    if (qp_peer_error(p))
        qp_log(q, QP_LOG_ERROR, "error, cannot ask spamd at=%s port=%d code=%d error=\"%s\"",
            c->spamd.where, c->spamd.port, a->code, qp_peer_error(p));
    else
        make_status(a, s);
    good = !qp_peer_error(p);
    qp_peer_close(&p);
    return good;
}

/* ---- the message's header ---- */

/* What the client has sent must not pass for ours, whether we can ask spamd or not. */
static void
handle_old(struct qp *q, const struct conf *c)
{
    struct qp_header_line line, old[RENAMED_MAX];
    size_t n = 0;

    if (c->old == KEEP)
        return;
    for (size_t i = 0; c->old == RENAME && n < RENAMED_MAX && qp_header_line(q, i, &line); i++)
        if (strncasecmp(line.name, OLD_BEGIN, strlen(OLD_BEGIN)) == 0)
            old[n++] = line;
    qp_header_delete_begin(q, OLD_BEGIN);
    for (size_t i = 0; i < n; i++)
        qp_header_add(q, qp_printf(q, QP_TRANSACTION, "X-Old-%s", old[i].name + strlen("X-")),
            old[i].value + strspn(old[i].value, " \t"));
}

static bool
is_wanted(const char *name)
{
    return strcasecmp(name, "X-Spam-Report") != 0 && strcasecmp(name, "X-Spam-Prev-Subject") != 0;
}

/* r356's fields */
static void
add_own_fields(struct qp *q, const struct spamd_status *s)
{
    size_t room = 2 * strlen(s->tests) + 64;
    char *tests = qp_alloc(q, QP_TRANSACTION, room);

    spamd_tests_fold(s->tests, tests, room);
    qp_header_prepend(q, "X-Spam-Status",
        qp_printf(q, QP_TRANSACTION, "%s, hits=%s required=%s\n\t%s", s->spam ? "Yes" : "No",
            s->score, s->required, tests));
    if (s->spam)
        qp_header_prepend(q, "X-Spam-Flag", "YES");
}

/* From the last, so that they stand in spamd's order. */
static void
add_fields(
    struct qp *q, const struct conf *c, const struct spamd_answer *a, const struct spamd_status *s)
{
    bool status = false;

    for (size_t i = a->fields; i-- > 0;) {
        if (!is_wanted(a->field[i].name))
            continue;
        qp_header_prepend(q, a->field[i].name, a->field[i].value);
        status = status || strcasecmp(a->field[i].name, "X-Spam-Status") == 0;
    }
    if (!status)
        add_own_fields(q, s);
    if (qp_rcpt_count(q) > 1)
        qp_header_prepend(q, "X-Spam-User",
            qp_printf(q, QP_TRANSACTION, "%s, %zu recipients", user_of(q, c), qp_rcpt_count(q)));
    qp_header_prepend(q, "X-Spam-Check-By", qp_me(q));
}

static void
munge_subject(struct qp *q, const struct conf *c, const struct spamd_answer *a)
{
    const char *old = qp_header_get(q, "Subject", 0), *new;

    if (c->munge == NEVER || a->score <= c->munge || a->score <= a->required)
        return;
    new = qp_printf(q, QP_TRANSACTION, "%s%s%s", c->prefix, old && *old ? " " : "", old ? old : "");
    if (old)
        qp_header_replace(q, "Subject", 0, new);
    else
        qp_header_add(q, "Subject", new);
}

/* ---- the verdict ---- */

static void
note(struct qp *q, const struct spamd_status *s)
{
    const struct {
        const char *key, *value;
    } words[] = {
        {"is_spam", s->spam ? "Yes" : "No"},
        {"score", s->score},
        {"required", s->required},
        {"tests", s->tests},
        {"autolearn", s->autolearn},
        {"version", s->version},
    };
    const char *all = "";

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!*words[i].value)
            continue;
        all = qp_printf(
            q, QP_TRANSACTION, "%s%s%s=%s", all, *all ? " " : "", words[i].key, words[i].value);
        qp_note_set(q, QP_TRANSACTION,
            qp_printf(q, QP_TRANSACTION, "spamassassin_%s", words[i].key), words[i].value);
    }
    qp_note_set(q, QP_TRANSACTION, "spamassassin", all);
    qp_log(q, QP_LOG_INFO, "%s, %s", s->spam ? "fail" : "pass", all);
}

static void
count_karma(struct qp *q, const struct spamd_status *s)
{
    int karma = s->spam ? -1 : 0;

    if (strcasecmp(s->autolearn, "ham") == 0)
        karma++;
    else if (strcasecmp(s->autolearn, "spam") == 0)
        karma--;
    if (karma != 0)
        qp_note_add(q, QP_CONNECTION, "karma", karma);
}

static enum qp_rc
judge(struct qp *q, const struct conf *c, const struct spamd_answer *a)
{
    int64_t limit = c->reject == BY_SPAMD ? a->required : c->reject;

    if (c->reject == NEVER || a->score < limit)
        return QP_DECLINED;
    qp_log(q, QP_LOG_NOTICE, "refused, spam sender=%s tests=%s", qp_sender(q)->format,
        qp_note(q, QP_TRANSACTION, "spamassassin"));
    return qp_result(q, c->reject_type, "spam score exceeded threshold");
}

/* Who need not be scored; NULL: the message must. */
static const char *
why_skip(struct qp *q, const struct conf *c)
{
    if (qp_note_true(q, QP_CONNECTION, "naughty"))
        return "naughty";
    if (qp_immune(q) && !(c->relay && qp_relay_client(q)))
        return "immune client";
    return NULL;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *skip = why_skip(q, c);
    struct spamd_answer *a;
    struct spamd_status *s;

    if (!skip)
        handle_old(q, c);
    if (!skip && c->size_limit > 0 && qp_message_size(q) > c->size_limit)
        skip = "message larger than size_limit";
    if (skip) {
        qp_log(q, QP_LOG_INFO, "skip, %s", skip);
        return QP_DECLINED;
    }
    a = qp_alloc(q, QP_TRANSACTION, sizeof *a);
    s = qp_alloc(q, QP_TRANSACTION, sizeof *s);
    if (!ask(q, c, a, s))
        return c->on_error ? qp_denysoft(q, "unable to check for spam, try again later (#4.3.0)")
                           : QP_DECLINED;
    note(q, s);
    count_karma(q, s);
    if (c->headers == 0) {
        if (c->verb == SYMBOLS) {
            add_own_fields(q, s);
            qp_header_prepend(q, "X-Spam-Check-By", qp_me(q));
        } else {
            add_fields(q, c, a, s);
        }
    }
    munge_subject(q, c, a);
    return judge(q, c, a);
}

QP_PLUGIN(.name = "spamassassin", .init = on_init, .data_post = on_data_post);
