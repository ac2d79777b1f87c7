/*
 * probe - a plugin for tests: each handler logs that it runs and answers what the test wants
 *
 * The connection's variable PROBE holds entries separated by ';':
 *
 *   [INSTANCE/]HOOK=RESULT[!][:TEXT]
 *     RESULT   OK DENY DENYSOFT DENY_DISCONNECT DENYSOFT_DISCONNECT DECLINED DONE; a code and a
 *              status, "451,4.2.2", for qp_deny_code(); BOGUS for a number that is no result; MIXED
 *              for qp_deny_code() and QP_OK after it
 *     !        qp_disconnect()
 *     TEXT     '|' is a line end. With DONE each line is "CODE TEXT" for qp_respond(); in a *_parse
 *              hook "ARGUMENT[ NAME=VALUE]"
 *
 * A message that nobody objects to goes to the file that the variable QUEUED names.
 * "NOOP WORD ..." asks what plugins can see: look at ask() for the words.
 *
 * PROBE_CONFIG also defines the hooks config and user_config ("config/NAME=LINE|LINE" in PROBE),
 * PROBE_LOGGING makes it a logging plugin, PROBE_BAD_ABI and PROBE_NO_SYMBOL break it.
 */
#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct entry {
    char result[32];
    bool disconnect;
    char *text; /* NULL: none; line ends are in it */
};

/* Of the connection; in qpsmtpd-prefork, which has none for it, of the process. */
static const char *
variable(struct qp *q, const char *name)
{
    const char *value = qp_env(q, name);

    return value ? value : getenv(name);
}

/* Copy one entry, if it is the one for this instance and hook. */
static bool
entry_parse(struct qp *q, const char *at, size_t n, const char *key, struct entry *out)
{
    char *entry = qp_printf(q, QP_CONNECTION, "%.*s", (int)n, at);
    const char *name = qp_plugin_name(q);
    char *equals = strchr(entry, '='), *text;

    if (strncmp(entry, name, strlen(name)) == 0 && entry[strlen(name)] == '/')
        entry += strlen(name) + 1;
    if (!equals || (size_t)(equals - entry) != strlen(key) || strncmp(entry, key, strlen(key)) != 0)
        return false;
    equals++;
    text = strchr(equals, ':');
    if (text)
        *text++ = '\0';
    out->disconnect = strchr(equals, '!') != NULL;
    snprintf(out->result, sizeof out->result, "%.*s", (int)strcspn(equals, "!"), equals);
    out->text = text;
    for (; text && *text; text++)
        if (*text == '|')
            *text = '\n';
    return true;
}

static bool
entry_find(struct qp *q, const char *key, struct entry *out)
{
    const char *at = variable(q, "PROBE");

    while (at && *at) {
        size_t n = strcspn(at, ";");

        if (entry_parse(q, at, n, key, out))
            return true;
        at += n + (at[n] == ';');
    }
    return false;
}

static void
respond(struct qp *q, char *text)
{
    char *next;

    for (; text && *text; text = next) {
        next = text + strcspn(text, "\n");
        if (*next)
            *next++ = '\0';
        qp_respond(q, (int)strtol(text, NULL, 10), "%s", text + 4);
    }
}

static enum qp_rc
answer(struct qp *q, struct entry *e)
{
    const char *text = e->text ? e->text : "";
    const char *status = strchr(e->result, ',');
    enum qp_rc rc;

    if (e->disconnect)
        qp_disconnect(q);
    if (status)
        return qp_deny_code(q, (int)strtol(e->result, NULL, 10), status + 1, "%s", text);
    if (strcmp(e->result, "MIXED") == 0) {
        qp_deny_code(q, 550, "5.7.1", "mixed");
        return QP_OK;
    }
    if (strcmp(e->result, "BOGUS") == 0)
        return (enum qp_rc)7;
    if (!qp_rc_parse(e->result, &rc))
        abort();
    if (rc == QP_DONE) {
        respond(q, e->text);
        return QP_DONE;
    }
    return qp_result(q, rc, "%s", text);
}

