/*
 * Session tickets (RFC 5077; RFC 8446, 4.6.1): keys in memory that all children share
 *
 * Keys never leave that memory, and each lives for two periods: who copies the disk, or breaks in
 * tomorrow, cannot read today's sessions. A ticket of one listening address is worth nothing at
 * another: the session id context is the address (layer.c).
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "openssl.h"

#define PERIOD ((time_t)3600) /* seconds: a key encrypts for one, and decrypts for two */

struct key {
    unsigned char name[16], cipher[32], mac[32];
};

struct tls_tickets {
    pthread_mutex_t lock;
    bool ready;
    time_t born;       /* of the newest; CLOCK_BOOTTIME */
    struct key key[2]; /* the newest first */
};

_Static_assert(sizeof(struct tls_tickets) <= TLS_TICKETS_SIZE, "the block is too small");

static time_t
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec;
}

/* A child that died inside left whole keys, or one that is half new, which opens nothing. */
static void
lock(struct tls_tickets *t)
{
    if (pthread_mutex_lock(&t->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&t->lock);
}

static bool
new_key(struct tls_tickets *t)
{
    struct key fresh;

    if (RAND_priv_bytes((unsigned char *)&fresh, sizeof fresh) != 1)
        return false;
    t->key[1] = t->key[0];
    t->key[0] = fresh;
    t->born = now();
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return true;
}

bool
tls_tickets_begin(struct tls_tickets *t)
{
    pthread_mutexattr_t attributes;

    if (t->ready)
        return true;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&t->lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    t->ready = new_key(t);
    if (t->ready)
        t->ready = new_key(t); /* the one before is no row of zeros */
    return t->ready;
}

/* The newest key, a new one when it is old enough. */
static bool
key_to_write(struct tls_tickets *t, struct key *out)
{
    bool good = true;
    time_t age;

    lock(t);
    age = now() - t->born;
    if (age >= 2 * PERIOD) /* nobody came for so long that the one before is too old as well */
        good = new_key(t);
    if (age >= PERIOD)
        good = good && new_key(t);
    *out = t->key[0];
    pthread_mutex_unlock(&t->lock);
    return good;
}

/* 0: unknown; 1: the newest; 2: the one before, a new ticket is due (OpenSSL's own numbers) */
static int
key_to_read(struct tls_tickets *t, const unsigned char name[16], struct key *out)
{
    int found = 0;
    time_t age;

    lock(t);
    age = now() - t->born;
    for (int i = 0; i < 2 && !found && age < (2 - i) * PERIOD; i++)
        if (memcmp(t->key[i].name, name, sizeof t->key[i].name) == 0) {
            *out = t->key[i];
            found = i == 0 && age < PERIOD ? 1 : 2;
        }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool
set_mac(EVP_MAC_CTX *mac, struct key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants it; below 0 ends the handshake. */
static int
use_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
    int writing)
{
    const struct tls_client *client = SSL_get_app_data(ssl);
    struct tls_tickets *t = client->server->settings.shared;
    struct key key;
    int result = -1;

    if (writing) {
        if (key_to_write(t, &key) && RAND_bytes(iv, EVP_CIPHER_iv_length(EVP_aes_256_cbc())) == 1 &&
            EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) == 1 &&
            set_mac(mac, &key))
            result = 1;
        memcpy(name, key.name, sizeof key.name);
    } else {
        result = key_to_read(t, name, &key);
        if (result == 1 && SSL_version(ssl) >= TLS1_3_VERSION)
            result = 2; /* a ticket is for one session: RFC 8446, C.4 */
        if (result && (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.cipher, iv) != 1 ||
                          !set_mac(mac, &key)))
            result = -1;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return result;
}

void
tls_tickets_attach(SSL_CTX *context)
{
    SSL_CTX_set_timeout(context, PERIOD);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, use_key);
}
