#include "sasl.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LIBRARY "libsasl2.so.2"

#define SASL_SLOT(f) {#f, &lib->f},

static bool
find_functions(struct sasl_library *lib, void *handle)
{
    const struct {
        const char *name;
        void *slot;
    } wanted[] = {SASL_FUNCTIONS(SASL_SLOT)};

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *symbol = dlsym(handle, wanted[i].name);

        if (!symbol)
            return false;
        memcpy(wanted[i].slot, &symbol, sizeof symbol);
    }
    return true;
}

bool
sasl_load(struct sasl_library *lib, const char **why)
{
    void *handle;

    if (lib->ready)
        return true;
    *why = "AUTH needs Cyrus SASL (package libsasl2-2), and " LIBRARY " cannot be loaded";
    handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return false;
    if (!find_functions(lib, handle)) {
        dlclose(handle);
        return false;
    }
    /* It counts its users: another one in this process does no harm. */
    lib->ready = lib->sasl_client_init(NULL) == SASL_OK;
    if (!lib->ready)
        *why = "libsasl2 cannot be started";
    return lib->ready;
}

void
sasl_usable(const char *offered, char *out)
{
    static const char *const ours[] = {
        "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"};
    size_t n = 0;

    out[0] = '\0';
    while (*offered) {
        size_t length = strcspn(offered, " ");

        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            if (strlen(ours[i]) == length && strncasecmp(ours[i], offered, length) == 0 &&
                n + length + 2 < SASL_LIST_MAX) {
                if (n)
                    out[n++] = ' ';
                memcpy(out + n, ours[i], length + 1);
                n += length;
            }
        offered += length;
        offered += strspn(offered, " ");
    }
}

/* ---- what the library asks ---- */

static int
give_name(void *context, int id, const char **result, unsigned *length)
{
    const struct sasl_exchange *x = context;

    /* Who we are, and as whom: the latter is left to the server. */
    *result = id == SASL_CB_AUTHNAME ? x->who->user : "";
    if (length)
        *length = (unsigned)strlen(*result);
    return SASL_OK;
}

static int
give_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
    const struct sasl_exchange *x = context;

    (void)conn;
    if (id != SASL_CB_PASS)
        return SASL_BADPARAM;
    *secret = x->secret;
    return SASL_OK;
}

/* Its debugging output shows passwords. */
static int
drop_log(void *context, int level, const char *text)
{
    (void)context, (void)level, (void)text;
    return SASL_OK;
}

/* libsasl2 wants all callbacks as functions without parameters. */
#define CALLBACK(fn) ((int (*)(void))(void (*)(void))(fn))

static bool
make_secret(struct sasl_exchange *x)
{
    size_t n = strlen(x->who->password);

    x->secret = malloc(sizeof *x->secret + n + 1);
    if (!x->secret)
        return false;
    x->secret->len = n;
    memcpy(x->secret->data, x->who->password, n + 1);
    return true;
}

/* ---- an exchange ---- */

static bool
fail(struct sasl_exchange *x, int result)
{
    x->why = x->lib->sasl_errstring(result, NULL, NULL);
    return false;
}

static bool
encode(struct sasl_exchange *x, const char *p, unsigned n)
{
    unsigned length;

    x->out[0] = '\0';
    if (n && x->lib->sasl_encode64(p, n, x->out, sizeof x->out, &length) != SASL_OK)
        return fail(x, SASL_BUFOVER);
    return true;
}

bool
sasl_begin(struct sasl_exchange *x, const struct sasl_library *lib,
    const struct sasl_credentials *who, const char *service, const char *host, const char *list,
    bool clear)
{
    sasl_security_properties_t security = {
        .security_flags = SASL_SEC_NOANONYMOUS | (clear ? 0 : SASL_SEC_NOPLAINTEXT)};
    const char *out = NULL;
    unsigned n = 0;
    int result;

    *x = (struct sasl_exchange){.lib = lib, .who = who};
    x->callbacks[0] = (sasl_callback_t){SASL_CB_AUTHNAME, CALLBACK(give_name), x};
    x->callbacks[1] = (sasl_callback_t){SASL_CB_USER, CALLBACK(give_name), x};
    x->callbacks[2] = (sasl_callback_t){SASL_CB_PASS, CALLBACK(give_secret), x};
    x->callbacks[3] = (sasl_callback_t){SASL_CB_LOG, CALLBACK(drop_log), NULL};
    x->callbacks[4] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    if (!make_secret(x))
        return fail(x, SASL_NOMEM);
    result = lib->sasl_client_new(service, host, NULL, NULL, x->callbacks, 0, &x->conn);
    if (result == SASL_OK)
        result = lib->sasl_setprop(x->conn, SASL_SEC_PROPS, &security);
    if (result == SASL_OK)
        result = lib->sasl_client_start(x->conn, list, NULL, &out, &n, &x->mechanism);
    if (result != SASL_OK && result != SASL_CONTINUE)
        return fail(x, result);
    x->has_out = out != NULL;
    return encode(x, out, out ? n : 0);
}

bool
sasl_answer(struct sasl_exchange *x, const char *challenge)
{
    char text[SASL_LINE_MAX];
    const char *out = NULL;
    unsigned n = 0;
    int result =
        x->lib->sasl_decode64(challenge, (unsigned)strlen(challenge), text, sizeof text, &n);

    if (result != SASL_OK)
        return fail(x, result);
    result = x->lib->sasl_client_step(x->conn, text, n, NULL, &out, &n);
    if (result != SASL_OK && result != SASL_CONTINUE)
        return fail(x, result);
    return encode(x, out, out ? n : 0);
}

void
sasl_end(struct sasl_exchange *x)
{
    if (x->conn)
        x->lib->sasl_dispose(&x->conn);
    if (x->secret) {
        explicit_bzero(x->secret->data, x->secret->len);
        free(x->secret);
    }
    x->secret = NULL;
    explicit_bzero(x->out, sizeof x->out);
}
