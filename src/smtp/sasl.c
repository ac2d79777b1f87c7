#include "smtp/sasl.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/random.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

#include "base/library.h"
#include "base/log.h"

#define SASL_LIBRARY "libsasl2.so.2"
#define OUR_NAME     "qpsmtpd" /* of the auxprop plug-in; and of no password verifier of libsasl2's */
#define SERVICE      "smtp"
#define HASH_DIGITS  32   /* of an MD5 in hex */
#define USER_MAX     1023 /* bytes of a user: of a longer one in PLAIN libsasl2 loses a copy */

enum kind { PLAIN, LOGIN, CRAM_MD5, OTHER };

struct exchange {
    enum kind kind;
    const char *mechanism; /* upper case, as libsasl2 has it */
    const char *lower;     /* as hooks have it */
    const char *me;
    exchange_ask *ask;
    void *data;
    struct arena *arena;
    sasl_conn_t *conn;   /* NULL before the first step */
    struct str response; /* of the step that is being made */
    const char *ticket;  /* of CRAM-MD5 */
    const char *user;
    bool started, asked;
    bool by_hash; /* who was asked has compared the proof himself */
    enum exchange_answer answer;
};

/* The functions needed of the library, and whose exchange runs: the only state of this module. */
static struct sasl2 {
    bool loaded;
    bool ready;
    struct exchange *current; /* libsasl2 calls back without saying for which connection */
    __typeof__(&sasl_set_alloc) set_alloc;
    __typeof__(&sasl_auxprop_add_plugin) add_auxprop;
    __typeof__(&sasl_server_init) server_init;
    __typeof__(&sasl_server_new) server_new;
    __typeof__(&sasl_server_start) server_start;
    __typeof__(&sasl_server_step) server_step;
    __typeof__(&sasl_setprop) setprop;
    __typeof__(&sasl_errstring) errstring;
    __typeof__(&sasl_dispose) dispose;
} sasl2;

/* ---- its memory: passwords are copied more than once on their way ---- */

static void
wiping_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *
wiping_realloc(void *p, size_t n)
{
    size_t old = p ? malloc_usable_size(p) : 0;
    void *copy = malloc(n);

    if (!copy)
        return NULL;
    if (p)
        memcpy(copy, p, old < n ? old : n);
    wiping_free(p);
    return copy;
}

/* ---- what it asks ---- */

/* false: there was an answer before, and it stays */
static bool
ask(struct exchange *x, struct str user, const char *password, const char **secret)
{
    struct qp_auth who = {.mechanism = x->lower, .password = password, .authzid = ""};
    struct str rest = x->response;

    if (x->asked)
        return false;
    x->asked = true;
    who.user = x->user = arena_dup(x->arena, user);
    if (x->kind == PLAIN)
        who.authzid = arena_dup(x->arena, str_cut(&rest, '\0'));
    if (x->kind == CRAM_MD5) {
        who.hash = arena_dup(x->arena, str_from(rest, rest.n - HASH_DIGITS));
        who.ticket = x->ticket;
    }
    if (!password || *password) /* many a directory lets everybody in without one */
        x->answer = x->ask(x->data, &who, secret);
    x->by_hash = who.hash && !*secret;
    return true;
}

static int
check_password(sasl_conn_t *conn, void *context, const char *user, const char *password, unsigned n,
    struct propctx *propctx)
{
    struct exchange *x = context;
    const char *ignored = NULL;

    (void)conn, (void)n, (void)propctx;
    ask(x, str_of(user), password, &ignored);
    return x->answer == EXCHANGE_ACCEPT ? SASL_OK : SASL_BADAUTH;
}

/* What nobody can guess: an exchange with an unknown user goes on and fails as one with a wrong
 * password does. */
