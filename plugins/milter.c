/*
 * milter - ask a mail filter of Sendmail's kind: OpenDKIM, OpenDMARC, Rspamd, clamav-milter ...
 *
 *   plugins file: milter NAME WHERE [option value ...]
 *     NAME                    for texts and the log
 *     WHERE                   PORT, HOST:PORT, inet:PORT@HOST, inet:HOST:PORT, inet6:..., unix:/PATH,
 *                             local:/PATH, /PATH
 *     on_error tempfail|reject|accept      what happens when it is not usable; default tempfail
 *     quarantine tempfail|reject|mark      what happens when it asks for that; default tempfail
 *     connect_timeout 5s  write_timeout 30s  read_timeout 30s  end_timeout 300s   1s..1h each
 *     total_timeout 540s      for a whole message, 1s..1h
 *     keep BOOL               keep the connection for the next client; default off
 *     daemon_name TEXT        macro {daemon_name}; default: me
 *   hooks connect, helo, ehlo, mail, rcpt_accepted, data, data_post: what the milter says:
 *     reject DENY, tempfail DENYSOFT, a reply code of its own DENY or DENYSOFT with its text; shutdown and
 *     connection failure 421; discard: the message is answered 250 and forgotten; else DECLINED
 *   hook deny: tells it of refused recipients, when it wants to know
 *   hook unrecognized_command: DONE when it has an answer to that, else DECLINED
 *   hooks reset_transaction, disconnect: abort and quit
 *
 * Several lines are several milters, asked in this order; each sees what those above it have changed.
 * One that is dead, silent, slow or out of its mind is not usable: nothing it wanted is done, and
 * on_error decides from MAIL on, so that a client can still authenticate and quit. When it had begun to
 * ask for changes it is always 4xx. The next MAIL tries it anew.
 *
 * Source: r356 (name and texts); libmilter of Sendmail 8.17 for the protocol; Sendmail's indexes of
 * fields, and its silence about our own Received. r356 went on asking after an accept, answered every
 * refusal with DENY, changed neither body nor envelope, and refused all mail while the daemon was away:
 * not so here.
 */
#include <stdio.h>
#include <string.h>

#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

#include "milter.parts/conf.h"
#include "milter.parts/dialogue.h"

/* This milter, as seen from one connection of a client. */
struct state {
    struct milter milter;
    enum { UNTRIED, OPEN, PASSED, REFUSED, UNUSABLE } is;
    struct milter_code refusal; /* of REFUSED: what everything is answered with */
    bool in_message;            /* it was told of MAIL, and not that this is over */
    bool skip;                  /* it wants to hear no more of this message */
    bool drop;                  /* the message shall be forgotten */
    bool failed;                /* it became unusable in this message */
};

/* ---- the connection ---- */

static void
close_at_end(void *data)
{
    talk_close(data);
}

static struct state *
state_of(struct qp *q)
{
    const struct milter_conf *c = qp_instance(q);
    struct state *s = qp_state(q, QP_CONNECTION, sizeof *s);
    struct milter *m = &s->milter;

    if (m->talk.buffer)
        return s;
    m->talk.buffer = qp_alloc(q, QP_CONNECTION, MILTER_BUFFER);
    m->talk.fd = -1;
    m->talk.write_ms = c->times.write_ms;
    m->times = c->times;
    m->facts.daemon_name = c->daemon_name;
    qp_at_end(q, QP_CONNECTION, close_at_end, &m->talk);
    return s;
}

/* The one that the last client has left, if it is still good. */
static bool
take_kept(const struct milter_conf *c, struct milter_talk *t)
{
    if (!c->kept || c->kept->fd < 0)
        return false;
    t->fd = c->kept->fd;
    t->agreed = c->kept->agreed;
    t->error = NULL;
    c->kept->fd = -1;
    if (talk_is_quiet(t))
        return true;
    talk_close(t);
    return false;
}

/* ---- what it says, and what follows ---- */

/* Nothing of what it wanted counts. From MAIL on there is a message to which on_error applies. */
static enum qp_rc
unusable(struct qp *q, struct state *s, bool message)
{
    static const char *const words[] = {"tempfail", "reject", "accept"};
    const struct milter_conf *c = qp_instance(q);
    bool half_done = milter_edits_any(&s->milter.edits);

    if (s->milter.talk.error)
        qp_log(q, QP_LOG_ERROR,
            "milter is not usable: name=%s at=\"%s\" error=\"%s\" on_error=%s%s", c->name,
            milter_where(q, &s->milter), s->milter.talk.error, words[c->on_error],
            half_done ? " changes=begun" : "");
    s->milter.talk.error = NULL; /* told once */
    talk_close(&s->milter.talk);
    s->is = UNUSABLE;
    s->in_message = false;
    if (!message)
        return QP_DECLINED;
    s->failed = true;
    if (c->on_error == ON_ERROR_ACCEPT && !half_done)
        return QP_DECLINED;
    if (c->on_error == ON_ERROR_REJECT && !half_done)
        return qp_deny_code(q, 550, "5.7.1", "Service unavailable");
    return qp_deny_code(q, 451, "4.7.1", "Service unavailable - try again later");
}

