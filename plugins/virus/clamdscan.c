/*
 * virus/clamdscan - let clamd look for viruses
 *
 *   plugins file:   virus/clamdscan [option value ...]
 *     clamd_socket PATH      default: the first that is there of /run/clamav/clamd.ctl,
 *                            /var/run/clamav/clamd.ctl and /run/clamd.scan/clamd.sock
 *     clamd_host HOST,...    up to eight, tried in this order, each maybe with :port; default localhost
 *     clamd_port N           default 3310; given, TCP is used even when there is a clamd_socket
 *     deny_viruses BOOL      default yes; no: X-Virus-Found and X-Virus-Details tell
 *     defer_on_error BOOL    default yes; no: what cannot be scanned passes
 *     max_size KB            larger messages are not scanned; default 1024, 0: no limit
 *     scan_all BOOL          default yes; no: only multipart/...
 *     timeout TIME           1s..10m for each clamd, default 60s
 *   hook data_post: DENY "Virus found: NAME"; DENYSOFT "Unable to scan for viruses"; else QP_DECLINED
 *
 * Notes, karma: see qpsmtpd/virus.h. A clean message gets X-Virus-Found: No and X-Virus-Checked.
 *
 * Source: 1.00; clamd(8). Otherwise: INSTREAM on local sockets as well, so that clamd needs no right to
 * read the spool; relay clients and connections that another plugin calls naughty are scanned, too, and
 * we do not call one naughty ourselves; a clamd that fails puts the message off (1.00 let it pass).
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/virus.h>

#include "clamdscan.parts/answer.h"

#define CLAMD_PORT 3310
#define HOSTS_MAX  8
#define CONNECT_MS 5000
#define ANSWER_MAX 4096 /* bytes: the longest names have some hundred */
#define BLOCK      16384

struct conf {
    struct qp_peer_at at[HOSTS_MAX];
    size_t n;
    struct qp_virus virus;
    int max_kb;
    bool scan_all;
    int64_t timeout_ms;
};

/* ---- init ---- */

static bool
read_hosts(struct qp *q, struct conf *c, const char *hosts, int port)
{
    char *list = qp_strdup(q, QP_INSTANCE, hosts), *host;

    while ((host = strsep(&list, ","))) {
        if (c->n == HOSTS_MAX)
            return qp_fail(q, "clamd_host: more than %d hosts", HOSTS_MAX);
        if (*host == '/')
            return qp_fail(q, "clamd_host: %s is a path: give it as clamd_socket", host);
        if (!qp_peer_arg(q, host, port, &c->at[c->n++]))
            return false;
    }
    return true;
}

/* Whether clamd runs already is not asked: it may start later. */
static const char *
usual_socket(void)
{
    static const char *const paths[] = {
        "/run/clamav/clamd.ctl", "/var/run/clamav/clamd.ctl", "/run/clamd.scan/clamd.sock"};

    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], F_OK) == 0)
            return paths[i];
    return paths[0];
}

static bool
read_places(struct qp *q, struct conf *c, const char *path, const char *hosts, int port)
{
    if (port > 0 || (hosts && !path))
        return read_hosts(q, c, hosts ? hosts : "localhost", port > 0 ? port : CLAMD_PORT);
    if (!path)
        path = usual_socket();
    if (path[0] != '/')
        return qp_fail(q, "clamd_socket: %s is no absolute path", path);
    return qp_peer_arg(q, path, 0, &c->at[c->n++]);
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *path = NULL, *hosts = NULL;
    bool deny = true, defer = true;
    int port = 0;

    *c = (struct conf){.virus = {.text = "Virus found", .prepend = true},
        .max_kb = 1024,
        .scan_all = true,
        .timeout_ms = 60000};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "clamd_socket", .text = &path},
                {.name = "clamd_host", .text = &hosts},
                {.name = "clamd_port", .number = &port, .min = 1, .max = 65535},
                {.name = "deny_viruses", .flag = &deny},
                {.name = "defer_on_error", .flag = &defer},
                {.name = "max_size", .number = &c->max_kb, .min = 0, .max = 1 << 30},
                {.name = "scan_all", .flag = &c->scan_all},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 600},
                {0},
            }))
        return false;
    c->virus.action = deny ? QP_VIRUS_REJECT : QP_VIRUS_ADD_HEADER;
    c->virus.let_pass = !defer;
    return read_places(q, c, path, hosts, port);
}

/* ---- clamd ---- */

struct scan {
    const char *version; /* of clamd */
    const char *name;    /* of the virus */
    enum clamd_verdict verdict;
};

