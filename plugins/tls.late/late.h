/*
 * What the plugin tls hands to its late part, and what it gets: everything that needs OpenSSL
 */
#ifndef TLS_LATE_H
#define TLS_LATE_H

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/tls.h>

#define TLS_PAIRS 2 /* RSA and ECDSA side by side */

/* PEM files; absolute paths. */
struct tls_pair {
    const char *cert; /* the server's, then those of the chain; NULL: no such pair */
    const char *key;
};

enum tls_client_cert { TLS_CLIENT_NO, TLS_CLIENT_REQUEST, TLS_CLIENT_REQUIRE };

/* What an administrator has chosen; texts live as long as the server. */
struct tls_settings {
    struct tls_pair pair[TLS_PAIRS]; /* of clients that name nobody, or somebody unknown */
    const char *ca;                  /* who may issue client certificates; NULL: nobody */
    const char *dh;                  /* NULL: OpenSSL's own parameters */
    const char *names;               /* directory of NAME.crt and NAME.key; NULL: none */
    const char *ciphers;             /* up to TLS 1.2; NULL: the default */
    const char *suites;              /* of TLS 1.3; NULL: the default */
    int min, max;                    /* TLS1_2_VERSION …; max 0: the newest */
    unsigned refused;                /* bit v - TLS1_VERSION: that version between min and max */
    int client_cert;                 /* enum tls_client_cert */
    bool many;                       /* qp_serves_many(): read the certificates of all names now */
    bool tickets;                    /* resumption; only where many */
    bool kernel;                     /* kernel TLS where it is offered */
    struct tls_tickets *shared;      /* memory of all children; NULL without tickets */
};

struct tls_server;

/* Lies in shared memory: keys of session tickets, the newest first. */
struct tls_tickets;

struct tls_late {
    size_t tickets_size; /* of struct tls_tickets */

    /* Read the certificates. NULL: see why. */
    struct tls_server *(*open)(
        struct qp *q, const struct tls_settings *s, char *why, size_t why_size);
    void (*close)(void *server);

    /* Fill in the offer for this client. false: see why. The offer's data lives until end(). */
    bool (*begin)(struct qp *q, const struct tls_server *server, struct qp_tls_offer *offer,
        char *why, size_t why_size);
    void (*end)(void *data);
};

#endif