static enum qp_rc
act(struct qp *q, const char *about)
{
    struct entry e = {.text = NULL};

    qp_log(q, QP_LOG_NOTICE, "event %s %s", qp_hook_name(q), about);
    return entry_find(q, qp_hook_name(q), &e) ? answer(q, &e) : QP_DECLINED;
}

static enum qp_rc
parse(struct qp *q, const char *args, struct qp_parsed *out)
{
    enum qp_rc rc;
    struct entry e = {.text = NULL};
    struct qp_param *param;
    char *blank;

    rc = act(q, args);
    if (rc != QP_OK || !entry_find(q, qp_hook_name(q), &e))
        return rc;
    out->argument = qp_strdup(q, QP_TRANSACTION, e.text);
    blank = strchr(out->argument, ' ');
    if (!blank)
        return rc;
    *blank++ = '\0';
    param = qp_alloc(q, QP_TRANSACTION, sizeof *param);
    param->name = blank;
    blank = strchr(blank, '=');
    *blank++ = '\0';
    param->value = blank;
    out->params = param;
    out->n_params = 1;
    return rc;
}

/* ---- NOOP: what does a plugin see? ---- */

static enum qp_scope
scope_of(const char *word)
{
    return word[0] == 't' ? QP_TRANSACTION : QP_CONNECTION;
}

static const char *
lines_text(struct qp *q, struct qp_lines lines)
{
    const char *text = qp_printf(q, QP_TRANSACTION, "%zu", lines.n);

    for (size_t i = 0; i < lines.n; i++)
        text = qp_printf(q, QP_TRANSACTION, "%s [%s]", text, lines.line[i].text);
    return text;
}

static const char *
rcpts_text(struct qp *q)
{
    const char *text = qp_printf(q, QP_TRANSACTION, "%zu", qp_rcpt_count(q));

    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        text = qp_printf(q, QP_TRANSACTION, "%s %s", text, qp_rcpt(q, i)->format);
    return text;
}

static const char *
or_none(const char *text)
{
    return text ? text : "(none)";
}

/* word[0..n-1]; missing ones are "" */
static const char *
ask(struct qp *q, const char *const word[5])
{
    const char *what = word[0];

    if (strcmp(what, "note") == 0) /* note c|t NAME [VALUE] */
        return *word[3] ? (qp_note_set(q, scope_of(word[1]), word[2], word[3]), "set")
                        : or_none(qp_note(q, scope_of(word[1]), word[2]));
    if (strcmp(what, "add") == 0) /* add c|t NAME N */
        return qp_printf(q, QP_TRANSACTION, "%d",
            qp_note_add(q, scope_of(word[1]), word[2], (int)strtol(word[3], NULL, 10)));
    if (strcmp(what, "state") == 0) /* state c|t: counts itself */
        return qp_printf(q, QP_TRANSACTION, "%d", ++*(int *)qp_state(q, scope_of(word[1]), 4));
    if (strcmp(what, "result") == 0) /* result PLUGIN HOOK */
        return qp_printf(q, QP_TRANSACTION, "%d", (int)qp_result_of(q, word[1], word[2]));
    if (strcmp(what, "config") == 0)
        return lines_text(q, qp_config_lines(q, word[1]));
    if (strcmp(what, "user_config") == 0)
        return lines_text(
            q, qp_config_for(q, qp_address_parse(q, QP_TRANSACTION, word[1]), word[2]));
    if (strcmp(what, "env") == 0)
        return or_none(qp_env(q, word[1]));
    if (strcmp(what, "keep") == 0)
        return qp_alloc(q, QP_CONNECTION, (size_t)strtol(word[1], NULL, 10)), "kept";
    if (strcmp(what, "unset") == 0)
        return qp_env_unset(q, word[1]), or_none(qp_env(q, word[1]));
    if (strcmp(what, "sender") == 0)
        return qp_sender(q) ? qp_sender(q)->format : "(none)";
    if (strcmp(what, "rcpts") == 0)
        return rcpts_text(q);
    if (strcmp(what, "relay") == 0)
        return qp_relay_client_set(q, true), "relay";
    if (strcmp(what, "hello") == 0)
        return qp_printf(q, QP_TRANSACTION, "[%s] [%s]", qp_hello(q), qp_hello_host(q));
    if (strcmp(what, "count") == 0)
        return qp_printf(q, QP_TRANSACTION, "%u", qp_command_count(q));
    if (strcmp(what, "id") == 0)
        return qp_printf(q, QP_TRANSACTION, "%s %s", qp_session_id(q), qp_transaction_id(q));
    if (strcmp(what, "remote") == 0)
        return qp_printf(q, QP_TRANSACTION, "%s %s %s %d %s %d %s", qp_remote_ip(q),
            qp_remote_host(q), qp_remote_info(q), qp_remote_port(q), qp_local_ip(q),
            qp_local_port(q), qp_local_host(q));
    if (strcmp(what, "me") == 0)
        return qp_me(q);
    return NULL;
}

