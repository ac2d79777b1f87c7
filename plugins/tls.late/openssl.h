/*
 * The late part of tls among its own files: contexts, certificates, tickets, one client's layer
 */
#ifndef TLS_OPENSSL_H
#define TLS_OPENSSL_H

#include <openssl/ssl.h>

#include "late.h"

#define TLS_NAME_MAX 253 /* a host name; RFC 1035 */
#define TLS_POLICY   32  /* bytes */

/* One name's certificates. */
struct tls_name {
    const char *name; /* lower case; "_.example.org" for all hosts of that domain */
    SSL_CTX *context;
};

struct tls_server {
    struct tls_settings settings;
    SSL_CTX *context; /* of clients that name nobody, or somebody unknown */
    unsigned char policy
        [TLS_POLICY];      /* what is asked of clients: sessions begun under another do not count */
    struct tls_name *name; /* sorted; only where settings.many */
    size_t n_names, room;
};

/* One client. */
struct tls_client {
    SSL *ssl;
    const struct tls_server *server;
    char name[TLS_NAME_MAX + 1]; /* SNI, checked; "" */
    char why[200];               /* of the last failure */
    char remark[200];            /* why the certificate of that name is not used; "" */
    char error[440];             /* both, for who asks */
    char dn[512], issuer[512], hash[65];
};

/* ---- why.c ---- */

/* tls_why - "text: what OpenSSL has to say"; empties its queue of errors. Always false. */
bool tls_why(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- pem.c ---- */

/* tls_pair_load - certificate, chain and key from their files. q NULL: outside of a hook. */
bool tls_pair_load(
    struct qp *q, SSL_CTX *context, const struct tls_pair *pair, char *why, size_t size);
bool tls_dh_load(struct qp *q, SSL_CTX *context, const char *path, char *why, size_t size);
bool tls_ca_load(struct qp *q, SSL_CTX *context, const char *path, char *why, size_t size);

/* tls_policy - a digest of which certificates clients must have, the authorities' file included */
bool tls_policy(struct qp *q, const struct tls_settings *s, unsigned char out[TLS_POLICY],
    char *why, size_t size);

/* ---- names.c ---- */

/* tls_names_load - the certificates of every name, where settings.many; false: see why */
bool tls_names_load(struct qp *q, struct tls_server *server, char *why, size_t size);
void tls_names_free(struct tls_server *server);

/* tls_names_attach - let a client's SNI choose among them */
void tls_names_attach(SSL_CTX *context);

/* ---- server.c ---- */

/* tls_context - a context with the settings and with these certificates; NULL: see why */
SSL_CTX *tls_context(struct qp *q, const struct tls_server *server, const struct tls_pair pair[],
    char *why, size_t size);

/* ---- tickets.c ---- */

#define TLS_TICKETS_SIZE 512

/* tls_tickets_begin - the first keys, unless they are there; in the listening process */
bool tls_tickets_begin(struct tls_tickets *t);
void tls_tickets_attach(SSL_CTX *context);

/* ---- layer.c ---- */

bool tls_client_begin(struct qp *q, const struct tls_server *server, struct qp_tls_offer *offer,
    char *why, size_t size);
void tls_client_end(void *data);

#endif
