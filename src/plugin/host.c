#include "plugin/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "plugin/aliases.h"
#include "plugin/instance.h"

/* What qmail-smtpd does, for a site that has its control directory and nothing of ours. */
static const struct qp_line qmail_plugins[] = {
    {"check_relay", "(built in)", 1},
    {"check_badmailfrom", "(built in)", 2},
    {"rcpt_ok", "(built in)", 3},
    {"queue/qmail-queue", "(built in)", 4},
};

/* One line of `plugins` or `logging`, cut into words. */
struct entry {
    const struct qp_line *line;
    const char *const *argv; /* NULL at the end */
    int argc;
    const char
        *file; /* argv[0] without its :N, aliases resolved: path below the plugin directories */
};

static bool
is_plugin_name(struct str name)
{
    struct str rest = name;

    if (!name.n || name.p[0] == '/')
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_alnum(name.p[i]) && !strchr("_-./:", name.p[i]))
            return false;
    while (rest.n) {
        struct str component = str_cut(&rest, '/');

        if (!component.n || component.p[0] == '.')
            return false;
    }
    return true;
}

/* The name without ":N", which only tells instances of one file apart. */
static struct str
without_instance(struct str name)
{
    size_t colon = str_find(name, ':');
    uint64_t number;

    if (colon < name.n && str_number(str_from(name, colon + 1), UINT32_MAX, &number))
        name.n = colon;
    return name;
}

/* What is wrong with the line; NULL: nothing */
static const char *
find_fault(const struct qp_line *line)
{
    struct str rest = str_of(line->text), name = str_word(&rest), file = without_instance(name);

    for (const char *p = line->text; *p; p++)
        if (ascii_control(*p) && *p != '\t')
            return "control bytes in the line: remove them";
    if (!is_plugin_name(name))
        return "no plugin name: letters, digits, '_', '-' and '/' below the plugin directory";
    if (str_find(file, ':') < file.n)
        return "only a number may follow the colon (name:0, name:1)";
    return NULL;
}

/* Cut a line that find_fault() has passed. */
static struct entry
cut_line(struct host *h, const struct qp_line *line)
{
    struct str rest = str_of(line->text), file;
    const char **argv = arena_alloc(h->arena, (rest.n / 2 + 2) * sizeof *argv);
    int argc = 0;

    while (rest.n) {
        struct str word = str_word(&rest);

        if (word.n)
            argv[argc++] = arena_dup(h->arena, word);
    }
    file = without_instance(str_of(argv[0]));
    return (struct entry){line, argv, argc, alias_resolve(arena_dup(h->arena, file))};
}

/* ---- the shared object ---- */

static void
unload(void *handle)
{
    dlclose(handle);
}

/* Path of the plugin: NAME.so, then NAME, in the first directory that has it. NULL: nowhere. */
static const char *
find_object(struct host *h, const char *const dirs[], const char *file, const char **dir)
{
    static const char *const endings[] = {".so", ""};

    for (; *dirs; dirs++)
        for (size_t i = 0; i < 2; i++) {
            const char *path =
                arena_concat(h->arena, (const char *[]){*dirs, "/", file, endings[i], NULL});

            *dir = *dirs;
            if (access(path, F_OK) == 0 || errno == EACCES) /* dlopen(3) says what is in the way */
                return path;
        }
    return NULL;
}

static const char *
join(struct arena *a, const char *const words[])
{
    struct buf b;

    buf_init(&b, a, 400);
    for (size_t i = 0; words[i]; i++) {
        if (i)
            buf_puts(&b, ", ");
        buf_puts(&b, words[i]);
    }
    return b.n ? buf_text(&b) : "(no plugin directory)";
}

static const struct object *
object_before(const struct host *h, const char *path)
{
    for (size_t i = 0; h->before && i < h->before->n; i++)
        if (strcmp(h->before->instances[i]->object.path, path) == 0)
            return &h->before->instances[i]->object;
    return NULL;
}

/*
 * dlopen(3) goes by names: one that it knows it answers with the object that is loaded, though
 * another file has taken its place since. So the new file gets the other of two names for the same
 * place, DIR/x.so and DIR/./x.so, while the old one is still in use.
 */
static struct object
name_object(struct host *h, const char *path)
{
    const struct object *before = object_before(h, path);
    struct object o = {.path = path, .name = path};
    bool dotted = before && strcmp(before->name, path) != 0;
    const char *base = strrchr(path, '/') + 1; /* find_object() has put one there */
    struct stat st;

    if (h->serves_many && stat(path, &st) == 0) { /* else dlopen(3) will say why */
        o.dev = st.st_dev;
        o.ino = st.st_ino;
    }
    if (before && (before->dev != o.dev || before->ino != o.ino))
        dotted = !dotted;
    if (dotted)
        o.name = arena_printf(h->arena, "%.*s./%s", (int)(base - path), path, base);
    return o;
}

