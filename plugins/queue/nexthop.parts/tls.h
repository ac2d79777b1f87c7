/*
 * nexthop/tls - TLS towards a next hop
 *
 * Owns   OpenSSL in this process as far as this plugin needs it: loaded by the first STARTTLS, so
 *        who forwards without TLS neither needs nor pays for it
 * Keep   nothing here waits; a certificate that is not verified says so
 */
#ifndef NEXTHOP_TLS_H
#define NEXTHOP_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define TLS_WHY_MAX 200

/* The functions needed. */
#define TLS_FUNCTIONS(X)                                                                           \
    X(TLS_client_method)                                                                           \
    X(SSL_CTX_new)                                                                                 \
    X(SSL_CTX_free)                                                                                \
    X(SSL_CTX_ctrl)                                                                                \
    X(SSL_CTX_set_verify)                                                                          \
    X(SSL_CTX_set_default_verify_paths)                                                            \
    X(SSL_CTX_load_verify_file)                                                                    \
    X(SSL_new)                                                                                     \
    X(SSL_free)                                                                                    \
    X(SSL_ctrl)                                                                                    \
    X(SSL_set_fd)                                                                                  \
    X(SSL_set1_host)                                                                               \
    X(SSL_get0_param)                                                                              \
    X(X509_VERIFY_PARAM_set1_ip_asc)                                                               \
    X(SSL_connect)                                                                                 \
    X(SSL_read)                                                                                    \
    X(SSL_write)                                                                                   \
    X(SSL_shutdown)                                                                                \
    X(SSL_get_error)                                                                               \
    X(SSL_get_version)                                                                             \
    X(SSL_get_current_cipher)                                                                      \
    X(SSL_CIPHER_get_name)                                                                         \
    X(SSL_get_verify_result)                                                                       \
    X(X509_verify_cert_error_string)                                                               \
    X(ERR_clear_error)                                                                             \
    X(ERR_peek_last_error)                                                                         \
    X(ERR_reason_error_string)

/* clang-format off */
#define TLS_MEMBER(f) __typeof__(&(f)) f;
struct tls_library {
    bool loaded;
    TLS_FUNCTIONS(TLS_MEMBER)
};
/* clang-format on */
#undef TLS_MEMBER

struct tls {
    const struct tls_library *lib; /* NULL: not in use */
    SSL_CTX *context;
    SSL *ssl;
    char why[TLS_WHY_MAX]; /* the last thing that failed */
};

struct tls_wish {
    const char *name; /* in the certificate, and for SNI; a name or an address */
    bool verify;      /* the name and a chain to a known authority, or there is no connection */
    const char *ca;   /* file of authorities; NULL: those of the system */
};

/* tls_load - find the library. false: *why tells what is missing; may be called again. */
bool tls_load(struct tls_library *lib, const char **why);

/* tls_open - TLS over fd, which is not blocking; false: t->why. */
bool tls_open(struct tls *t, const struct tls_library *lib, int fd, const struct tls_wish *wish);

/* tls_close - without waiting for the other side's goodbye; may be called twice */
void tls_close(struct tls *t);

/*
 * tls_handshake, tls_read, tls_write
 *
 * returns  > 0: done, or bytes; 0: the other side has ended it properly; -1 with errno EAGAIN: *events
 *          of poll(2) must happen first; -1 with another errno: it is over, see t->why
 */
int tls_handshake(struct tls *t, short *events);
ssize_t tls_read(struct tls *t, char *to, size_t room, short *events);
ssize_t tls_write(struct tls *t, const char *from, size_t n, short *events);

/* tls_version, tls_cipher - for the log, after the handshake */
const char *tls_version(const struct tls *t);
const char *tls_cipher(const struct tls *t);

#endif
