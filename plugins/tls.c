/*
 * tls - STARTTLS and implicit TLS
 *
 * tls [CERT [KEY [CA [DHPARAM]]]] [cert2 FILE key2 FILE] [client_cert no|request|require]
 *     [tickets 0|1] [kernel 0|1]
 *   CERT KEY      PEM files, absolute or below a configuration directory; default
 *                 ssl/qpsmtpd-server.crt and .key; without these, TLS is not offered, and a warning
 *                 says so. CERT holds the chain behind the certificate.
 *   CA            who may issue client certificates; default ssl/qpsmtpd-ca.crt, if it is there
 *   DHPARAM       default ssl/qpsmtpd-dhparam.pem, if it is there; else OpenSSL's own
 *   cert2 key2    another pair, so that RSA and ECDSA stand side by side; default
 *                 ssl/qpsmtpd-server.ecdsa.crt and .key, if they are there
 *   client_cert   ask clients for a certificate; default no
 *   tickets       resumption of sessions, in qpsmtpd-prefork; default 1
 *   kernel        let the kernel encrypt where it can; default 1
 * Files: tls_ciphers, tls_protocols; directory tls_certs with NAME.crt, NAME.key for clients that
 * ask for NAME (SNI).
 *
 * Hooks: tls (OK; DENYSOFT when the certificate cannot be used now)
 * Source: qpsmtpd 1.00 tls; RFC 3207, RFC 8314, RFC 8996 (1.2 at least), RFC 7301 (ALPN)
 *
 * OpenSSL is linked by the late part alone: a process that serves a client who does not encrypt
 * never loads it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <qpsmtpd/host.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/tls.h>

#include "tls.late/late.h"

#define CERT    "ssl/qpsmtpd-server.crt"
#define WHY_MAX 400

struct words {
    const char *cert, *key, *ca, *dh, *cert2, *key2;
};

struct state {
    struct words words;
    struct tls_settings settings;    /* what words say; where many, all of it */
    const struct tls_server *server; /* NULL: opened when a client asks for it */
};

/* ---- the files ---- */

/* What we cannot look at may be there all the same, for those who can open it. */
static bool
exists(struct qp *q, const char *path)
{
    int fd;

    if (access(path, F_OK) == 0)
        return true;
    fd = errno == EACCES ? qp_open_secret(q, path) : -1;
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno == EACCES;
}

/* Where it is: below a configuration directory, or the absolute name itself. */
static const char *
find_file(struct qp *q, const char *name)
{
    const char *path = name[0] == '/' ? name : qp_config_path(q, name);

    return path && exists(q, path) ? qp_strdup(q, QP_INSTANCE, path) : NULL;
}

/* What was named has to be there; a default need not. false: qp_fail() was called. */
static bool
find_optional(struct qp *q, const char *given, const char *usual, const char **out)
{
    *out = find_file(q, given ? given : usual);
    return *out || !given || qp_fail(q, "%s: there is no such file", given);
}

/* The word behind `tls` is a certificate; its key is the next word, or has its name with .key. */
static const char *
key_beside(struct qp *q, const char *cert)
{
    size_t n = strlen(cert);

    if (n > 4 && strcmp(cert + n - 4, ".crt") == 0)
        n -= 4;
    return qp_printf(q, QP_INSTANCE, "%.*s.key", (int)n, cert);
}

/* given NULL: the usual one, which need not be there. false: qp_fail() was called. */
static bool
find_pair(struct qp *q, const char *given, const char *key, const char *usual, struct tls_pair *out)
{
    const char *cert = given ? given : usual;

    out->cert = find_file(q, cert);
    if (!out->cert)
        return !given || qp_fail(q, "certificate %s: there is no such file", cert);
    key = key ? key : key_beside(q, cert);
    out->key = find_file(q, key);
    return out->key || qp_fail(q, "key %s: there is no such file", key);
}

/* ---- tls_protocols, tls_ciphers ---- */

/* The numbers are those of the protocol, and OpenSSL's. */
enum { TLS_1_0 = 0x0301, TLS_1_1, TLS_1_2, TLS_1_3, VERSIONS = 4 };

