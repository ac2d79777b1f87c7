/*
 * What all clients share: versions, ciphers, certificates, who may issue theirs
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include <qpsmtpd/host.h>

#include "openssl.h"

/* Perfect forward secrecy first; the order is OpenSSL's, which knows the machine. */
#define CIPHERS "HIGH:!aNULL:!PSK:!SRP:!ARIA:!CAMELLIA:!AESCCM"

/* ---- versions and ciphers ---- */

static void
set_versions(SSL_CTX *context, const struct tls_settings *s)
{
    static const uint64_t refuse[] = {
        SSL_OP_NO_TLSv1, SSL_OP_NO_TLSv1_1, SSL_OP_NO_TLSv1_2, SSL_OP_NO_TLSv1_3};

    SSL_CTX_set_min_proto_version(context, s->min);
    SSL_CTX_set_max_proto_version(context, s->max);
    for (size_t i = 0; i < sizeof refuse / sizeof *refuse; i++)
        if (s->refused & 1U << i)
            SSL_CTX_set_options(context, refuse[i]);
    /* Old protocols need SHA-1, which no level above 0 allows: who asked for them by name wants it. */
    if (s->min < TLS1_2_VERSION)
        SSL_CTX_set_security_level(context, 0);
}

/* At level 0 the lists of qpsmtpd 1.00, HIGH and HIGH:!SSLv2, would let in who shows no certificate at all. */
static bool
set_list(SSL_CTX *context, const char *ciphers)
{
    char *list = NULL;
    bool good;

    if (!ciphers)
        return SSL_CTX_set_cipher_list(context, CIPHERS) == 1;
    good = asprintf(&list, "%s:!aNULL:!eNULL", ciphers) >= 0 &&
           SSL_CTX_set_cipher_list(context, list) == 1;
    free(list);
    return good;
}

static bool
set_ciphers(SSL_CTX *context, const struct tls_settings *s, char *why, size_t size)
{
    if (!set_list(context, s->ciphers))
        return tls_why(why, size, "tls_ciphers \"%s\"", s->ciphers ? s->ciphers : "");
    if (s->suites && SSL_CTX_set_ciphersuites(context, s->suites) != 1)
        return tls_why(why, size, "tls_ciphers \"%s\"", s->suites);
    return true;
}

/* ---- the protocol within (RFC 7301) ---- */

/* Who offers protocols and not ours speaks to the wrong server: HTTP sent across (ALPACA). */
static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n,
    const unsigned char *offered, unsigned n, void *data)
{
    static const char ours[] = "smtp";

    (void)ssl;
    (void)data;
    for (unsigned i = 0; i < n && offered[i] < n - i; i += 1U + offered[i])
        if (offered[i] == sizeof ours - 1 && memcmp(offered + i + 1, ours, sizeof ours - 1) == 0) {
            *out = offered + i + 1;
            *out_n = offered[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- certificates of clients ---- */

/* Whatever it shows: plugins see whether it was verified. */
static int
accept_any(int good, X509_STORE_CTX *store)
{
    (void)good;
    (void)store;
    return 1;
}

static bool
set_clients(struct qp *q, SSL_CTX *context, const struct tls_settings *s, char *why, size_t size)
{
    if (s->client_cert == TLS_CLIENT_NO)
        return true;
    if (s->client_cert == TLS_CLIENT_REQUIRE)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    else
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, accept_any);
    return !s->ca || tls_ca_load(q, context, s->ca, why, size);
}

/* ---- a context ---- */

static void
set_options(SSL_CTX *context, const struct tls_settings *s)
{
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets need none */
    if (s->kernel)
        SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
    else
        SSL_CTX_set_read_ahead(context, 1);
    if (s->shared) {
        SSL_CTX_set_num_tickets(context, 1);
        tls_tickets_attach(context);
    } else {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(context, 0);
    }
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
}

static bool
load_pairs(struct qp *q, SSL_CTX *context, const struct tls_pair pair[], char *why, size_t size)
{
    for (size_t i = 0; i < TLS_PAIRS; i++)
        if (pair[i].cert && !tls_pair_load(q, context, &pair[i], why, size))
            return false;
    return true;
}

SSL_CTX *
tls_context(struct qp *q, const struct tls_server *server, const struct tls_pair pair[], char *why,
    size_t size)
{
    const struct tls_settings *s = &server->settings;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (!context) {
        tls_why(why, size, "out of memory");
        return NULL;
    }
    SSL_CTX_set_app_data(context, (void *)(uintptr_t)server);
    set_versions(context, s);
    set_options(context, s);
    SSL_CTX_set_dh_auto(context, !s->dh);
    if (set_ciphers(context, s, why, size) && set_clients(q, context, s, why, size) &&
        load_pairs(q, context, pair, why, size) &&
        (!s->dh || tls_dh_load(q, context, s->dh, why, size)))
        return context;
    SSL_CTX_free(context);
    return NULL;
}

/* ---- the server ---- */

static void
server_close(void *data)
{
    struct tls_server *server = data;

    tls_names_free(server);
    SSL_CTX_free(server->context);
    free(server);
}

static struct tls_server *
server_open(struct qp *q, const struct tls_settings *s, char *why, size_t size)
{
    struct tls_server *server = calloc(1, sizeof *server);

    if (!server) {
        tls_why(why, size, "out of memory");
        return NULL;
    }
    server->settings = *s;
    if (s->shared && !tls_tickets_begin(s->shared))
        tls_why(why, size, "session tickets");
    else if (tls_policy(q, s, server->policy, why, size) &&
             (server->context = tls_context(q, server, s->pair, why, size)) &&
             tls_names_load(q, server, why, size)) {
        tls_names_attach(server->context);
        return server;
    }
    server_close(server);
    return NULL;
}

QP_LATE_PART(struct tls_late, .tickets_size = TLS_TICKETS_SIZE, .open = server_open,
    .close = server_close, .begin = tls_client_begin, .end = tls_client_end);
