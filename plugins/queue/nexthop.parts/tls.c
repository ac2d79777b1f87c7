#include "tls.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define LIBRARY "libssl.so.3"

/* Slots for dlsym(3): ISO C has no cast from its result to a function pointer. */
#define TLS_SLOT(f) {#f, &lib->f},

bool
tls_load(struct tls_library *lib, const char **why)
{
    const struct {
        const char *name;
        void *slot;
    } wanted[] = {TLS_FUNCTIONS(TLS_SLOT)};
    void *handle = lib->loaded ? NULL : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    *why = "TLS needs OpenSSL 3 (package libssl3), and " LIBRARY " cannot be loaded";
    if (lib->loaded || !handle)
        return lib->loaded;
    /* libcrypto's functions are found through libssl, which needs them itself. */
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *symbol = dlsym(handle, wanted[i].name);

        if (!symbol) {
            dlclose(handle);
            return false;
        }
        memcpy(wanted[i].slot, &symbol, sizeof symbol);
    }
    lib->loaded = true; /* and stays so as long as the process */
    return true;
}

static bool
fail(struct tls *t, const char *what)
{
    unsigned long error = t->lib->ERR_peek_last_error();
    const char *reason = error ? t->lib->ERR_reason_error_string(error) : NULL;

    snprintf(t->why, sizeof t->why, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    t->lib->ERR_clear_error();
    return false;
}

static bool
make_context(struct tls *t, const struct tls_wish *wish)
{
    const struct tls_library *lib = t->lib;

    t->context = lib->SSL_CTX_new(lib->TLS_client_method());
    if (!t->context)
        return fail(t, "no TLS context");
    lib->SSL_CTX_ctrl(t->context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    lib->SSL_CTX_set_verify(t->context, wish->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (!wish->verify)
        return true;
    if (wish->ca ? lib->SSL_CTX_load_verify_file(t->context, wish->ca) != 1
                 : lib->SSL_CTX_set_default_verify_paths(t->context) != 1)
        return fail(t, "the certificate authorities cannot be read");
    return true;
}

/* Whom we want to talk to: an address cannot be asked for by SNI (RFC 6066, 3). */
static bool
set_name(struct tls *t, const struct tls_wish *wish)
{
    struct in6_addr ignored;
    bool address = inet_pton(AF_INET, wish->name, &ignored) == 1 ||
                   inet_pton(AF_INET6, wish->name, &ignored) == 1;
    char name[256];

    snprintf(name, sizeof name, "%s", wish->name);
    if (!address)
        t->lib->SSL_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name);
    if (!wish->verify)
        return true;
    if (address ? t->lib->X509_VERIFY_PARAM_set1_ip_asc(t->lib->SSL_get0_param(t->ssl), name) != 1
                : t->lib->SSL_set1_host(t->ssl, name) != 1)
        return fail(t, "no name for the certificate");
    return true;
}

bool
tls_open(struct tls *t, const struct tls_library *lib, int fd, const struct tls_wish *wish)
{
    *t = (struct tls){.lib = lib};
    lib->ERR_clear_error();
    if (!make_context(t, wish))
        goto failed;
    t->ssl = lib->SSL_new(t->context);
    if (!t->ssl || lib->SSL_set_fd(t->ssl, fd) != 1) {
        fail(t, "no TLS connection");
        goto failed;
    }
    lib->SSL_ctrl(t->ssl, SSL_CTRL_MODE,
        SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
    if (set_name(t, wish))
        return true;
failed:
    tls_close(t);
    return false;
}

void
tls_close(struct tls *t)
{
    if (!t->lib)
        return;
    if (t->ssl) {
        t->lib->SSL_shutdown(t->ssl);
        t->lib->SSL_free(t->ssl);
    }
    if (t->context)
        t->lib->SSL_CTX_free(t->context);
    t->lib->ERR_clear_error();
    t->lib = NULL;
    t->ssl = NULL;
    t->context = NULL;
}

/* What a call that did not succeed wants, as tls.h tells. */
static int
judge(struct tls *t, int result, short *events, const char *doing)
{
    int error = errno;
    long verified;

    switch (t->lib->SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *events = POLLIN;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_WRITE:
        *events = POLLOUT;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        snprintf(t->why, sizeof t->why, "%s", error ? strerror(error) : "connection closed");
        break;
    default:
        fail(t, doing);
        verified = t->lib->SSL_get_verify_result(t->ssl);
        if (verified != X509_V_OK)
            snprintf(t->why, sizeof t->why, "certificate not accepted: %s",
                t->lib->X509_verify_cert_error_string(verified));
    }
    errno = EPROTO;
    return -1;
}

int
tls_handshake(struct tls *t, short *events)
{
    int result;

    t->lib->ERR_clear_error();
    errno = 0;
    result = t->lib->SSL_connect(t->ssl);
    return result == 1 ? 1 : judge(t, result, events, "TLS handshake");
}

ssize_t
tls_read(struct tls *t, char *to, size_t room, short *events)
{
    int result;

    t->lib->ERR_clear_error();
    errno = 0;
    result = t->lib->SSL_read(t->ssl, to, room > INT_MAX ? INT_MAX : (int)room);
    return result > 0 ? result : judge(t, result, events, "TLS");
}

ssize_t
tls_write(struct tls *t, const char *from, size_t n, short *events)
{
    int result;

    t->lib->ERR_clear_error();
    errno = 0;
    result = t->lib->SSL_write(t->ssl, from, n > INT_MAX ? INT_MAX : (int)n);
    return result > 0 ? result : judge(t, result, events, "TLS");
}

const char *
tls_version(const struct tls *t)
{
    return t->lib ? t->lib->SSL_get_version(t->ssl) : "";
}

const char *
tls_cipher(const struct tls *t)
{
    return t->lib ? t->lib->SSL_CIPHER_get_name(t->lib->SSL_get_current_cipher(t->ssl)) : "";
}
