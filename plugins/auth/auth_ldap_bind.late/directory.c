#include "late.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <ldap.h>
#include <qpsmtpd/host.h>

#include "limit.h"

#define ANSWER_MAX 65536 /* bytes of one message */
#define GOODBYE_MS 100   /* for the last word, which nobody answers */

struct directory {
    LDAP *ld;
    const struct directory_settings *settings;
    struct ldap_conncb on_connect;
    int64_t deadline; /* of the call that runs */
};

/* ---- errors ---- */

static enum directory_status
fail(const char *what, const char *why, char error[DIRECTORY_ERROR_MAX])
{
    snprintf(error, DIRECTORY_ERROR_MAX, "%s: %s", what, why);
    return DIRECTORY_TROUBLE;
}

/* What a code means, and what the library or the server adds to it. */
static enum directory_status
fail_code(const struct directory *d, const char *what, int code, char error[DIRECTORY_ERROR_MAX])
{
    char *more = NULL;

    if (d && limit_left(d->deadline) <= 0) /* libldap takes that for the end of the connection */
        code = LDAP_TIMEOUT;
    if (d && ldap_get_option(d->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &more) != LDAP_OPT_SUCCESS)
        more = NULL;
    snprintf(error, DIRECTORY_ERROR_MAX, "%s: %s%s%s", what, ldap_err2string(code),
        more && *more ? ": " : "", more ? more : "");
    ldap_memfree(more);
    return DIRECTORY_TROUBLE;
}

/* ---- time ---- */

/* At least something: 0 would be no limit in some places, and not to wait in others. */
static struct timeval
time_left(int64_t deadline)
{
    int64_t ms = limit_left(deadline);

    if (ms < 1)
        ms = 1;
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

static int
count_words(const char *text)
{
    int n = 0;

    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        text += strcspn(text, " ");
        n++;
    }
    return n;
}

/* For what libldap does without asking us: connecting, to each URI in turn, and STARTTLS. */
static bool
set_limits(struct directory *d, int64_t deadline)
{
    struct timeval all = time_left(deadline);
    int64_t us = ((int64_t)all.tv_sec * 1000000 + all.tv_usec) / count_words(d->settings->uri);
    struct timeval each = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};

    d->deadline = deadline;
    return ldap_set_option(d->ld, LDAP_OPT_NETWORK_TIMEOUT, &each) == LDAP_OPT_SUCCESS &&
           ldap_set_option(d->ld, LDAP_OPT_TIMEOUT, &all) == LDAP_OPT_SUCCESS;
}

/* ---- connecting ---- */

/* libldap has a new socket, and nothing was said yet. */
static int
on_connect(LDAP *ld, Sockbuf *sb, LDAPURLDesc *url, struct sockaddr *addr, struct ldap_conncb *cb)
{
    struct directory *d = cb->lc_arg;
    ber_len_t max = ANSWER_MAX;

    (void)ld, (void)url, (void)addr;
    ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &max);
    return limit_add(sb, &d->deadline) ? LDAP_SUCCESS : LDAP_NO_MEMORY;
}

static void
on_disconnect(LDAP *ld, Sockbuf *sb, struct ldap_conncb *cb)
{
    (void)ld, (void)sb, (void)cb;
}

static bool
set_tls(LDAP *ld, const struct directory_settings *s)
{
    const int demand = LDAP_OPT_X_TLS_DEMAND, client = 0;

    return ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) == LDAP_OPT_SUCCESS &&
           (!s->ca_file ||
               ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, s->ca_file) == LDAP_OPT_SUCCESS) &&
           ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &client) == LDAP_OPT_SUCCESS;
}

static bool
set_options(struct directory *d)
{
    const int version = LDAP_VERSION3, deref = LDAP_DEREF_NEVER;
    LDAP *ld = d->ld;

    d->on_connect =
        (struct ldap_conncb){.lc_add = on_connect, .lc_del = on_disconnect, .lc_arg = d};
    return ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_DEREF, &deref) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON) == LDAP_OPT_SUCCESS &&
           ldap_set_option(ld, LDAP_OPT_CONNECT_CB, &d->on_connect) == LDAP_OPT_SUCCESS;
}

