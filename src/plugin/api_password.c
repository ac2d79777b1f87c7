/*
 * Hashes of crypt(3): <qpsmtpd/password.h>. The library is loaded for the first hash that is seen.
 */
#include <crypt.h>

#include <qpsmtpd/password.h>

#include "base/library.h"
#include "base/log.h"

#define CRYPT_LIBRARY "libcrypt.so.1"

/* Process-wide, as the library itself. */
static struct {
    bool tried, loaded;
    __typeof__(&crypt_checksalt) checksalt;
    __typeof__(&crypt_rn) hash;
} library;

static bool
load(void)
{
    static const struct library_symbol wanted[] = {
        {"crypt_checksalt", &library.checksalt},
        {"crypt_rn", &library.hash},
    };

    if (!library.tried) {
        library.tried = true;
        library.loaded = library_open(CRYPT_LIBRARY, wanted, sizeof wanted / sizeof *wanted);
        if (!library.loaded)
            log_at(LOG_LEVEL_ERROR, CRYPT_LIBRARY
                " cannot be loaded (package libcrypt1): no hash is the one of any password");
    }
    return library.loaded;
}

/* Without the library it is taken for one: as a clear password it would let in who has read the file. */
bool
qp_password_is_crypt(const char *text)
{
    return text[0] == '$' && (!load() || library.checksalt(text) != CRYPT_SALT_INVALID);
}

bool
qp_password_crypt_is(const char *password, const char *crypted)
{
    struct crypt_data data = {.initialized = 0};
    const char *hash = load() ? library.hash(password, crypted, &data, sizeof data) : NULL;
    bool same = hash != NULL && qp_auth_equal(hash, crypted);

    explicit_bzero(&data, sizeof data);
    return same;
}
