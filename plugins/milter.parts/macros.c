#include "macros.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <qpsmtpd/auth.h>
#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/tls.h>

#define VALUE_MAX 1000 /* bytes; a client must not fill packets with one of its names */

typedef const char *value_of(struct qp *q, const struct milter_facts *f);

static const char *
known(const char *text)
{
    return text && *text ? text : NULL;
}

static const char *
number(struct qp *q, int n)
{
    return n > 0 ? qp_printf(q, QP_TRANSACTION, "%d", n) : NULL;
}

/* ---- this server ---- */

static const char *
my_name(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_me(q);
}

static const char *
my_version(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_printf(q, QP_TRANSACTION, "qpsmtpd %s", qp_version());
}

static const char *
bare_version(struct qp *q, const struct milter_facts *f)
{
    (void)q;
    (void)f;
    return qp_version();
}

static const char *
daemon_name(struct qp *q, const struct milter_facts *f)
{
    return f->daemon_name ? f->daemon_name : qp_me(q);
}

static const char *
local_ip(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return known(qp_local_ip(q));
}

static const char *
local_port(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return number(q, qp_local_port(q));
}

static const char *
local_host(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return known(qp_local_host(q)) ? qp_local_host(q) : qp_me(q);
}

/* ---- the client ---- */

static const char *
client(struct qp *q, const struct milter_facts *f)
{
    const char *ip = qp_remote_ip(q);

    (void)f;
    return qp_printf(
        q, QP_TRANSACTION, "%s [%s%s]", qp_remote_host(q), strchr(ip, ':') ? "IPv6:" : "", ip);
}

static const char *
client_ip(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_remote_ip(q);
}

static const char *
client_name(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return known(qp_remote_host(q));
}

static const char *
client_port(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return number(q, qp_remote_port(q));
}

static const char *
client_connections(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return number(q, qp_connections(q));
}

static const char *
hello(struct qp *q, const struct milter_facts *f)
{
    return f->hello ? f->hello : known(qp_hello_host(q));
}

static const char *
protocol(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return strcmp(qp_hello(q), "ehlo") == 0 ? "ESMTP" : "SMTP";
}

/* ---- encryption ---- */

static const char *
tls_version(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_tls(q) ? known(qp_tls(q)->version) : NULL;
}

static const char *
tls_cipher(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_tls(q) ? known(qp_tls(q)->cipher) : NULL;
}

static const char *
tls_bits(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_tls(q) ? number(q, qp_tls(q)->bits) : NULL;
}

static const char *
tls_subject(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_tls(q) ? known(qp_tls(q)->client_dn) : NULL;
}

static const char *
tls_issuer(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_tls(q) ? known(qp_tls(q)->client_issuer) : NULL;
}

static const char *
tls_verify(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    if (!qp_tls(q))
        return NULL;
    if (qp_tls(q)->client_verified)
        return "OK";
    return known(qp_tls(q)->client_dn) ? "FAIL" : "NO";
}

/* ---- AUTH ---- */