static void
close_directory(struct directory **p)
{
    struct directory *d = *p;

    if (!d)
        return;
    d->deadline = GOODBYE_MS - limit_left(0);
    if (d->ld)
        ldap_unbind_ext_s(d->ld, NULL, NULL);
    free(d);
    *p = NULL;
}

static bool
is_encrypted(const char *uri)
{
    return strstr(uri, "ldaps://") != NULL;
}

/* NULL: what was wrong is an error code of libldap's in *code */
static struct directory *
open_plain(const struct directory_settings *s, int64_t deadline, int *code)
{
    struct directory *d = calloc(1, sizeof *d);

    *code = LDAP_NO_MEMORY;
    if (!d)
        return NULL;
    d->settings = s;
    *code = ldap_initialize(&d->ld, s->uri);
    if (*code == LDAP_SUCCESS && (!set_options(d) || !set_limits(d, deadline)))
        *code = LDAP_LOCAL_ERROR;
    if (*code == LDAP_SUCCESS && (s->starttls || is_encrypted(s->uri)) && !set_tls(d->ld, s))
        *code = LDAP_LOCAL_ERROR; /* a file of certificates that cannot be read, above all */
    if (*code != LDAP_SUCCESS)
        close_directory(&d);
    return d;
}

static struct directory *
open_directory(
    const struct directory_settings *s, int64_t deadline, char error[DIRECTORY_ERROR_MAX])
{
    int code;
    struct directory *d = open_plain(s, deadline, &code);

    if (!d) {
        fail_code(NULL, "setting up", code, error);
    } else if (s->starttls && (code = ldap_start_tls_s(d->ld, NULL, NULL)) != LDAP_SUCCESS) {
        fail_code(d, "STARTTLS", code, error);
        close_directory(&d);
    }
    return d; /* without STARTTLS it connects when it is first used */
}

/* ---- one request ---- */

/* The next message of the answer. NULL: none came in time, or the connection has ended. */
static LDAPMessage *
await(struct directory *d, int id, int64_t deadline, const char *what, char *error)
{
    struct timeval left = time_left(deadline);
    LDAPMessage *message = NULL;
    int got = 0, code = LDAP_SERVER_DOWN;

    if (limit_left(deadline) > 0) /* what never ends may always have something ready */
        got = ldap_result(d->ld, id, LDAP_MSG_ONE, &left, &message);
    if (got > 0)
        return message;
    if (got == 0)
        code = LDAP_TIMEOUT;
    else
        ldap_get_option(d->ld, LDAP_OPT_RESULT_CODE, &code);
    fail_code(d, what, code, error);
    return NULL;
}

/* What a final message says: a code of the directory, or one of libldap's when it cannot be read. */
static int
verdict(struct directory *d, LDAPMessage *message)
{
    int code = LDAP_DECODING_ERROR;
    int result = ldap_parse_result(d->ld, message, &code, NULL, NULL, NULL, NULL, 1);

    return result == LDAP_SUCCESS ? code : result;
}

/* Codes that mean: not with this name and password. All others but success are trouble. */
static bool
is_refusal(int code)
{
    static const int refusals[] = {
        LDAP_INVALID_CREDENTIALS, LDAP_NO_SUCH_OBJECT, /* of a template */
        LDAP_INVALID_DN_SYNTAX,                        /* bytes that are no UTF-8, in a template */
        LDAP_INAPPROPRIATE_AUTH,                       /* an entry without a password */
        LDAP_INSUFFICIENT_ACCESS,                      /* it may not log in */
        LDAP_CONSTRAINT_VIOLATION,                     /* locked after too many failures */
        LDAP_UNWILLING_TO_PERFORM,                     /* disabled, expired */
    };

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (code == refusals[i])
            return true;
    return false;
}