/* What the object at that path exports; NULL: see e. */
static const struct qp_plugin *
open_object(struct host *h, const char *path, const struct entry *entry, struct instance *instance,
    struct err *e)
{
    const struct qp_line *at = entry->line;
    const struct qp_plugin *exported = NULL;
    void *handle;

    instance->object = name_object(h, path);
    handle = dlopen(instance->object.name, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        err_set(e, "%s:%u: plugin %s cannot be loaded: %s", at->file, at->number, entry->argv[0],
            dlerror());
        return NULL;
    }
    if (h->serves_many) /* one that ends with its client leaves that to the kernel */
        arena_at_reset(h->arena, unload, handle); /* before init: runs after what init registers */
    exported = dlsym(handle, "qp_plugin");
    if (!exported)
        err_set(e, "%s:%u: %s is no plugin: it does not export qp_plugin (QP_PLUGIN)", at->file,
            at->number, path);
    return exported;
}

/* Load the object and copy its constant; what an older plugin does not know yet stays NULL. */
static bool
load_object(struct host *h, const char *const dirs[], const struct entry *entry,
    struct instance *instance, struct err *e)
{
    const struct qp_line *at = entry->line;
    const char *dir, *path = find_object(h, dirs, entry->file, &dir);
    const struct qp_plugin *exported;

    if (!path)
        return err_set(e, "%s:%u: plugin %s not found in our plugin dirs (%s)", at->file,
            at->number, entry->argv[0], join(h->arena, dirs));
    exported = h->serves_many ? NULL : standard_find(&h->standard, h->arena, dir, path);
    if (exported)
        instance->object = (struct object){.path = path, .name = path};
    else
        exported = open_object(h, path, entry, instance, e);
    if (!exported)
        return false;
    if (exported->abi != QP_ABI)
        return err_set(e, "%s:%u: %s was built for plugin ABI %u, this is ABI %u: compile it again",
            at->file, at->number, path, exported->abi, (unsigned)QP_ABI);
    if (exported->size < offsetof(struct qp_plugin, init))
        return err_set(e, "%s:%u: %s exports a qp_plugin of %u bytes: compile it again", at->file,
            at->number, path, exported->size);
    memcpy(&instance->plugin, exported,
        exported->size < sizeof instance->plugin ? exported->size : sizeof instance->plugin);
    return true;
}

/* ---- instances and chains ---- */

static void
chain_add(struct host *h, enum hook hook, struct instance *instance)
{
    struct chain *c = &h->chains[hook];
    struct instance **longer = arena_alloc(h->arena, (c->n + 1) * sizeof *longer);

    if (c->n)
        memcpy(longer, c->handler, c->n * sizeof *longer);
    longer[c->n++] = instance;
    c->handler = longer;
}