static bool
version_bits(const char *word, unsigned *bits)
{
    static const struct {
        const char *name;
        unsigned bits;
    } names[] = {
        {"TLSv1", 1}, {"TLSv1.0", 1}, {"TLSv1_1", 2}, {"TLSv1.1", 2}, {"TLSv1_2", 4},
        {"TLSv1.2", 4}, {"TLSv1_3", 8}, {"TLSv1.3", 8}, {"SSLv23", 4 | 8}, {"SSLv2/3", 4 | 8},
        {"TLS", 4 | 8},             /* "what is good": 1.2 and newer */
        {"SSLv2", 0}, {"SSLv3", 0}, /* nobody has them any more */
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(word, names[i].name) == 0) {
            *bits = names[i].bits;
            return true;
        }
    return false;
}

/* "SSLv23:!SSLv3:!TLSv1" as IO::Socket::SSL reads it, or a plain list: "TLSv1.2 TLSv1.3". */
static bool
read_protocols(struct qp *q, struct tls_settings *s)
{
    struct qp_lines lines = qp_config_lines(q, "tls_protocols");
    unsigned wanted = 0, unwanted = 0;
    char *rest, *word;
    int low = 0;

    s->min = TLS_1_2;
    s->max = 0;
    if (!lines.n)
        return true;
    rest = qp_strdup(q, QP_INSTANCE, lines.line->text);
    while ((word = strsep(&rest, " \t:,"))) {
        bool no = *word == '!' || *word == '-';
        unsigned bits = 0;

        if (*word && !version_bits(word + no, &bits))
            return qp_fail_at(q, lines.line,
                "\"%s\" is no protocol: write TLSv1.2, TLSv1.3, or SSLv23 and !TLSv1.2", word);
        *(no ? &unwanted : &wanted) |= bits;
    }
    wanted = (wanted ? wanted : 4 | 8) & ~unwanted;
    if (!wanted)
        return qp_fail_at(q, lines.line, "no protocol is left: write TLSv1.2 TLSv1.3");
    while (!(wanted & 1U << low))
        low++;
    s->min = TLS_1_0 + low;
    for (int v = low; v < VERSIONS; v++)
        if (wanted & 1U << v)
            s->max = TLS_1_0 + v;
    s->refused = ~wanted;
    return true;
}

/* Names of TLS 1.3 begin with TLS_, and OpenSSL wants them apart. */
static void
read_ciphers(struct qp *q, struct tls_settings *s)
{
    const char *line = qp_config(q, "tls_ciphers");
    size_t room = line ? strlen(line) + 2 : 0;
    char *old, *new, *rest, *word;

    if (!line)
        return;
    old = qp_alloc(q, QP_INSTANCE, room);
    new = qp_alloc(q, QP_INSTANCE, room);
    rest = qp_strdup(q, QP_INSTANCE, line);
    while ((word = strsep(&rest, " \t:,"))) {
        char *to = strncmp(word, "TLS_", 4) == 0 ? new : old;
        size_t n = strlen(to);

        if (*word)
            snprintf(to + n, room - n, "%s%s", n ? ":" : "", word);
    }
    s->ciphers = *old ? old : NULL;
    s->suites = *new ? new : NULL;
}

static bool
read_settings(struct qp *q, const struct words *w, struct tls_settings *s)
{
    if (!find_pair(q, w->cert, w->key, CERT, &s->pair[0]) ||
        !find_pair(q, w->cert2, w->key2, "ssl/qpsmtpd-server.ecdsa.crt", &s->pair[1]) ||
        !find_optional(q, w->ca, "ssl/qpsmtpd-ca.crt", &s->ca) ||
        !find_optional(q, w->dh, "ssl/qpsmtpd-dhparam.pem", &s->dh) || !read_protocols(q, s))
        return false;
    if (s->pair[0].cert && s->client_cert == TLS_CLIENT_REQUIRE && !s->ca)
        return qp_fail(q, "client_cert require: without a CA no client can come in; name one");
    read_ciphers(q, s);
    s->names = find_file(q, "tls_certs");
    return true;
}

