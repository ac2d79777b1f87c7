#include "server/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define QMAIL_HOME "/var/qmail"

/* "" when the link cannot be read: /config and /plugins then, which is at least absolute */
static const char *
own_executable(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

    out[n > 0 ? n : 0] = '\0';
    return out;
}

static bool
is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Absolute and without links; a path that does not exist (yet) is taken from the working directory.
 */
static const char *
resolve(struct arena *a, const char *path)
{
    char real[PATH_MAX], cwd[PATH_MAX];

    if (realpath(path, real))
        return arena_dup(a, str_of(real));
    if (*path == '/' || !getcwd(cwd, sizeof cwd))
        return arena_dup(a, str_of(path));
    return arena_printf(a, "%s/%s", cwd, path);
}

static const char *
program_dir(struct arena *a, const char *argv0)
{
    char exe[PATH_MAX];
    const char *path = argv0 && strchr(argv0, '/') ? argv0 : own_executable(exe);
    const char *slash = strrchr(path, '/');

    if (!slash)
        return "";
    if (slash == path)
        return "/";
    return resolve(a, arena_dup(a, (struct str){path, (size_t)(slash - path)}));
}

static bool
resolve_given(
    struct arena *a, const char *option, const char *path, const char **out, struct err *e)
{
    *out = resolve(a, path);
    if (is_directory(*out))
        return true;
    if (access(*out, F_OK) == 0)
        errno = ENOTDIR;
    return err_sys(e, "--%s %s", option, path);
}

static const char *
env_or(const char *name, const char *fallback)
{
    const char *value = getenv(name);

    return value && *value ? value : fallback;
}

/* Our own directories, most special first; true when one of them exists. */
static bool
own_config_dirs(struct paths *p, size_t *n, struct arena *a, const char *program)
{
    const char *env = env_or("QPSMTPD_CONFIG", NULL);
    bool any = false;

    if (env)
        p->config_dirs[(*n)++] = resolve(a, env);
    p->config_dirs[(*n)++] = arena_printf(a, "%s/config", program);
#ifdef QPSMTPD_CONFIG_DIR
    p->config_dirs[(*n)++] = QPSMTPD_CONFIG_DIR;
#endif
    for (size_t i = 0; i < *n; i++)
        any |= is_directory(p->config_dirs[i]);
    return any;
}

static void
default_plugins(struct paths *p, struct arena *a, const char *program)
{
    const char *const candidates[] = {
        arena_printf(a, "%s/plugins", program),
#ifdef QPSMTPD_PLUGIN_DIR
        QPSMTPD_PLUGIN_DIR,
#endif
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        if (is_directory(candidates[i]))
            p->default_plugin_dirs[n++] = candidates[i];
}

bool
paths_find(
    struct paths *p, struct arena *a, const char *argv0, const struct options *o, struct err *e)
{
    const char *program = program_dir(a, argv0);
    const char *qmail = arena_printf(a, "%s/control", resolve(a, env_or("QMAIL", QMAIL_HOME)));
    size_t n = 0;
    bool own = true;

    *p = (struct paths){.qmail_defaults = false};
    if (!o->config_dir)
        own = own_config_dirs(p, &n, a, program);
    else if (!resolve_given(a, "config-dir", o->config_dir, &p->config_dirs[n++], e))
        return false;
    p->config_dirs[n] = qmail;
    p->qmail_defaults = !own && is_directory(qmail);
    for (size_t i = 0; o->plugin_dirs[i]; i++)
        if (!resolve_given(a, "plugin-dir", o->plugin_dirs[i], &p->plugin_dirs[i], e))
            return false;
    default_plugins(p, a, program);
    return true;
}
