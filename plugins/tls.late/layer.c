/*
 * One client's session: bytes through OpenSSL, never waiting
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "openssl.h"

/* What SSL_get_error has found, as the engine knows it: always -1, with errno. */
static int
explain(struct tls_client *c, int result, short *events)
{
    int saved = errno, reason = SSL_get_error(c->ssl, result);
    bool cut;

    if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE) {
        *events = reason == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
        errno = EAGAIN;
        return -1;
    }
    cut = reason == SSL_ERROR_SSL &&
          ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    if (cut)
        snprintf(c->why, sizeof c->why, "TLS: closed without close_notify");
    else if (reason == SSL_ERROR_SYSCALL && !ERR_peek_error())
        snprintf(c->why, sizeof c->why, "TLS: %s", saved ? strerror(saved) : "closed");
    else if (reason == SSL_ERROR_ZERO_RETURN)
        snprintf(c->why, sizeof c->why, "TLS: closed by the client");
    else
        tls_why(c->why, sizeof c->why, "TLS");
    ERR_clear_error();
    errno = cut ? ECONNRESET : EPROTO;
    return -1;
}

static int
shake_hands(void *data, short *events)
{
    struct tls_client *c = data;
    int result;

    ERR_clear_error();
    errno = 0;
    result = SSL_accept(c->ssl);
    return result == 1 ? 1 : explain(c, result, events);
}

static ssize_t
read_some(void *data, char *to, size_t room, short *events)
{
    struct tls_client *c = data;
    size_t n;
    int result;

    ERR_clear_error();
    errno = 0;
    result = SSL_read_ex(c->ssl, to, room, &n);
    if (result == 1)
        return (ssize_t)n;
    if (SSL_get_error(c->ssl, result) == SSL_ERROR_ZERO_RETURN)
        return 0;
    return explain(c, result, events);
}

static ssize_t
write_some(void *data, const char *from, size_t n, short *events)
{
    struct tls_client *c = data;
    size_t written;
    int result;

    ERR_clear_error();
    errno = 0;
    result = SSL_write_ex(c->ssl, from, n, &written);
    return result == 1 ? (ssize_t)written : explain(c, result, events);
}

static void
finish(void *data)
{
    struct tls_client *c = data;

    ERR_clear_error();
    SSL_shutdown(c->ssl); /* what it cannot send now, nobody waits for */
    ERR_clear_error();
}

static const char *
error(void *data)
{
    struct tls_client *c = data;
    const char *why = *c->why ? c->why : "TLS: broken";

    if (!*c->remark)
        return why;
    snprintf(c->error, sizeof c->error, "%s (not used: %s)", why, c->remark);
    return c->error;
}

/* ---- what the handshake has shown ---- */

static void
print_name(const X509_NAME *name, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n = 0;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
        n = BIO_read(bio, out, (int)size - 1);
    out[n > 0 ? n : 0] = '\0';
    BIO_free(bio);
    for (char *p = out; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
}

static void
describe_certificate(struct tls_client *c, struct qp_tls *out)
{
    const X509 *cert = SSL_get0_peer_certificate(c->ssl);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (!cert)
        return;
    print_name(X509_get_subject_name(cert), c->dn, sizeof c->dn);
    print_name(X509_get_issuer_name(cert), c->issuer, sizeof c->issuer);
    if (X509_digest(cert, EVP_sha256(), digest, &n) == 1)
        for (unsigned i = 0; i < n && 2 * i + 2 < sizeof c->hash; i++)
            snprintf(c->hash + (size_t)2 * i, 3, "%02x", digest[i]);
    out->client_dn = c->dn;
    out->client_issuer = c->issuer;
    out->client_hash = c->hash;
    out->client_verified = SSL_get_verify_result(c->ssl) == X509_V_OK;
}

static void
describe(void *data, struct qp_tls *out)
{
    struct tls_client *c = data;

    out->version = SSL_get_version(c->ssl);
    out->cipher = SSL_get_cipher_name(c->ssl);
    out->bits = SSL_get_cipher_bits(c->ssl, NULL);
    out->server_name = c->name;
    out->remark = c->remark;
    out->resumed = SSL_session_reused(c->ssl);
    out->kernel = BIO_get_ktls_send(SSL_get_wbio(c->ssl));
    describe_certificate(c, out);
}

/* ---- begin and end ---- */

void
tls_client_end(void *data)
{
    struct tls_client *c = data;

    SSL_free(c->ssl);
    free(c);
}

/* A session belongs to the address that the client has reached, and to what is asked of clients there. */
static bool
set_address(struct qp *q, const struct tls_server *server, SSL *ssl)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    size_t n = 0;
    char text[TLS_POLICY + 128];

    memcpy(text, server->policy, TLS_POLICY);
    snprintf(
        text + TLS_POLICY, sizeof text - TLS_POLICY, "%.64s %d", qp_local_ip(q), qp_local_port(q));
    return EVP_Q_digest(NULL, "SHA256", NULL, text, TLS_POLICY + strlen(text + TLS_POLICY), digest,
               &n) == 1 &&
           SSL_set_session_id_context(ssl, digest, (unsigned)n) == 1;
}

/* Descriptors that cannot wait: the engine does. */
static bool
set_descriptors(SSL *ssl, const struct qp_tls_offer *offer)
{
    return fcntl(offer->in, F_SETFL, fcntl(offer->in, F_GETFL) | O_NONBLOCK) == 0 &&
           fcntl(offer->out, F_SETFL, fcntl(offer->out, F_GETFL) | O_NONBLOCK) == 0 &&
           SSL_set_rfd(ssl, offer->in) == 1 && SSL_set_wfd(ssl, offer->out) == 1;
}

bool
tls_client_begin(struct qp *q, const struct tls_server *server, struct qp_tls_offer *offer,
    char *why, size_t size)
{
    static const struct qp_tls_layer layer = {
        .handshake = shake_hands,
        .read = read_some,
        .write = write_some,
        .end = finish,
        .describe = describe,
        .error = error,
    };
    struct tls_client *c = calloc(1, sizeof *c);

    ERR_clear_error();
    if (!c)
        return tls_why(why, size, "out of memory");
    c->server = server;
    c->ssl = SSL_new(server->context);
    if (!c->ssl || !set_address(q, server, c->ssl) || !set_descriptors(c->ssl, offer)) {
        tls_why(why, size, "a TLS session cannot begin");
        tls_client_end(c);
        return false;
    }
    SSL_set_app_data(c->ssl, c);
    offer->layer = &layer;
    offer->data = c;
    return true;
}
