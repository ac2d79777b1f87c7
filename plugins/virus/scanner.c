/*
 * virus/scanner - let a command-line virus scanner look at the message
 *
 *   plugins file:   virus/scanner PRODUCT [option value ...] [args WORD ...]
 *     PRODUCT    clamscan, clamdscan, uvscan, kav4, aveclient, bitdefender, hbedv, savscan, sophie, or
 *                custom, for which bin, clean and infected have to be told
 *     bin PATH              the program
 *     socket PATH           of its daemon: aveclient, sophie
 *     action WHAT           reject (default), add-header or defer a message with a virus
 *     on_error WHAT         tempfail (default) or accept a message that cannot be scanned
 *     deny_encrypted BOOL   refuse what the scanner could not open, default yes
 *     scan_all BOOL         default yes; no: only multipart/...
 *     max_size SIZE         larger messages are not scanned; default 0, no limit
 *     timeout TIME          1s..10m, default 60s
 *     bcc ADDRESS           one more recipient of a message with a virus that is let pass
 *     pass name|fd          the file: in dir with a name, or nameless, as /dev/fd/3. Default: name, but
 *                           for clamscan fd. Many scanners pass over links, and call them clean
 *     dir DIR, mode 600|640|644     where, default spool_dir; for scanners with a daemon of another user
 *     clean, infected, encrypted N,...   exit codes; all others: it could not scan
 *     name PATTERN          of an output line, with * for the name and _ for blanks
 *     args WORD ...         the last one: arguments, %f the file, %s the socket
 *   hook data_post: DENY "Virus Found: NAMES", DENY "We do not accept password-protected zip files!",
 *                   DENYSOFT "Unable to scan for viruses"; else QP_DECLINED
 *
 * It also loads under the names of its ancestors, with their options and limits (table `elders`):
 * virus/clamav, uvscan, kavscanner, aveclient, bitdefender, hbedv, sophie. Headers, notes, karma:
 * qpsmtpd/virus.h.
 *
 * Source: r356, 1.00. Otherwise: whole messages are scanned, not bodies; no shell; death by signal, a
 * time limit and unknown exit codes are errors, and errors put the message off.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

#include "scanner.parts/config.h"
#include "scanner.parts/run.h"

#define CONNECT_MS 5000

static const unsigned modes[] = {0600, 0640, 0644};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    qp_instance_set(q, c);
    return conf_read(q, c, argc, argv);
}

/* ---- the scanner ---- */

static enum verdict
failed(struct qp *q, const struct conf *c, const char *error)
{
    qp_log(q, QP_LOG_ERROR, "error, cannot scan product=%s error=\"%s\"", c->product->name, error);
    return FAILED;
}

/* sophie: the file's name, and what it thinks of it. */
static enum verdict
talk(struct qp *q, const struct conf *c, const char *file, char *names, size_t room)
{
    struct qp_peer *p = qp_peer_open(q, c->socket, 0, CONNECT_MS);
    char line[512] = "";
    const char *answer;
    enum verdict v;

    qp_peer_limit(p, c->timeout_ms);
    qp_peer_write(p, file, strlen(file));
    qp_peer_write(p, "\n", 1);
    answer = qp_peer_rest(p, sizeof line - 1);
    if (answer)
        snprintf(line, sizeof line, "%.*s", (int)strcspn(answer, "\r\n?"), answer);
    v = answer ? answer_read(line, names, room) : FAILED;
    if (v == FAILED)
        failed(q, c, answer ? (*answer ? answer : "no answer") : qp_peer_error(p));
    qp_peer_close(&p);
    return v;
}

/* One word, %f and %s replaced. */
static const char *
expand(struct qp *q, const struct conf *c, const char *word, const char *file)
{
    const char *at = strstr(word, "%f"), *value = file;

    if (!at) {
        at = strstr(word, "%s");
        value = c->socket;
    }
    if (!at)
        return word;
    return qp_printf(q, QP_TRANSACTION, "%.*s%s%s", (int)(at - word), word, value, at + 2);
}

static enum verdict
execute(struct qp *q, const struct conf *c, int fd, const char *file, char *names, size_t room)
{
    const char *argv[WORDS_MAX + 2] = {c->bin}, *error = NULL;
    struct report report;
    enum verdict v;

    for (size_t i = 0; c->words[i]; i++)
        argv[i + 1] = expand(q, c, c->words[i], file);
    report.code = run(q, argv, fd, c->timeout_ms, &report.output, &error);
    if (report.code < 0)
        return failed(q, c, error);
    v = report_read(&c->reading, &report, names, room);
    if (v == FAILED)
        failed(
            q, c, qp_printf(q, QP_TRANSACTION, "exit code %d: %.200s", report.code, report.output));
    return v;
}

static enum verdict
scan(struct qp *q, const struct conf *c, char *names, size_t room)
{
    const char *name = NULL;
    int fd = qp_message_file(q, c->dir, modes[c->mode], c->by_name ? &name : NULL);

    if (fd < 0)
        return failed(
            q, c, qp_printf(q, QP_TRANSACTION, "cannot make the file: %s", strerror(errno)));
    if (!name)
        name = RUN_FILE_NAME;
    if (c->product->talks)
        return talk(q, c, name, names, room);
    return execute(q, c, c->by_name ? -1 : fd, name, names, room);
}

/* ---- hook ---- */

static bool
is_denied(struct qp *q, const struct conf *c, char *names)
{
    char *rest = qp_strdup(q, QP_TRANSACTION, names), *name;

    if (!c->deny)
        return true;
    while ((name = strsep(&rest, ",")))
        for (size_t i = 0; c->deny[i]; i++)
            if (qp_regex_match(q, c->deny[i], name + strspn(name, " ")))
                return true;
    return false;
}

static enum qp_rc
found(struct qp *q, const struct conf *c, char *names)
{
    struct qp_virus v = c->virus;
    enum qp_rc rc;

    if (v.action == QP_VIRUS_REJECT && !is_denied(q, c, names))
        v.action = QP_VIRUS_ADD_HEADER;
    if (strchr(names, ',') && c->product->talks)
        v.text = "Viruses Found";
    rc = qp_virus_found(q, &v, names);
    if (rc == QP_DECLINED && c->bcc)
        qp_rcpt_add(q, c->bcc);
    return rc;
}

static enum qp_rc
clean(struct qp *q, const struct conf *c)
{
    qp_header_add(q, "X-Virus-Checked",
        qp_printf(q, QP_TRANSACTION, "Checked by %s on %s", c->product->title, qp_me(q)));
    qp_log(q, QP_LOG_INFO, "pass, no virus product=%s", c->product->name);
    return QP_DECLINED;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    char names[QP_VIRUS_NAMES_MAX + 1];

    qp_virus_begin(q);
    if (qp_virus_skip(q, c->max_size, c->scan_all))
        return QP_DECLINED;
    switch (scan(q, c, names, sizeof names)) {
    case CLEAN:
        return clean(q, c);
    case FOUND:
        return found(q, c, names);
    case LOCKED:
        if (!c->deny_locked)
            return clean(q, c);
        qp_log(q, QP_LOG_NOTICE, "fail, the scanner could not open a part");
        return qp_deny(q, "We do not accept password-protected zip files!");
    case FAILED:
        break;
    }
    return qp_virus_unscanned(q, &c->virus);
}

QP_PLUGIN(.name = "virus/scanner", .init = on_init, .data_post = on_data_post);