/* A simple bind. TROUBLE also where it was refused: *refused tells. */
static enum directory_status
bind_as(struct directory *d, const char *dn, const char *password, int64_t deadline, bool *refused,
    char *error)
{
    size_t n = strlen(password);
    char *copy = strdup(password); /* the interface knows no const */
    struct berval credentials = {.bv_len = n, .bv_val = copy};
    LDAPMessage *message = NULL;
    int id, code = LDAP_NO_MEMORY;

    *refused = false;
    if (copy && set_limits(d, deadline))
        code = ldap_sasl_bind(d->ld, dn, LDAP_SASL_SIMPLE, &credentials, NULL, NULL, &id);
    if (copy)
        explicit_bzero(copy, n);
    free(copy);
    if (code == LDAP_SUCCESS) {
        message = await(d, id, deadline, "bind", error);
        if (!message)
            return DIRECTORY_TROUBLE;
        code = verdict(d, message);
    }
    *refused = message && is_refusal(code);
    return code == LDAP_SUCCESS ? DIRECTORY_YES : fail_code(d, "bind", code, error);
}

static enum directory_status
bind_user(struct directory *d, const char *dn, const char *password, int64_t deadline,
    char error[DIRECTORY_ERROR_MAX])
{
    bool refused = false;
    enum directory_status status;

    if (!*dn || !*password)
        return DIRECTORY_NO;
    status = bind_as(d, dn, password, deadline, &refused, error);
    return refused ? DIRECTORY_NO : status;
}

/* ---- the search ---- */

/* false: it has no name that fits */
static bool
copy_dn(struct directory *d, LDAPMessage *entry, char out[DIRECTORY_DN_MAX])
{
    char *dn = ldap_get_dn(d->ld, entry);
    bool good = dn && *dn && strlen(dn) < DIRECTORY_DN_MAX;

    if (good)
        snprintf(out, DIRECTORY_DN_MAX, "%s", dn);
    ldap_memfree(dn);
    return good;
}

/* Entries, references, and in the end the result. */
static enum directory_status
read_answer(struct directory *d, int id, char dn[DIRECTORY_DN_MAX], int64_t deadline, char *error)
{
    int entries = 0, code;

    for (;;) {
        LDAPMessage *message = await(d, id, deadline, "search", error);
        bool good = true;

        if (!message)
            return DIRECTORY_TROUBLE;
        if (ldap_msgtype(message) == LDAP_RES_SEARCH_RESULT) {
            code = verdict(d, message);
            break;
        }
        if (ldap_msgtype(message) == LDAP_RES_SEARCH_ENTRY && ++entries == 1)
            good = copy_dn(d, message, dn);
        ldap_msgfree(message);
        if (!good)
            return fail("search", "an entry with an impossible name", error);
        if (entries > 1)
            return fail("search", "more than one entry is called so", error);
    }
    if (code != LDAP_SUCCESS)
        return fail_code(d, "search", code, error);
    return entries == 1 ? DIRECTORY_YES : DIRECTORY_NO;
}

static enum directory_status
find(struct directory *d, const char *filter, char dn[DIRECTORY_DN_MAX], int64_t deadline,
    char error[DIRECTORY_ERROR_MAX])
{
    static char no_attributes[] = LDAP_NO_ATTRS;
    char *attributes[] = {no_attributes, NULL};
    const struct directory_settings *s = d->settings;
    struct timeval left;
    bool refused;
    int id, code;

    /* Whoever was bound before: now it is who searches. */
    if (bind_as(d, s->bind_dn ? s->bind_dn : "", s->bind_dn ? s->bind_password : "", deadline,
            &refused, error) != DIRECTORY_YES)
        return DIRECTORY_TROUBLE;
    left = time_left(deadline);
    code = ldap_search_ext(
        d->ld, s->base, LDAP_SCOPE_SUBTREE, filter, attributes, 0, NULL, NULL, &left, 2, &id);
    if (code != LDAP_SUCCESS)
        return fail_code(d, "search", code, error);
    return read_answer(d, id, dn, deadline, error);
}

QP_LATE_PART(struct directory_calls, .open = open_directory, .find = find, .bind = bind_user,
    .close = close_directory);