static const char *
no_secret(struct arena *a)
{
    unsigned char random[16] = {0};
    char *text = arena_alloc(a, 2 * sizeof random + 1);

    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return NULL;
    for (size_t i = 0; i < sizeof random; i++) {
        text[2 * i] = "0123456789abcdef"[random[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
    }
    return text;
}

static int
look_up(void *glob, sasl_server_params_t *params, unsigned flags, const char *user, unsigned n)
{
    struct exchange *x = sasl2.current;
    const char *secret = NULL;
    const struct propval *wanted;

    (void)glob;
    if (!x || x->kind == PLAIN || x->kind == LOGIN || flags & SASL_AUXPROP_AUTHZID)
        return SASL_OK;
    wanted = params->utils->prop_get(params->propctx);
    while (wanted && wanted->name && strcmp(wanted->name, SASL_AUX_PASSWORD) != 0)
        wanted++;
    if (!wanted || !wanted->name)
        return SASL_OK;
    if (!ask(x, (struct str){user, n}, NULL, &secret))
        return SASL_OK;
    if (x->answer == EXCHANGE_REFUSE)
        secret = no_secret(x->arena);
    if (!secret || x->answer == EXCHANGE_STOP)
        return SASL_NOUSER;
    return params->utils->prop_set(params->propctx, SASL_AUX_PASSWORD, secret, (int)strlen(secret));
}

static int
auxprop_init(const sasl_utils_t *utils, int max_version, int *out_version,
    sasl_auxprop_plug_t **plug, const char *name)
{
    static char our_name[] = OUR_NAME;
    static sasl_auxprop_plug_t ours = {.name = our_name, .auxprop_lookup = look_up};

    (void)utils, (void)name;
    if (max_version < SASL_AUXPROP_PLUG_VERSION)
        return SASL_BADVERS;
    *out_version = SASL_AUXPROP_PLUG_VERSION;
    *plug = &ours;
    return SASL_OK;
}

/* Options: where secrets come from. All else is as libsasl2 thinks best. */
static int
get_option(void *context, const char *plugin, const char *option, const char **value, unsigned *n)
{
    (void)context, (void)plugin;
    if (strcmp(option, "auxprop_plugin") != 0 && strcmp(option, "pwcheck_method") != 0)
        return SASL_FAIL;
    *value = OUR_NAME; /* as a method it does not exist: after check_password() nobody is asked */
    if (n)
        *n = sizeof OUR_NAME - 1;
    return SASL_OK;
}

/* SASL_LOG_TRACE and SASL_LOG_PASS would show what must not be seen. */
static int
take_log(void *context, int level, const char *text)
{
    (void)context;
    if (level != SASL_LOG_NONE && level <= SASL_LOG_DEBUG)
        log_at(LOG_LEVEL_DEBUG, "libsasl2: %s", text);
    return SASL_OK;
}

/* libsasl2 wants all callbacks as functions without parameters. */
#define CALLBACK(fn) ((int (*)(void))(void (*)(void))(fn))

/* ---- the library ---- */

/* Find all functions, or none. Gives what is wrong, or NULL. */
static const char *
open_library(void)
{
    static const struct library_symbol wanted[] = {
        {"sasl_set_alloc", &sasl2.set_alloc},
        {"sasl_auxprop_add_plugin", &sasl2.add_auxprop},
        {"sasl_server_init", &sasl2.server_init},
        {"sasl_server_new", &sasl2.server_new},
        {"sasl_server_start", &sasl2.server_start},
        {"sasl_server_step", &sasl2.server_step},
        {"sasl_setprop", &sasl2.setprop},
        {"sasl_errstring", &sasl2.errstring},
        {"sasl_dispose", &sasl2.dispose},
    };

    sasl2.loaded = library_open(SASL_LIBRARY, wanted, sizeof wanted / sizeof *wanted);
    return sasl2.loaded ? NULL
                        : "AUTH needs Cyrus SASL (package libsasl2-2), and " SASL_LIBRARY
                          " cannot be loaded";
}

/* Once in a process. Gives what is wrong, or NULL. */
static const char *
load_library(void)
{
    static const sasl_callback_t callbacks[] = {
        {SASL_CB_GETOPT, CALLBACK(get_option), NULL},
        {SASL_CB_LOG, CALLBACK(take_log), NULL},
        {SASL_CB_LIST_END, NULL, NULL},
    };
    const char *wrong = sasl2.loaded ? NULL : open_library();
    int result;

    if (wrong || sasl2.ready)
        return wrong;
    sasl2.set_alloc(malloc, calloc, wiping_realloc, wiping_free);
    /* without a name of the application there is no configuration file */
    result = sasl2.server_init(callbacks, NULL);
    if (result == SASL_OK)
        result = sasl2.add_auxprop(OUR_NAME, auxprop_init);
    sasl2.ready = result == SASL_OK;
    return sasl2.ready ? NULL : sasl2.errstring(result, NULL, NULL);
}

/* ---- one exchange ---- */

static void
dispose(void *data)
{
    struct exchange *x = data;

    sasl2.dispose(&x->conn);
}

static bool
broken(const struct exchange *x, const char *why)
{
    log_at(LOG_LEVEL_ERROR, "AUTH %s does not work: %s", x->mechanism, why);
    return false;
}

static bool
open_conn(struct exchange *x)
{
    sasl_callback_t *callbacks = arena_alloc(x->arena, 2 * sizeof *callbacks);
    sasl_security_properties_t properties = {.security_flags = SASL_SEC_NOANONYMOUS};
    const char *wrong = load_library();
    int result;

    if (wrong)
        return broken(x, wrong);
    callbacks[0] = (sasl_callback_t){SASL_CB_SERVER_USERDB_CHECKPASS, CALLBACK(check_password), x};
    callbacks[1] = (sasl_callback_t){SASL_CB_LIST_END, NULL, NULL};
    result = sasl2.server_new(SERVICE, x->me, NULL, NULL, NULL, callbacks, 0, &x->conn);
    if (result == SASL_OK) {
        arena_at_reset(x->arena, dispose, x);
        /* no security layer: the session goes on in the clear */
        result = sasl2.setprop(x->conn, SASL_SEC_PROPS, &properties);
    }
    return result == SASL_OK || broken(x, sasl2.errstring(result, NULL, NULL));
}

/* What libsasl2 would not refuse as we want it refused. EXCHANGE_MORE: nothing is wrong. */
static enum exchange_status
check_plain(struct exchange *x, struct str response)
{
    struct str authzid = str_cut(&response, '\0'), user;
    size_t nul = str_find(response, '\0');

    user = (struct str){response.p, nul};
    if (nul == response.n || nul > USER_MAX ||
        memchr(response.p + nul + 1, '\0', response.n - nul - 1))
        return EXCHANGE_MALFORMED;
    x->user = arena_dup(x->arena, user);
    return user.n && (!authzid.n || str_eq(authzid, user)) ? EXCHANGE_MORE : EXCHANGE_INVALID;
}

static enum exchange_status
check_cram(struct str response)
{
    size_t user = response.n;

    while (user && response.p[user - 1] != ' ')
        user--;
    if (user < 2 || response.n - user != HASH_DIGITS)
        return EXCHANGE_MALFORMED;
    for (size_t i = user; i < response.n; i++)
        if (!strchr("0123456789abcdefABCDEF", response.p[i]))
            return EXCHANGE_MALFORMED;
    return EXCHANGE_MORE;
}

static enum exchange_status
check(struct exchange *x, struct str response)
{
    if (x->kind == PLAIN)
        return check_plain(x, response);
    if (response.n && memchr(response.p, '\0', response.n)) /* it would be cut there */
        return EXCHANGE_MALFORMED;
    return x->kind == CRAM_MD5 ? check_cram(response) : EXCHANGE_MORE;
}

/* Give libsasl2 what came; its result. */
static int
advance(struct exchange *x, const struct str *response, struct str *challenge)
{
    const char *in = response ? response->p ? response->p : "" : NULL, *out = NULL;
    unsigned in_n = response ? (unsigned)response->n : 0, out_n = 0;
    int result;

    x->response = response ? *response : (struct str){"", 0};
    sasl2.current = x;
    if (x->started)
        result = sasl2.server_step(x->conn, in, in_n, &out, &out_n);
    else
        result = sasl2.server_start(x->conn, x->mechanism, in, in_n, &out, &out_n);
    sasl2.current = NULL;
    x->started = true;
    *challenge = (struct str){out ? out : "", out ? out_n : 0};
    if (result == SASL_CONTINUE && x->kind == CRAM_MD5)
        x->ticket = arena_dup(x->arena, *challenge);
    return result;
}

static enum exchange_status
judge(struct exchange *x, int result)
{
    bool accepted = x->asked && x->answer == EXCHANGE_ACCEPT;

    if (x->by_hash)
        return accepted ? EXCHANGE_PASSED : EXCHANGE_FAILED;
    if (result == SASL_CONTINUE)
        return EXCHANGE_MORE;
    if (result == SASL_OK && accepted)
        return EXCHANGE_PASSED;
    log_at(LOG_LEVEL_DEBUG, "libsasl2: %s", sasl2.errstring(result, NULL, NULL));
    if (x->asked)
        return EXCHANGE_FAILED;
    if (result != SASL_NOMECH && result != SASL_NOMEM)
        return EXCHANGE_MALFORMED;
    broken(x, result == SASL_NOMECH ? "libsasl2 does not have it (package libsasl2-modules)"
                                    : sasl2.errstring(result, NULL, NULL));
    return EXCHANGE_BROKEN;
}

struct exchange *
exchange_new(
    struct arena *a, const char *mechanism, const char *me, exchange_ask *ask_whom, void *data)
{
    static const char *const kinds[] = {
        [PLAIN] = "PLAIN", [LOGIN] = "LOGIN", [CRAM_MD5] = "CRAM-MD5"};
    struct exchange *x = arena_alloc(a, sizeof *x);
    char *lower = arena_dup(a, str_of(mechanism));

    for (char *p = lower; *p; p++)
        *p = ascii_lower(*p);
    *x = (struct exchange){.kind = OTHER,
        .mechanism = mechanism,
        .lower = lower,
        .me = me,
        .ask = ask_whom,
        .data = data,
        .arena = a,
        .ticket = "",
        .user = ""};
    for (int i = 0; i < OTHER; i++)
        if (strcmp(mechanism, kinds[i]) == 0)
            x->kind = (enum kind)i;
    return x;
}

enum exchange_status
exchange_step(struct exchange *x, const struct str *response, struct str *challenge)
{
    enum exchange_status status = EXCHANGE_MORE;

    if (!x->conn && !open_conn(x))
        return EXCHANGE_BROKEN;
    if (response)
        status = check(x, *response);
    return status == EXCHANGE_MORE ? judge(x, advance(x, response, challenge)) : status;
}

const char *
exchange_user(const struct exchange *x)
{
    return x->user;
}