static enum qp_rc
on_noop(struct qp *q, const char *args)
{
    const char *word[5] = {"", "", "", "", ""};
    char *rest = qp_strdup(q, QP_TRANSACTION, args), *save = NULL;
    const char *said;
    size_t n = 0;

    for (char *w = strtok_r(rest, " ", &save); w && n < 5; w = strtok_r(NULL, " ", &save))
        word[n++] = w;
    said = ask(q, word);
    if (!said)
        return act(q, args);
    qp_respond(q, 250, "%s", said);
    return QP_DONE;
}

/* ---- the hooks ---- */

/* clang-format off */
#define PLAIN(name)   static enum qp_rc on_##name(struct qp *q) { return act(q, ""); }
#define TEXT(name)    static enum qp_rc on_##name(struct qp *q, const char *text) { return act(q, text); }
#define ADDRESS(name) static enum qp_rc on_##name(struct qp *q, const struct qp_address *a) { return act(q, a->format); }
#define VERDICT(name) static enum qp_rc on_##name(struct qp *q, const struct qp_verdict *v) \
    { return act(q, qp_printf(q, QP_CONNECTION, "%s %s %d %s", v->plugin, v->hook, (int)v->rc, v->text)); }

PLAIN(pre_connection) PLAIN(connect) PLAIN(data) PLAIN(data_headers_end) PLAIN(data_post_headers)
PLAIN(received_line) PLAIN(data_post) PLAIN(queue_pre) PLAIN(queue) PLAIN(queue_post) PLAIN(quit)
PLAIN(reset_transaction) PLAIN(disconnect) PLAIN(post_connection)
TEXT(helo) TEXT(ehlo) TEXT(mail_pre) TEXT(rcpt_pre) TEXT(vrfy) TEXT(help)
ADDRESS(mail) ADDRESS(rcpt) ADDRESS(rcpt_accepted)
VERDICT(deny)
#ifdef PROBE_OK
VERDICT(ok)
#endif
    /* clang-format on */

    static enum qp_rc on_ehlo_caps(struct qp *q, const char *host)
{
    struct entry e = {.text = NULL};

    if (entry_find(q, "capability", &e))
        qp_capability_add(q, e.text);
    return on_ehlo(q, host);
}

static enum qp_rc
on_rcpt_ok(struct qp *q, const struct qp_address *to)
{
    struct entry e = {.text = NULL};

    if (entry_find(q, "rcpt", &e))
        return on_rcpt(q, to);
    on_rcpt(q, to);
    return QP_OK;
}

/* Where nobody wants anything else the message is taken: into the file that QUEUED names. */
static enum qp_rc
on_queue_ok(struct qp *q)
{
    struct entry e = {.text = NULL};
    const char *path = variable(q, "QUEUED");
    bool written = true;

    if (entry_find(q, "queue", &e))
        return on_queue(q);
    on_queue(q);
    if (path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        written = fd >= 0 && qp_message_write(q, fd);
        close(fd);
    }
    return written ? QP_OK : QP_DENYSOFT;
}