static void
register_instance(struct host *h, struct instance *instance)
{
    const struct qp_plugin *p = &instance->plugin;

    if (h->n == h->room) {
        size_t room = h->room ? 2 * h->room : 16;
        struct instance **more = arena_alloc(h->arena, room * sizeof(struct instance *));

        if (h->n)
            memcpy(more, h->instances, h->n * sizeof(struct instance *));
        h->instances = more;
        h->room = room;
    }
    instance->index = h->n;
    h->instances[h->n++] = instance;
#define X(constant, member, name, shape)                                                           \
    if (p->member)                                                                                 \
        chain_add(h, HOOK_##constant, instance);
    HOOK_LIST(X)
#undef X
}

static bool
init_instance(struct host *h, struct instance *instance, const struct entry *entry, struct err *e)
{
    struct hook_result ignored = {.rc = QP_DECLINED, .text = ""};
    struct failure failure = {{""}, false};
    struct qp q = {&h->idle, instance, HOOK_NONE, &ignored, &failure, NULL};
    bool ok = true;

    if (instance->plugin.init) {
        hooks_enter(h, instance, HOOK_NONE);
        ok = instance->plugin.init(&q, entry->argc, entry->argv);
        hooks_leave(h, NULL, HOOK_NONE);
    } else if (entry->argc > 1) {
        ok = err_set(&failure.err, "takes no argument, got \"%s\"", entry->argv[1]);
    }
    /* qp_fail() wins over a forgotten `return false`: a plugin that complained does not run. */
    if (ok && !*failure.err.text)
        return true;
    if (failure.placed)
        return err_set(e, "%s", failure.err.text);
    return err_set(e, "%s:%u: %s: %s", entry->line->file, entry->line->number, instance->name,
        *failure.err.text ? failure.err.text : "does not start (it gave no reason)");
}

static bool
load_line(struct host *h, const char *const dirs[], const struct qp_line *line, struct err *e)
{
    struct instance *instance = arena_alloc(h->arena, sizeof *instance);
    const char *fault = find_fault(line);
    struct entry entry;

    if (fault)
        return err_set(e, "%s:%u: \"%s\": %s", line->file, line->number, line->text, fault);
    entry = cut_line(h, line);
    if (!load_object(h, dirs, &entry, instance, e))
        return false;
    instance->name = entry.argv[0];
    snprintf(instance->activity_name, sizeof instance->activity_name, "%s", instance->name);
    instance->line = line;
    instance->log_absolute = -1;
    instance->log_wants = LOG_LEVEL_DEBUG;
    if (!init_instance(h, instance, &entry, e))
        return false;
    register_instance(h, instance);
    return true;
}

static bool
load_lines(struct host *h, const char *const dirs[], struct config_value lines, struct err *e)
{
    for (size_t i = 0; i < lines.n; i++)
        if (!load_line(h, dirs, &lines.line[i], e))
            return false;
    return true;
}

/* ---- which directories, which lines ---- */

static const char *const *
plugin_dirs(struct host *h, const struct host_options *o, struct err *e)
{
    struct config_value lines;
    const char **dirs;

    if (o->plugin_dirs && o->plugin_dirs[0])
        return o->plugin_dirs;
    switch (config_get(h->config, "plugin_dirs", &lines, e)) {
    case CONFIG_BROKEN:
        return NULL;
    case CONFIG_ABSENT:
        return o->default_dirs;
    case CONFIG_OK:
        break;
    }
    if (!lines.n) /* comments only, as in config.sample */
        return o->default_dirs;
    dirs = arena_alloc(h->arena, (lines.n + 1) * sizeof *dirs);
    for (size_t i = 0; i < lines.n; i++)
        dirs[i] = lines.line[i].text;
    return dirs;
}

static bool
load_all(struct host *h, const struct host_options *o, struct err *e)
{
    const char *const *dirs = plugin_dirs(h, o, e);
    struct config_value logging = {0}, plugins = {0};
    enum config_status status;

    if (!dirs || config_get(h->config, "logging", &logging, e) == CONFIG_BROKEN)
        return false;
    status = config_get(h->config, "plugins", &plugins, e);
    if (status == CONFIG_BROKEN)
        return false;
    if (status == CONFIG_ABSENT && o->qmail_defaults)
        plugins =
            (struct config_value){qmail_plugins, sizeof qmail_plugins / sizeof *qmail_plugins};
    return load_lines(h, dirs, logging, e) && load_lines(h, dirs, plugins, e);
}

struct host *
host_open(struct config *config, const struct host_options *options, struct err *e)
{
    struct arena *a = arena_open("plugins");
    struct host *h = arena_alloc(a, sizeof *h);

    h->arena = a;
    h->config = config;
    h->before = options->before;
    h->scratch = arena_open_small("outside of sessions", 2048);
    h->idle = (struct context){.host = h, .config = config, .command = h->scratch, .me = ""};
    h->running_hook = HOOK_NONE;
    h->activity = options->activity;
    h->serves_many = options->serves_many;
    h->open_as_root = options->open_as_root;
    h->open_as_root_data = options->open_as_root_data;
    h->dns = options->dns;
    h->dns_hook_timeout_ms = options->dns_hook_timeout_ms;
    if (!load_all(h, options, e)) {
        host_close(&h);
        return NULL;
    }
    h->before = NULL;
    h->results = h->first_results;
    if (h->n * HOOK_COUNT > sizeof h->first_results)
        h->results = arena_alloc(a, h->n * HOOK_COUNT);
    return h;
}

void
host_close(struct host **h)
{
    struct arena *a, *scratch;

    if (!*h)
        return;
    hooks_log_detach(*h);
    a = (*h)->arena;
    scratch = (*h)->scratch;
    *h = NULL;
    arena_close(&a);
    arena_close(&scratch);
}

void
host_activity_set(struct host *h, struct activity *a)
{
    h->activity = a;
}

void
host_encrypted(struct host *h)
{
    if (h->activity)
        h->activity->encrypted = 1;
}

void
host_child_init(struct host *h)
{
    for (size_t i = 0; i < h->n; i++) {
        struct instance *instance = h->instances[i];
        struct hook_result ignored = {.rc = QP_DECLINED, .text = ""};
        struct qp q = {&h->idle, instance, HOOK_NONE, &ignored, NULL, NULL};

        if (instance->plugin.child_init) {
            hooks_enter(h, instance, HOOK_NONE);
            instance->plugin.child_init(&q);
            hooks_leave(h, NULL, HOOK_NONE);
        }
    }
    arena_reset(h->scratch);
}

struct dns *
host_dns(const struct host *h)
{
    return h->dns;
}

size_t
host_count(const struct host *h)
{
    return h->n;
}