/* Every way to say no as one: code, status, text. 421 ends the connection. */
static struct milter_code
code_of(
    struct qp *q, const struct state *s, enum milter_verdict verdict, const struct milter_code *own)
{
    const struct milter_conf *c = qp_instance(q);
    enum milter_step step = s->milter.step;
    struct milter_code code = {.code = 451};
    bool soft = verdict == MILTER_DENY_SOFT;

    if (verdict == MILTER_DENY_CODE)
        return *own;
    if (verdict == MILTER_HANG_UP) {
        code.code = 421;
        snprintf(code.enhanced, sizeof code.enhanced, "4.7.0");
        snprintf(code.text, sizeof code.text, "closing connection");
        return code;
    }
    if (!soft) /* as the hooks refuse: 554 what is no command of the envelope */
        code.code = step == MILTER_STEP_CONNECT || step >= MILTER_STEP_DATA ? 554 : 550;
    snprintf(code.enhanced, sizeof code.enhanced, "%c.7.1", soft ? '4' : '5');
    snprintf(code.text, sizeof code.text,
        "Rejected at %s by %s milter (Reject command with %s error)", milter_where(q, &s->milter),
        c->name, soft ? "4xx" : "5xx");
    return code;
}

static enum qp_rc
refuse(struct qp *q, const struct milter_code *code)
{
    return qp_deny_code(q, code->code, code->enhanced, "%s", code->text);
}

/* What it says about the client: libmilter closes its side then. */
static enum qp_rc
about_client(
    struct qp *q, struct state *s, enum milter_verdict verdict, const struct milter_code *own)
{
    switch (verdict) {
    case MILTER_GO_ON:
    case MILTER_ENOUGH:
    case MILTER_DROP: /* milter_say_connect() takes it for broken */
        return QP_DECLINED;
    case MILTER_BROKEN:
        return unusable(q, s, false);
    case MILTER_PASS:
        s->is = PASSED;
        break;
    case MILTER_DENY:
    case MILTER_DENY_SOFT:
    case MILTER_DENY_CODE:
    case MILTER_HANG_UP:
        s->is = REFUSED;
        s->refusal = code_of(q, s, verdict, own);
        break;
    }
    talk_word(&s->milter.talk, MILTER_QUIT);
    talk_close(&s->milter.talk);
    return s->is == PASSED ? QP_DECLINED : refuse(q, &s->refusal);
}

/* What it says about a message or a recipient. */
static enum qp_rc
about_message(
    struct qp *q, struct state *s, enum milter_verdict verdict, const struct milter_code *own)
{
    struct milter_code code;

    switch (verdict) {
    case MILTER_GO_ON:
    case MILTER_ENOUGH:
        break;
    case MILTER_BROKEN:
        return unusable(q, s, true);
    case MILTER_PASS:
        s->skip = true;
        break;
    case MILTER_DROP:
        s->skip = s->drop = true;
        break;
    case MILTER_DENY:
    case MILTER_DENY_SOFT:
    case MILTER_DENY_CODE:
    case MILTER_HANG_UP:
        code = code_of(q, s, verdict, own);
        return refuse(q, &code);
    }
    return QP_DECLINED;
}

/* ---- the client ---- */

/* Connect, and say who the client is. A connection that was kept may have gone since: then anew. */
static enum qp_rc
meet(struct qp *q, struct state *s)
{
    const struct milter_conf *c = qp_instance(q);
    struct milter *m = &s->milter;
    struct milter_code code;
    enum milter_verdict verdict = MILTER_BROKEN;

    m->step = MILTER_STEP_CONNECT;
    m->edits = (struct milter_edits){0};
    s->is = OPEN;
    if (take_kept(c, &m->talk))
        verdict = milter_say_connect(q, m, &code);
    if (verdict == MILTER_BROKEN && talk_open(q, &m->talk, &c->place, m->times.connect_ms))
        verdict = milter_say_connect(q, m, &code);
    return about_client(q, s, verdict, &code);
}

static enum qp_rc
on_connect(struct qp *q)
{
    return meet(q, state_of(q));
}

/* The message is over before its end. */
static void
end_message(struct state *s)
{
    if (s->in_message && s->is == OPEN)
        milter_say_abort(&s->milter);
    s->in_message = s->skip = s->drop = s->failed = false;
    s->milter.edits = (struct milter_edits){0};
}