static enum qp_rc
on_unrecognized(struct qp *q, const char *verb, const char *args)
{
    return act(q, qp_printf(q, QP_TRANSACTION, "[%s] [%s]", verb, args));
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    const char *mode = "";
    int number = 0;
    bool ok = qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {"mode", .text = &mode}, {"number", .number = &number, .min = 1, .max = 9}, {0}});

    if (strcmp(mode, "fail") == 0)
        return qp_fail(q, "the reason");
    if (strcmp(mode, "silent") == 0)
        return false;
    if (strcmp(mode, "forgets") == 0)
        qp_fail(q, "complained and said true");
    return ok;
}

#ifdef PROBE_CONFIG
static enum qp_rc
config_answer(struct qp *q, const char *key)
{
    struct entry e = {.text = NULL};
    char *line, *save = NULL;
    enum qp_rc rc;

    if (!*qp_session_id(q) || !entry_find(q, key, &e)) /* only for this client */
        return QP_DECLINED;
    for (line = e.text ? strtok_r(e.text, "\n", &save) : NULL; line;
         line = strtok_r(NULL, "\n", &save))
        qp_config_answer(q, line);
    return qp_rc_parse(e.result, &rc) ? rc : QP_DECLINED;
}

static enum qp_rc
on_config(struct qp *q, const char *name)
{
    char key[200];

    snprintf(key, sizeof key, "config/%s", name);
    return config_answer(q, key);
}

static enum qp_rc
on_user_config(struct qp *q, const struct qp_address *user, const char *name)
{
    char key[200];

    snprintf(key, sizeof key, "user_config/%s/%s", user->address, name);
    return config_answer(q, key);
}
#endif

#ifdef PROBE_LOGGING
static enum qp_rc
on_logging(struct qp *q, const struct qp_log_event *event)
{
    struct entry e = {.text = NULL};

    qp_log(q, QP_LOG_EMERG, "never seen");
    dprintf(2, "%s: %d %s %s %s %s\n", qp_plugin_name(q), (int)event->level,
        or_none(event->session), or_none(event->hook), or_none(event->plugin), event->text);
    return entry_find(q, "logging", &e) && e.result[0] == 'O' ? QP_OK : QP_DECLINED;
}

QP_PLUGIN(.name = "probe_logging", .logging = on_logging);
#elif !defined PROBE_NO_SYMBOL
QP_PLUGIN(.name = "probe", .init = on_init,
#ifdef PROBE_BAD_ABI
    .abi = QP_ABI + 1,
#endif
#ifdef PROBE_CONFIG
    .config = on_config, .user_config = on_user_config,
#endif
#ifdef PROBE_OK
    .ok = on_ok,
#endif
    .pre_connection = on_pre_connection, .connect = on_connect, .helo = on_helo,
    .ehlo = on_ehlo_caps, .helo_parse = parse, .ehlo_parse = parse, .mail_parse = parse,
    .rcpt_parse = parse, .mail_pre = on_mail_pre, .rcpt_pre = on_rcpt_pre, .mail = on_mail,
    .rcpt = on_rcpt_ok, .rcpt_accepted = on_rcpt_accepted, .data = on_data,
    .data_headers_end = on_data_headers_end, .data_post_headers = on_data_post_headers,
    .received_line = on_received_line, .data_post = on_data_post, .queue_pre = on_queue_pre,
    .queue = on_queue_ok, .queue_post = on_queue_post, .vrfy = on_vrfy, .noop = on_noop,
    .help = on_help, .quit = on_quit, .unrecognized_command = on_unrecognized,
    .reset_transaction = on_reset_transaction, .disconnect = on_disconnect,
    .post_connection = on_post_connection, .deny = on_deny);
#endif
