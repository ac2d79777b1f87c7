/*
 * Certificates and keys: read with the rights that the daemon was started with, bounded, wiped
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include <qpsmtpd/host.h>

#include "openssl.h"

#define PEM_MAX 1048576 /* bytes of a file; a chain has some ten thousand */

struct file {
    char *text;
    size_t n;
    BIO *bio; /* reads text */
};

static void
file_close(struct file *f)
{
    BIO_free(f->bio);
    if (f->text)
        OPENSSL_cleanse(f->text, f->n);
    free(f->text);
}

static bool
read_all(int fd, struct file *f)
{
    ssize_t n;

    while (f->n < PEM_MAX && (n = read(fd, f->text + f->n, PEM_MAX - f->n)) != 0) {
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            f->n += (size_t)n;
    }
    errno = EFBIG;
    return f->n < PEM_MAX;
}

static bool
file_open(struct qp *q, const char *path, struct file *f, char *why, size_t size)
{
    int fd = q ? qp_open_secret(q, path) : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *f = (struct file){NULL, 0, NULL};
    if (fd < 0)
        return tls_why(why, size, "%s: %s", path, strerror(errno));
    f->text = malloc(PEM_MAX);
    if (f->text && read_all(fd, f))
        f->bio = BIO_new_mem_buf(f->text, (int)f->n);
    if (!f->bio) {
        tls_why(why, size, "%s: %s", path, strerror(errno));
        file_close(f);
    }
    close(fd);
    return f->bio;
}

/* A key with a passphrase is no key for a daemon: nobody is there to be asked. */
static int
no_passphrase(char *buffer, int size, int writing, /* NOLINT(readability-non-const-parameter) */
    void *data)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)data;
    return -1;
}

static void
warn_of_dates(struct qp *q, const X509 *cert, const char *path)
{
    if (q && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        qp_log(q, QP_LOG_WARN, "%s: the certificate has expired", path);
    else if (q && X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
        qp_log(q, QP_LOG_WARN, "%s: the certificate is not valid yet", path);
}

/* The first certificate is ours, the others lead from it to a root. */
static bool
use_chain(struct qp *q, SSL_CTX *context, const char *path, char *why, size_t size)
{
    struct file f;
    X509 *cert;
    bool good;

    if (!file_open(q, path, &f, why, size))
        return false;
    cert = PEM_read_bio_X509_AUX(f.bio, NULL, no_passphrase, NULL);
    good = cert && SSL_CTX_use_certificate(context, cert) == 1;
    if (good)
        warn_of_dates(q, cert, path);
    X509_free(cert);
    while (good && (cert = PEM_read_bio_X509(f.bio, NULL, no_passphrase, NULL)))
        if (SSL_CTX_add0_chain_cert(context, cert) != 1) {
            X509_free(cert);
            good = false;
        }
    file_close(&f);
    if (!good)
        return tls_why(why, size, "%s: no usable certificate in PEM form", path);
    return true;
}

static bool
use_key(struct qp *q, SSL_CTX *context, const struct tls_pair *pair, char *why, size_t size)
{
    struct file f;
    EVP_PKEY *key;
    bool good;

    if (!file_open(q, pair->key, &f, why, size))
        return false;
    key = PEM_read_bio_PrivateKey(f.bio, NULL, no_passphrase, NULL);
    good =
        key && SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
    EVP_PKEY_free(key);
    file_close(&f);
    if (good)
        return true;
    if (!key)
        return tls_why(why, size, "%s: no private key in PEM form without passphrase", pair->key);
    return tls_why(why, size, "%s is not the key of %s", pair->key, pair->cert);
}

bool
tls_pair_load(struct qp *q, SSL_CTX *context, const struct tls_pair *pair, char *why, size_t size)
{
    bool good =
        use_chain(q, context, pair->cert, why, size) && use_key(q, context, pair, why, size);

    ERR_clear_error(); /* the end of a PEM file is an error to OpenSSL */
    return good;
}

bool
tls_dh_load(struct qp *q, SSL_CTX *context, const char *path, char *why, size_t size)
{
    struct file f;
    EVP_PKEY *dh;

    if (!file_open(q, path, &f, why, size))
        return false;
    dh = PEM_read_bio_Parameters(f.bio, NULL);
    file_close(&f);
    if (dh && SSL_CTX_set0_tmp_dh_pkey(context, dh) == 1)
        return true;
    EVP_PKEY_free(dh);
    return tls_why(why, size, "%s: no usable Diffie-Hellman parameters", path);
}

bool
tls_ca_load(struct qp *q, SSL_CTX *context, const char *path, char *why, size_t size)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    struct file f;
    X509 *cert;
    bool good = true;
    int n = 0;

    if (!file_open(q, path, &f, why, size))
        return false;
    for (; good && (cert = PEM_read_bio_X509_AUX(f.bio, NULL, no_passphrase, NULL)); n++) {
        good = X509_STORE_add_cert(store, cert) == 1 && SSL_CTX_add_client_CA(context, cert) == 1;
        X509_free(cert);
    }
    file_close(&f);
    if (!good || !n)
        return tls_why(why, size, "%s: no certificates of authorities", path);
    ERR_clear_error(); /* the end of a PEM file is an error to OpenSSL */
    return true;
}

bool
tls_policy(struct qp *q, const struct tls_settings *s, unsigned char out[TLS_POLICY], char *why,
    size_t size)
{
    bool asked = s->client_cert != TLS_CLIENT_NO;
    unsigned char mode = (unsigned char)s->client_cert;
    EVP_MD_CTX *digest;
    struct file f = {NULL, 0, NULL};
    bool good;

    if (asked && s->ca && !file_open(q, s->ca, &f, why, size))
        return false;
    digest = EVP_MD_CTX_new();
    good = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
           EVP_DigestUpdate(digest, &mode, sizeof mode) == 1 &&
           EVP_DigestUpdate(digest, f.text, f.n) == 1 && EVP_DigestFinal_ex(digest, out, NULL) == 1;
    EVP_MD_CTX_free(digest);
    file_close(&f);
    return good || tls_why(why, size, "SHA-256");
}