/* CR LF, as the message was on its way here. Room for twice n bytes; how many were written. */
static size_t
with_crlf(const char *in, size_t n, char *out)
{
    size_t to = 0;

    for (size_t i = 0; i < n; i++) {
        if (in[i] == '\n')
            out[to++] = '\r';
        out[to++] = in[i];
    }
    return to;
}

static bool
put_length(struct qp_peer *p, char *at, size_t n, size_t follow)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(unsigned char)(n >> (24 - 8 * i));
    return qp_peer_offer(p, at, 4 + follow);
}

/* false: not all of it: the spool cannot be read, or clamd does not want more */
static bool
send_message(struct qp *q, struct qp_peer *p)
{
    char in[BLOCK], out[4 + 2 * BLOCK];
    uint64_t offset = 0;
    ptrdiff_t n;

    while ((n = qp_message_read(q, offset, in, sizeof in)) > 0) {
        size_t length = with_crlf(in, (size_t)n, out + 4);

        if (!put_length(p, out, length, length))
            return false;
        offset += (uint64_t)n;
    }
    if (n < 0)
        qp_peer_fail(p, "the spool cannot be read");
    return n == 0 && put_length(p, out, 0, 0);
}

static const char *
printable(struct qp *q, const char *text, size_t n)
{
    char *copy = qp_printf(q, QP_TRANSACTION, "%.*s", (int)n, text);

    for (char *p = copy; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    return copy;
}

/* What is wrong: a failure of the connection, or what clamd has said. */
static bool
failed(struct qp *q, const struct qp_peer_at *at, const char *error)
{
    qp_log(q, QP_LOG_ERROR, "error, cannot scan clamd=%s port=%d error=\"%s\"", at->where, at->port,
        error);
    return false;
}

/* Is it there, and who is it? "ClamAV 1.4.6/27000/date" */
static bool
ask_version(struct qp *q, const struct conf *c, const struct qp_peer_at *at, struct scan *s)
{
    struct qp_peer *p = qp_peer_open(q, at->where, at->port, CONNECT_MS);
    const char *line;

    qp_peer_limit(p, CONNECT_MS < c->timeout_ms ? CONNECT_MS : c->timeout_ms);
    qp_peer_write(p, "zVERSION", sizeof "zVERSION");
    line = qp_peer_until(p, '\0', ANSWER_MAX);
    if (line)
        s->version = printable(q, line, strcspn(line, "/") < 60 ? strcspn(line, "/") : 60);
    else
        failed(q, at, qp_peer_error(p));
    qp_peer_close(&p);
    return line != NULL;
}

static bool
scan_with(struct qp *q, const struct conf *c, const struct qp_peer_at *at, struct scan *s)
{
    struct qp_peer *p = qp_peer_open(q, at->where, at->port, CONNECT_MS);
    const char *line, *error = NULL, *name;
    size_t n;
    bool sent;

    qp_peer_limit(p, c->timeout_ms);
    sent = qp_peer_write(p, "zINSTREAM", sizeof "zINSTREAM") && send_message(q, p);
    line = qp_peer_until(p, '\0', ANSWER_MAX);
    s->verdict = line ? clamd_answer_parse(line, &name, &n) : CLAMD_ERROR;
    if (s->verdict == CLAMD_FOUND)
        s->name = printable(q, name, n);
    else if (s->verdict == CLAMD_ERROR)
        error = line ? printable(q, line, strlen(line)) : qp_peer_error(p);
    else if (!sent) /* OK: of a part */
        error = "it has answered before it had heard all";
    qp_peer_close(&p);
    return error ? failed(q, at, error) : true;
}

static bool
scan(struct qp *q, const struct conf *c, struct scan *s)
{
    for (size_t i = 0; i < c->n; i++)
        if (ask_version(q, c, &c->at[i], s) && scan_with(q, c, &c->at[i], s))
            return true;
    return false;
}

/* ---- hook ---- */

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    struct scan s = {0};

    qp_virus_begin(q);
    if (qp_virus_skip(q, (uint64_t)c->max_kb * 1024, c->scan_all))
        return QP_DECLINED;
    if (!scan(q, c, &s))
        return qp_virus_unscanned(q, &c->virus);
    if (s.verdict == CLAMD_FOUND)
        return qp_virus_found(q, &c->virus, s.name);
    qp_header_prepend(
        q, "X-Virus-Checked", qp_printf(q, QP_TRANSACTION, "by %s on %s", s.version, qp_me(q)));
    qp_header_prepend(q, "X-Virus-Found", "No");
    qp_log(q, QP_LOG_INFO, "pass, no virus");
    return QP_DECLINED;
}

QP_PLUGIN(.name = "virus/clamdscan", .init = on_init, .data_post = on_data_post);