static const char *
auth_type(struct qp *q, const struct milter_facts *f)
{
    char *text = qp_auth_mechanism(q) ? qp_strdup(q, QP_TRANSACTION, qp_auth_mechanism(q)) : NULL;

    (void)f;
    for (char *p = text; p && *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return text;
}

static const char *
auth_user(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_auth_user(q);
}

static int
hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* AUTH= of MAIL: for whom the client writes (RFC 4954, 5), in xtext (RFC 3461, 4). Who has not
 * authenticated is not believed. */
static const char *
auth_author(struct qp *q, const struct milter_facts *f)
{
    const char *given = f->sender ? qp_param(q, "AUTH") : NULL;
    char *text, *out;

    if (!known(given) || !qp_auth_user(q))
        return NULL;
    out = text = qp_strdup(q, QP_TRANSACTION, given);
    for (const char *p = given; *p; p++) {
        if (*p == '+' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
            *out++ = (char)(hex(p[1]) << 4 | hex(p[2]));
            p += 2;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
    return text;
}

/* ---- the message ---- */

static const char *
queue_id(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return qp_transaction_id(q);
}

static const char *
date(struct qp *q, const struct milter_facts *f)
{
    char text[64];
    time_t now = time(NULL);
    struct tm tm;

    (void)f;
    if (!gmtime_r(&now, &tm))
        return NULL;
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    return qp_strdup(q, QP_TRANSACTION, text);
}

static const struct qp_address *
sender(struct qp *q, const struct milter_facts *f)
{
    return f->sender ? f->sender : qp_sender(q);
}

static const char *
mail_addr(struct qp *q, const struct milter_facts *f)
{
    return sender(q, f) ? sender(q, f)->address : NULL;
}

static const char *
mail_host(struct qp *q, const struct milter_facts *f)
{
    return sender(q, f) ? known(sender(q, f)->host) : NULL;
}

static const char *
mail_mailer(struct qp *q, const struct milter_facts *f)
{
    return sender(q, f) ? "esmtp" : NULL;
}

/* Of a recipient that was refused: the mailer error, and why (MILTER_REFUSED_RCPT). */
static const char *
rcpt_addr(struct qp *q, const struct milter_facts *f)
{
    (void)q;
    return f->refused ? f->refused : f->rcpt ? f->rcpt->address : NULL;
}

static const char *
rcpt_host(struct qp *q, const struct milter_facts *f)
{
    (void)q;
    return f->refused ? "5.7.1" : f->rcpt ? known(f->rcpt->host) : NULL;
}

static const char *
rcpt_mailer(struct qp *q, const struct milter_facts *f)
{
    (void)q;
    return f->refused ? "error" : f->rcpt ? "esmtp" : NULL;
}

static const char *
rcpt_count(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return number(q, (int)qp_rcpt_count(q));
}

static const char *
size_announced(struct qp *q, const struct milter_facts *f)
{
    return f->sender ? known(qp_param(q, "SIZE")) : NULL;
}

static const char *
message_id(struct qp *q, const struct milter_facts *f)
{
    (void)f;
    return known(qp_message_id(q));
}

/* ---- the table ---- */

static const struct macro {
    const char *name;
    value_of *value;
} macros[] = {
    {"j", my_name},
    {"v", my_version},
    {"Z", bare_version},
    {"_", client},
    {"i", queue_id},
    {"b", date},
    {"r", protocol},
    {"s", hello},
    {"f", mail_addr},
    {"{daemon_name}", daemon_name},
    {"{daemon_addr}", local_ip},
    {"{daemon_port}", local_port},
    {"{if_addr}", local_ip},
    {"{if_name}", local_host},
    {"{client_addr}", client_ip},
    {"{client_name}", client_name},
    {"{client_ptr}", client_name},
    {"{client_port}", client_port},
    {"{client_connections}", client_connections},
    {"{tls_version}", tls_version},
    {"{cipher}", tls_cipher},
    {"{cipher_bits}", tls_bits},
    {"{cert_subject}", tls_subject},
    {"{cert_issuer}", tls_issuer},
    {"{verify}", tls_verify},
    {"{auth_type}", auth_type},
    {"{auth_authen}", auth_user},
    {"{auth_author}", auth_author},
    {"{mail_addr}", mail_addr},
    {"{mail_host}", mail_host},
    {"{mail_mailer}", mail_mailer},
    {"{rcpt_addr}", rcpt_addr},
    {"{rcpt_host}", rcpt_host},
    {"{rcpt_mailer}", rcpt_mailer},
    {"{nrcpts}", rcpt_count},
    {"{msg_size}", size_announced},
    {"{msg_id}", message_id},
};

/* Sendmail's and Postfix's usual lists together. */
static const char *const usual[] = {
    [MILTER_AT_CONNECT] = ("j v _ {daemon_name} {daemon_addr} {daemon_port} {if_addr} {if_name} "
                           "{client_addr} {client_name} {client_ptr} {client_port} "
                           "{client_connections}"),
    [MILTER_AT_HELO] = "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer} {verify}",
    [MILTER_AT_MAIL] = ("i b r s {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} "
                        "{mail_mailer} {msg_size}"),
    [MILTER_AT_RCPT] = "i b r s v {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    [MILTER_AT_DATA] = "i {nrcpts}",
    [MILTER_AT_HEADERS_END] = "i",
    [MILTER_AT_END] = "i {msg_id}",
};

static const char *
find(struct qp *q, const char *name, size_t n, const struct milter_facts *facts)
{
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
        if (strlen(macros[i].name) == n && memcmp(macros[i].name, name, n) == 0)
            return macros[i].value(q, facts);
    return NULL;
}

size_t
milter_put_macros(struct qp *q, struct milter_writer *w, enum milter_stage stage, const char *list,
    const struct milter_facts *facts)
{
    size_t count = 0;

    for (const char *p = list ? list : usual[stage]; *p;) {
        size_t n = strcspn(p, " ,\t");
        const char *value = n > 0 ? find(q, p, n, facts) : NULL;

        if (value) {
            milter_put_text(w, p, n);
            milter_put_text(w, value, strnlen(value, VALUE_MAX));
            count++;
        }
        p += n + (n == 0);
    }
    return count;
}