/* ---- life ---- */

/* Open the server with what was read; scope says how long it lives. NULL: see why. */
static const struct tls_server *
open_server(struct qp *q, const struct tls_settings *s, enum qp_scope scope, char *why)
{
    const char *reason;
    const struct tls_late *late = qp_late(q, &reason);
    struct tls_server *server;

    if (!late) {
        snprintf(why, WHY_MAX, "%s", reason);
        return NULL;
    }
    server = late->open(q, s, why, WHY_MAX);
    if (server)
        qp_at_end(q, scope, late->close, server);
    return server;
}

/* Once for all children; the tickets' keys outlive a SIGHUP. */
static bool
open_now(struct qp *q, struct state *state)
{
    struct tls_settings *s = &state->settings;
    const char *reason;
    const struct tls_late *late = qp_late(q, &reason);
    char why[WHY_MAX] = "";

    if (!late)
        return qp_fail(q, "%s", reason);
    s->shared = s->tickets ? qp_shared(q, late->tickets_size) : NULL;
    state->server = open_server(q, s, QP_INSTANCE, why);
    return state->server || qp_fail(q, "%s", why);
}

/* As qpsmtpd 1.00: mail must not stop because nobody has made a certificate yet. */
static bool
do_without(struct qp *q)
{
    qp_log(q, QP_LOG_WARN, CERT " is not there: TLS is not offered; the script tls_cert makes one");
    qp_tls_none(q);
    return true;
}

static bool
read_words(
    struct qp *q, int argc, const char *const argv[], struct words *w, struct tls_settings *s)
{
    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {"certificate", .positional = true, .text = &w->cert},
            {"key", .positional = true, .text = &w->key},
            {"ca", .positional = true, .text = &w->ca},
            {"dhparam", .positional = true, .text = &w->dh},
            {"cert2", .text = &w->cert2},
            {"key2", .text = &w->key2},
            {"client_cert", .choice = &s->client_cert, .choices = "no request require"},
            {"tickets", .flag = &s->tickets},
            {"kernel", .flag = &s->kernel},
            {0},
        });
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct state *state = qp_alloc(q, QP_INSTANCE, sizeof *state);
    struct tls_settings *s = &state->settings;

    s->tickets = s->kernel = true;
    qp_instance_set(q, state);
    if (!read_words(q, argc, argv, &state->words, s))
        return false;
    s->many = qp_serves_many(q);
    s->tickets = s->tickets && s->many;
    if (!s->many) /* most clients of such a process never ask for it */
        return state->words.cert || qp_config_path(q, CERT) || do_without(q);
    if (!read_settings(q, &state->words, s))
        return false;
    return s->pair[0].cert ? open_now(q, state) : do_without(q);
}

/* ---- a client wants it ---- */

/* In a process that serves one client: now it is worth to look at what is configured. NULL: see why; when
 * that is empty, the log has it. */
static const struct tls_server *
open_late(struct qp *q, const struct state *state, char *why)
{
    struct tls_settings s = state->settings;

    if (!read_settings(q, &state->words, &s))
        return NULL;
    if (!s.pair[0].cert) {
        snprintf(why, WHY_MAX, CERT " has gone");
        return NULL;
    }
    return open_server(q, &s, QP_CONNECTION, why);
}

static enum qp_rc
on_tls(struct qp *q, struct qp_tls_offer *offer)
{
    const struct state *state = qp_instance(q);
    const struct tls_server *server = state->server;
    const struct tls_late *late;
    char why[WHY_MAX] = "";
    const char *reason;

    if (!server)
        server = open_late(q, state, why);
    late = server ? qp_late(q, &reason) : NULL;
    if (!late || !late->begin(q, server, offer, why, sizeof why)) {
        if (*why)
            qp_log(q, QP_LOG_ERROR, "%s", why);
        return qp_denysoft(q, NULL);
    }
    qp_at_end(q, QP_CONNECTION, late->end, offer->data);
    return QP_OK;
}

QP_PLUGIN(.name = "tls", .init = on_init, .tls = on_tls);
