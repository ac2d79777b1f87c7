#include "smtp/settings.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

#define TIMEOUT_DEFAULT  1200  /* seconds; qmail-smtpd's */
#define MEMORY_THRESHOLD 65536 /* bytes of body that need no file: most mail is smaller */

struct loader {
    struct context *context;
    struct arena *arena;
    struct err *e;
};

/* First line of a file: OK with *line NULL when there is none. false: the file cannot be read. */
static bool
first_line(const struct loader *l, const char *name, const struct qp_line **line)
{
    struct config_value v;

    *line = NULL;
    switch (hook_config(l->context, name, &v, l->e)) {
    case CONFIG_BROKEN:
        return false;
    case CONFIG_OK:
        *line = v.n ? &v.line[0] : NULL;
        break;
    case CONFIG_ABSENT:
        break;
    }
    return true;
}

static bool
load_text(const struct loader *l, const char *name, const char **out)
{
    const struct qp_line *line;

    if (!first_line(l, name, &line))
        return false;
    if (line)
        *out = arena_dup(l->arena, str_of(line->text));
    return true;
}

/* A number that the engine made up: garbage refuses the start. */
static bool
load_number(const struct loader *l, const char *name, uint64_t max, uint64_t *out)
{
    const struct qp_line *line;

    if (!first_line(l, name, &line))
        return false;
    if (line && !str_number(str_of(line->text), max, out))
        return err_set(l->e, "%s:%u: \"%s\" is no number from 0 to %llu", line->file, line->number,
            line->text, (unsigned long long)max);
    return true;
}

static bool
load_bool(const struct loader *l, const char *name, bool *out)
{
    uint64_t n = *out;

    if (!load_number(l, name, 1, &n))
        return false;
    *out = n;
    return true;
}

/* A number that qmail reads too: it takes garbage for "not there", so it must not stop the mail. */
static bool
load_qmail_number(const struct loader *l, const char *name, uint64_t max, uint64_t *out)
{
    const struct qp_line *line;

    if (!first_line(l, name, &line))
        return false;
    if (line && !str_number(str_of(line->text), max, out))
        log_at(LOG_LEVEL_WARN, "%s:%u: \"%s\" is no number up to %llu: ignored", line->file,
            line->number, line->text, (unsigned long long)max);
    return true;
}

static bool
load_newlines(const struct loader *l, enum data_newlines *out)
{
    static const char *const words[] = {
        [DATA_REJECT] = "reject", [DATA_NORMALIZE] = "normalize", [DATA_LEGACY] = "legacy"};
    const struct qp_line *line;

    if (!first_line(l, "bare_newlines", &line))
        return false;
    for (size_t i = 0; line && i < sizeof words / sizeof *words; i++)
        if (str_ieq(str_of(line->text), str_of(words[i]))) {
            *out = (enum data_newlines)i;
            return true;
        }
    return !line || err_set(l->e, "%s:%u: \"%s\" is none of: reject normalize legacy", line->file,
                        line->number, line->text);
}

static bool
load_timeouts(const struct loader *l, struct settings *s)
{
    uint64_t data = 0, command = 0; /* 0 is "not set", as in qpsmtpd */

    if (!load_qmail_number(l, "timeout", 1000000, &data) ||
        !load_qmail_number(l, "timeoutsmtpd", 1000000, &command))
        return false;
    if (!data)
        data = command ? command : TIMEOUT_DEFAULT;
    if (!command)
        command = data;
    s->data_timeout_ms = (int64_t)data * 1000;
    s->command_timeout_ms = (int64_t)command * 1000;
    return true;
}

static bool
load_names(const struct loader *l, struct settings *s)
{
    char host[256] = "";

    s->me = s->local_host = NULL;
    if (!load_text(l, "me", &s->me) || !load_text(l, "localiphost", &s->local_host) ||
        !load_text(l, "smtpgreeting", &s->greeting))
        return false;
    if (!s->local_host)
        s->local_host = s->me;
    if (!s->me) {
        gethostname(host, sizeof host - 1);
        s->me = arena_dup(l->arena, str_of(*host ? host : "localhost"));
    }
    s->authres_id = s->me;
    if (!load_text(l, "me-auth-results", &s->authres_id))
        return false;
    if (str_ieq(str_of(s->authres_id), STR("none")))
        s->authres_id = NULL;
    return true;
}

/* ---- AUTH ---- */

bool
settings_mechanism_char(char c)
{
    return ascii_digit(c) || c == '-' || c == '_' || (c >= 'A' && c <= 'Z');
}

/* A copy in upper case; NULL: no name of a mechanism. */
static const char *
mechanism_name(struct arena *a, struct str word)
{
    char *name = arena_dup(a, word);

    for (char *p = name; *p; p++) {
        if (ascii_alnum(*p) && !ascii_digit(*p))
            *p = (char)(*p & ~0x20);
        if (!settings_mechanism_char(*p))
            return NULL;
    }
    return word.n <= SETTINGS_MECHANISM_MAX ? name : NULL;
}

#define MECHANISMS_MAX 16