static enum qp_rc
greet(struct qp *q, const char *host)
{
    struct state *s = state_of(q);
    struct milter_code code;

    if (s->is == REFUSED)
        return refuse(q, &s->refusal);
    if (s->is != OPEN)
        return QP_DECLINED;
    end_message(s); /* which a HELO does */
    return about_client(q, s, milter_say_helo(q, &s->milter, host, &code), &code);
}

/* It was not there, or somebody above has kept the hook `connect` from us: all that it has missed. */
static enum qp_rc
catch_up(struct qp *q, struct state *s)
{
    enum qp_rc rc = meet(q, s);

    if (rc != QP_DECLINED || s->is != OPEN)
        return rc;
    return greet(q, qp_hello_host(q));
}

/* ---- the envelope ---- */

/* A message begins, for this milter. */
static enum qp_rc
begin_message(struct qp *q, struct state *s, const struct qp_address *from)
{
    struct milter_code code;
    enum qp_rc rc;

    s->milter.edits = (struct milter_edits){0};
    if (s->is == UNTRIED || s->is == UNUSABLE) {
        rc = catch_up(q, s);
        if (rc != QP_DECLINED)
            return rc;
    }
    switch (s->is) {
    case REFUSED:
        return refuse(q, &s->refusal);
    case UNTRIED:
    case UNUSABLE:
        return unusable(q, s, true);
    case PASSED:
        return QP_DECLINED;
    case OPEN:
        break;
    }
    s->in_message = true;
    return about_message(q, s, milter_say_mail(q, &s->milter, from, &code), &code);
}

static bool
is_listening(const struct state *s)
{
    return s->is == OPEN && s->in_message && !s->skip;
}

/*
 * Has it to be told of this step? If not, *rc is the result.
 *
 * A message that it was not told of, because a plugin above has answered MAIL, or that it has forgotten
 * over a HELO that somebody else refused, is told now: nothing passes it by accident.
 */
static bool
attends(struct qp *q, struct state *s, enum qp_rc *rc)
{
    struct milter_code code;

    *rc = s->failed ? unusable(q, s, true) : QP_DECLINED;
    if (s->failed || s->skip || s->is == PASSED)
        return false;
    if (s->in_message)
        return is_listening(s);
    *rc = begin_message(q, s, qp_sender(q));
    for (size_t i = 0; *rc == QP_DECLINED && is_listening(s) && i < qp_rcpt_count(q); i++)
        *rc =
            about_message(q, s, milter_say_rcpt(q, &s->milter, qp_rcpt(q, i), NULL, &code), &code);
    return *rc == QP_DECLINED && is_listening(s);
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *from)
{
    struct state *s = state_of(q);

    s->skip = s->drop = s->failed = false;
    return begin_message(q, s, from);
}

static enum qp_rc
on_rcpt_accepted(struct qp *q, const struct qp_address *to)
{
    struct state *s = state_of(q);
    struct milter_code code;
    enum qp_rc rc;

    if (!attends(q, s, &rc))
        return rc;
    return about_message(q, s, milter_say_rcpt(q, &s->milter, to, NULL, &code), &code);
}

/* "TO:<a@b.test> X=y": the address; NULL: none that can be read */
static const struct qp_address *
refused_rcpt(struct qp *q)
{
    const char *args = qp_command_args(q);
    const char *begin = strchr(args, '<'), *end = begin ? strchr(begin, '>') : NULL;

    if (!end)
        return NULL;
    return qp_address_parse(
        q, QP_TRANSACTION, qp_printf(q, QP_TRANSACTION, "%.*s", (int)(end - begin) + 1, begin));
}

/* Nothing that it says changes anything: it is only told. */
static enum qp_rc
on_deny(struct qp *q, const struct qp_verdict *v)
{
    struct state *s = state_of(q);
    struct milter_code code;
    const struct qp_address *to;

    if (strcmp(v->hook, "rcpt") != 0 || !is_listening(s))
        return QP_DECLINED;
    to = refused_rcpt(q);
    if (to &&
        milter_say_rcpt(q, &s->milter, to, *v->text ? v->text : "refused", &code) == MILTER_BROKEN)
        unusable(q, s, true);
    return QP_DECLINED;
}

static enum qp_rc
on_data(struct qp *q)
{
    struct state *s = state_of(q);
    struct milter_code code;
    enum qp_rc rc;

    if (!attends(q, s, &rc))
        return rc;
    return about_message(q, s, milter_say_data(q, &s->milter, &code), &code);
}

/* ---- the message ---- */

