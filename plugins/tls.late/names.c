/*
 * One certificate for each name: tls_certs/NAME.crt and NAME.key, chosen by what the client asks for
 * (SNI, RFC 6066, 3). The name is hostile: it becomes part of a path only when it is a host name.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "openssl.h"

#define PATH_ROOM 4096

/* Lower case into out, which has room for n and a NUL; false: not a host name. */
static bool
host_name(const char *name, size_t n, char *out)
{
    if (n == 0 || n > TLS_NAME_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c | 0x20);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
                (c == '.' && name[i + 1] != '.')))
            return false;
        out[i] = c;
    }
    out[n] = '\0';
    return true;
}

/* The pairs DIR/NAME.crt, .key and DIR/NAME.ecdsa.crt, .key. Texts are malloc'ed: names_pair_free. */
static char *
path_of(const char *dir, const char *name, const char *ending)
{
    char path[PATH_ROOM];
    int n = snprintf(path, sizeof path, "%s/%s%s", dir, name, ending);

    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0 ? strdup(path) : NULL;
}

/* NULL: see why, which is "" when there are no such files. */
static SSL_CTX *
context_of(struct qp *q, const struct tls_server *server, const char *name, char *why, size_t size)
{
    const char *dir = server->settings.names;
    char *file[] = {path_of(dir, name, ".crt"), path_of(dir, name, ".key"),
        path_of(dir, name, ".ecdsa.crt"), path_of(dir, name, ".ecdsa.key")};
    const struct tls_pair pair[TLS_PAIRS] = {
        {file[0], file[1]}, {file[3] ? file[2] : NULL, file[3]}};
    SSL_CTX *context = NULL;

    *why = '\0';
    if (file[0] && file[1])
        context = tls_context(q, server, pair, why, size);
    else if (file[0] || file[1])
        snprintf(why, size, "%s/%s: .crt and .key are not both there", dir, name);
    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        free(file[i]);
    return context;
}

/* ---- all of them ---- */

static int
compare(const void *a, const void *b)
{
    return strcmp(((const struct tls_name *)a)->name, ((const struct tls_name *)b)->name);
}

static bool
add(struct qp *q, struct tls_server *server, const char *name, char *why, size_t size)
{
    struct tls_name one = {strdup(name), context_of(q, server, name, why, size)};

    if (one.name && one.context && server->n_names == server->room) {
        size_t room = server->room ? 2 * server->room : 16;
        struct tls_name *more = realloc(server->name, room * sizeof *more);

        if (more) {
            server->name = more;
            server->room = room;
        }
    }
    if (!one.name || !one.context || server->n_names == server->room) {
        SSL_CTX_free(one.context);
        free((void *)(uintptr_t)one.name);
        return false;
    }
    server->name[server->n_names++] = one;
    return true;
}

/* NAME.crt, but not NAME.ecdsa.crt, which belongs to NAME. false: no file of ours */
static bool
name_of(const char *file, char out[TLS_NAME_MAX + 1])
{
    size_t n = strlen(file);
    bool domain = strncmp(file, "_.", 2) == 0;

    if (n <= 4 || strcmp(file + n - 4, ".crt") != 0 ||
        (n > 10 && strcmp(file + n - 10, ".ecdsa.crt") == 0))
        return false;
    if (!domain)
        return host_name(file, n - 4, out);
    if (n - 4 > TLS_NAME_MAX || !host_name(file + 2, n - 6, out + 2))
        return false;
    out[0] = '_';
    out[1] = '.';
    return true;
}

bool
tls_names_load(struct qp *q, struct tls_server *server, char *why, size_t size)
{
    DIR *dir;
    struct dirent *entry;
    char name[TLS_NAME_MAX + 1];
    bool good = true;

    if (!server->settings.many || !server->settings.names)
        return true;
    dir = opendir(server->settings.names);
    if (!dir)
        return tls_why(why, size, "%s: %s", server->settings.names, strerror(errno));
    while (good && (entry = readdir(dir)))
        if (name_of(entry->d_name, name))
            good = add(q, server, name, why, size);
    closedir(dir);
    if (good && server->n_names)
        qsort(server->name, server->n_names, sizeof *server->name, compare);
    return good;
}

void
tls_names_free(struct tls_server *server)
{
    for (size_t i = 0; i < server->n_names; i++) {
        SSL_CTX_free(server->name[i].context);
        free((void *)(uintptr_t)server->name[i].name);
    }
    free(server->name);
}

/* ---- the client's choice ---- */

/* An own reference, or NULL. Where the process serves one client, only what it asks for is read, and what
 * is wrong with it is seen only now. */
static SSL_CTX *
find(struct tls_client *client, const char *name)
{
    const struct tls_server *server = client->server;
    struct tls_name key = {name, NULL};
    SSL_CTX *context;
    char why[sizeof client->remark];

    if (server->settings.many) {
        const struct tls_name *found =
            server->n_names ? bsearch(&key, server->name, server->n_names, sizeof key, compare)
                            : NULL;

        if (found)
            SSL_CTX_up_ref(found->context);
        return found ? found->context : NULL;
    }
    if (!server->settings.names)
        return NULL;
    context = context_of(NULL, server, name, why, sizeof why);
    if (!context && *why)
        memcpy(client->remark, why, sizeof why);
    return context;
}

/* "_.example.org" for "mx.example.org"; false: it has no domain */
static bool
domain_of(const char *name, char out[TLS_NAME_MAX + 3])
{
    const char *dot = strchr(name, '.');

    if (!dot || !dot[1])
        return false;
    snprintf(out, TLS_NAME_MAX + 3, "_%s", dot);
    return true;
}

static int
choose(SSL *ssl, int *alert, void *data) /* NOLINT(readability-non-const-parameter) */
{
    struct tls_client *client = SSL_get_app_data(ssl);
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char domain[TLS_NAME_MAX + 3];
    SSL_CTX *context;

    (void)alert;
    (void)data;
    if (!asked || !client)
        return SSL_TLSEXT_ERR_NOACK;
    if (!host_name(asked, strlen(asked), client->name)) {
        client->name[0] = '\0';
        return SSL_TLSEXT_ERR_NOACK;
    }
    context = find(client, client->name);
    if (!context && domain_of(client->name, domain))
        context = find(client, domain);
    if (context) {
        SSL_set_SSL_CTX(ssl, context);
        SSL_CTX_free(context); /* ssl has its own reference */
    }
    return SSL_TLSEXT_ERR_OK;
}

void
tls_names_attach(SSL_CTX *context)
{
    SSL_CTX_set_tlsext_servername_callback(context, choose);
}