static bool
load_mechanisms(const struct loader *l, struct settings *s)
{
    static const char *const usual[] = {"PLAIN", "LOGIN", "CRAM-MD5", NULL};
    const char **names = arena_alloc(l->arena, (MECHANISMS_MAX + 1) * sizeof *names);
    struct config_value v = {0};
    size_t n = 0;

    if (hook_config(l->context, "auth_mechanisms", &v, l->e) == CONFIG_BROKEN)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        struct str rest = str_of(v.line[i].text);

        for (struct str word = str_word(&rest); word.n; word = str_word(&rest)) {
            if (n == MECHANISMS_MAX || !(names[n++] = mechanism_name(l->arena, word)))
                return err_set(l->e,
                    "%s:%u: \"%.*s\" is no SASL mechanism, or one too many: write PLAIN, LOGIN, "
                    "CRAM-MD5, SCRAM-SHA-256 or the like",
                    v.line[i].file, v.line[i].number, STR_ARG(word));
        }
    }
    s->auth_mechanisms = n ? names : usual;
    return true;
}

static bool
load_auth(const struct loader *l, struct settings *s)
{
    uint64_t delay = 1;

    s->received_auth_user = true;
    s->max_auth_failures = 3;
    if (!load_mechanisms(l, s) || !load_bool(l, "tls_before_auth", &s->tls_before_auth) ||
        !load_bool(l, "received_auth_user", &s->received_auth_user) ||
        !load_number(l, "max_auth_failures", 1000, &s->max_auth_failures) ||
        !load_number(l, "auth_failure_delay", 60, &delay))
        return false;
    s->auth_failure_delay_ms = (int64_t)delay * 1000;
    return true;
}

static bool
load_tls_ports(const struct loader *l, struct settings *s)
{
    struct config_value v = {0};
    int *ports;

    if (hook_config(l->context, "tls_ports", &v, l->e) == CONFIG_BROKEN)
        return false;
    ports = arena_alloc(l->arena, v.n * sizeof *ports);
    for (size_t i = 0; i < v.n; i++) {
        uint64_t port;

        if (!str_number(str_of(v.line[i].text), 65535, &port) || port == 0)
            return err_set(l->e, "%s:%u: \"%s\" is no port: one number from 1 to 65535 a line",
                v.line[i].file, v.line[i].number, v.line[i].text);
        ports[i] = (int)port;
    }
    s->tls_ports = ports;
    s->tls_ports_n = v.n;
    return true;
}

static bool
load_tls(const struct loader *l, struct settings *s)
{
    uint64_t timeout = 30;

    if (!load_tls_ports(l, s) || !load_number(l, "tls_timeout", 3600, &timeout))
        return false;
    s->tls_timeout_ms = (int64_t)(timeout ? timeout : 30) * 1000;
    return true;
}

/* ---- spool_dir ---- */

static const char *
home_of(const char *user)
{
    const struct passwd *pw = user && *user ? getpwnam(user) : getpwuid(geteuid());

    return pw ? pw->pw_dir : NULL;
}

/* "~/tmp" and "~user/tmp" as qpsmtpd knew them: $HOME, else $LOGDIR, else the password file. */
static const char *
expand_home(struct arena *a, const char *path)
{
    const char *home, *rest = path + strcspn(path, "/");
    const char *user = arena_dup(a, (struct str){path + 1, (size_t)(rest - path) - 1});

    home = *user ? home_of(user) : getenv("HOME");
    if (!home || !*home)
        home = *user ? NULL : getenv("LOGDIR");
    if (!home || !*home)
        home = home_of(user);
    return arena_printf(a, "%s%s", home ? home : "/nonexistent", rest);
}

/* ~/tmp is qpsmtpd's; who has no home of his own (nobody) spools in /tmp: the files have no names
 * there. */
static const char *
default_spool(struct arena *a)
{
    const char *dir = expand_home(a, "~/tmp");

    if (access(dir, W_OK | X_OK) == 0 || access(expand_home(a, "~/."), W_OK | X_OK) == 0)
        return dir;
    return "/tmp";
}

static bool
load_spool(const struct loader *l, struct settings *s)
{
    const struct qp_line *perms;
    uint64_t threshold = MEMORY_THRESHOLD;
    const char *dir = NULL;

    if (!load_text(l, "spool_dir", &dir) || !first_line(l, "spool_perms", &perms) ||
        !load_number(l, "size_threshold", 16 << 20, &threshold))
        return false;
    s->message.spool_perms = 0700;
    if (perms) {
        char *end;

        s->message.spool_perms = (unsigned)strtoul(perms->text, &end, 8);
        if (*end || !ascii_digit(perms->text[0]) || s->message.spool_perms > 07777)
            return err_set(l->e, "%s:%u: \"%s\" is no mode: octal digits, as for chmod(1)",
                perms->file, perms->number, perms->text);
    }
    if (!dir)
        s->message.spool_dir = default_spool(l->arena);
    else
        s->message.spool_dir = dir[0] == '~' ? expand_home(l->arena, dir) : dir;
    s->message.size_threshold = (size_t)threshold;
    return true;
}

bool
settings_load(struct settings *s, struct context *c, struct arena *a, struct err *e)
{
    struct loader l = {c, a, e};

    *s = (struct settings){.max_recipients = 1000, .max_hops = 100, .newlines = DATA_REJECT};
    return load_names(&l, s) && load_timeouts(&l, s) && load_spool(&l, s) &&
           load_qmail_number(&l, "databytes", UINT64_MAX, &s->message.max_bytes) &&
           load_number(&l, "max_recipients", 1000000, &s->max_recipients) &&
           load_number(&l, "max_hops", 1000000, &s->max_hops) && load_newlines(&l, &s->newlines) &&
           load_bool(&l, "require_angle_brackets", &s->require_brackets) &&
           load_bool(&l, "lenient_addresses", &s->lenient_addresses) && load_auth(&l, s) &&
           load_tls(&l, s) && load_bool(&l, "enhanced_status_codes", &s->enhanced);
}