static enum qp_rc
drop(struct qp *q)
{
    const struct milter_conf *c = qp_instance(q);

    qp_log(q, QP_LOG_NOTICE, "discarded: milter=%s from=%s recipients=%zu", c->name,
        qp_sender(q)->format, qp_rcpt_count(q));
    qp_respond(q, 250, "message accepted");
    return QP_DONE;
}

static enum qp_rc
quarantine(struct qp *q, const char *reason)
{
    const struct milter_conf *c = qp_instance(q);

    qp_log(q, QP_LOG_NOTICE, "quarantined: milter=%s reason=\"%s\"", c->name, reason);
    qp_note_set(q, QP_TRANSACTION, "quarantine", reason);
    switch (c->on_quarantine) {
    case ON_QUARANTINE_MARK:
        qp_header_delete_all(q, "X-Quarantine");
        qp_header_prepend(
            q, "X-Quarantine", qp_printf(q, QP_TRANSACTION, "%s; %s", c->name, reason));
        return QP_DECLINED;
    case ON_QUARANTINE_REJECT:
        return qp_deny_code(q, 554, "5.7.1", "Message quarantined by %s milter", c->name);
    default:
        return qp_deny_code(q, 451, "4.7.1", "Message quarantined by %s milter", c->name);
    }
}

/* All is there: do it. */
static enum qp_rc
change(struct qp *q, struct state *s)
{
    struct milter_edits *e = &s->milter.edits;
    const char *wrong = milter_edits_apply(q, e);

    if (wrong) {
        qp_log(q, QP_LOG_ERROR, "%s", wrong);
        return qp_deny_code(q, 451, "4.3.0", "Message denied temporarily");
    }
    if (e->n > 0 || e->body)
        qp_log(q, QP_LOG_INFO, "changed: fields=%zu addresses=%zu body=%s", e->fields, e->addresses,
            e->body ? "yes" : "no");
    if (qp_rcpt_count(q) == 0)
        return drop(q);
    return e->quarantine ? quarantine(q, e->quarantine) : QP_DECLINED;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    struct state *s = state_of(q);
    struct milter_code code;
    enum milter_verdict verdict;
    enum qp_rc rc;

    if (s->drop)
        return drop(q);
    if (!attends(q, s, &rc))
        return rc;
    verdict = milter_say_message(q, &s->milter, &code);
    if (s->milter.step == MILTER_STEP_END)
        s->in_message = false; /* that was the end on its side, too */
    rc = about_message(q, s, verdict, &code);
    if (rc != QP_DECLINED || verdict == MILTER_BROKEN)
        return rc;
    return s->drop ? drop(q) : change(q, s);
}

/* ---- other commands, and the ends ---- */

static enum qp_rc
on_unrecognized_command(struct qp *q, const char *verb, const char *args)
{
    struct state *s = state_of(q);
    struct milter_code code;
    enum milter_verdict verdict;

    if (s->is != OPEN)
        return QP_DECLINED;
    verdict = milter_say_unknown(
        q, &s->milter, qp_printf(q, QP_TRANSACTION, "%s%s%s", verb, *args ? " " : "", args), &code);
    switch (verdict) {
    case MILTER_DENY:
    case MILTER_DENY_SOFT:
    case MILTER_DENY_CODE:
    case MILTER_HANG_UP:
        code = code_of(q, s, verdict, &code);
        qp_respond(q, code.code, "%s", code.text);
        return QP_DONE;
    case MILTER_BROKEN:
        s->failed = s->in_message;
        unusable(q, s, false);
        return QP_DECLINED;
    default:
        return QP_DECLINED;
    }
}

static enum qp_rc
on_reset_transaction(struct qp *q)
{
    end_message(state_of(q));
    return QP_DECLINED;
}

static enum qp_rc
on_disconnect(struct qp *q)
{
    const struct milter_conf *c = qp_instance(q);
    struct state *s = state_of(q);
    struct milter_talk *t = &s->milter.talk;

    end_message(s);
    if (s->is == OPEN && c->kept && c->kept->fd < 0 && talk_word(t, MILTER_QUIT_KEEP)) {
        c->kept->fd = t->fd;
        c->kept->agreed = t->agreed;
        t->fd = -1;
    } else if (t->fd >= 0) {
        talk_word(t, MILTER_QUIT);
    }
    talk_close(t);
    s->is = PASSED; /* the hook reset_transaction still comes */
    return QP_DECLINED;
}

QP_PLUGIN(.name = "milter", .init = milter_conf_init, .connect = on_connect, .helo = greet,
    .ehlo = greet, .mail = on_mail, .rcpt_accepted = on_rcpt_accepted, .deny = on_deny,
    .data = on_data, .data_post = on_data_post, .unrecognized_command = on_unrecognized_command,
    .reset_transaction = on_reset_transaction, .disconnect = on_disconnect);
