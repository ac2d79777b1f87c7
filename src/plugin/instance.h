/*
 * plugin/instance - inside of the host: one line of config/plugins, one call of a handler
 *
 * Owns   the definitions that plugin/ shares among its own files; nobody else includes this
 */
#ifndef QPSMTPD_PLUGIN_INSTANCE_H
#define QPSMTPD_PLUGIN_INSTANCE_H

#include <sys/types.h>

#include "base/err.h"
#include "base/log.h"
#include "plugin/hooks.h"
#include "plugin/standard.h"

/* The file that an instance came from. */
struct object {
    const char *path;
    const char *name; /* by which dlopen(3) knows it: path, or another spelling of it */
    dev_t dev;
    ino_t ino;
};

struct instance {
    size_t index;                        /* in struct host */
    const char *name;                    /* first word of the line: check_relay:1 */
    char activity_name[ACTIVITY_PLUGIN]; /* the same, cut, as struct activity has it */
    struct qp_plugin
        plugin; /* a copy of what the .so exports; handlers that it is too old for are NULL */
    struct object object;
    const struct qp_line *line; /* where it was configured */
    void *data;                 /* qp_instance_set() */
    const void *late;           /* qp_late(); NULL: not loaded */
    bool reject_type_given;     /* among its arguments */
    int log_absolute;           /* -1, or the level of all its lines (argument loglevel) */
    int log_shift;
    enum log_level log_wants; /* as a logging plugin: the highest level it cares for */
};

struct chain {
    struct instance **handler;
    size_t n;
};

#define FIRST_RESULTS (24 * HOOK_COUNT)

struct host {
    struct arena *arena;
    struct config *config;
    const struct host *before;   /* while it is opened: whose place it takes, or NULL */
    struct instance **instances; /* in config order, those of `logging` first */
    size_t n, room;
    struct chain chains[HOOK_COUNT];
    struct activity *activity;
    struct arena *scratch; /* of `idle` */
    struct context idle;   /* for calls outside of a session */
    bool serves_many;
    struct standard standard;                          /* where the process serves one client */
    int (*open_as_root)(void *data, const char *path); /* NULL: nobody can */
    void *open_as_root_data;
    struct dns *dns; /* NULL: plugins cannot ask */
    int64_t dns_hook_timeout_ms;

    /* What sessions write stands side by side, since each page that a child writes is one more. */
    struct context *session;  /* that runs, for the logging hook; NULL: none */
    struct instance *running; /* whose handler is on the stack; NULL: none */
    enum hook running_hook;
    bool configuring;      /* a config hook runs: its own questions go to the files */
    int64_t dns_waited_ms; /* by the plugins of the hook that runs, all together */
    uint8_t *results;      /* n * HOOK_COUNT: what each has answered in this session, above
                              RESULT_NONE; 0 when it was not asked */
    uint8_t first_results[FIRST_RESULTS]; /* where they stand when that is enough */
};

#define RESULT_NONE 899 /* below the first of enum qp_rc */

/* Why init refuses. */
struct failure {
    struct err err;
    bool placed; /* err already begins with file and line */
};

/* What stands behind the opaque parameter of every handler. */
struct qp {
    struct context *context; /* conn and txn are NULL in init and child_init */
    struct instance *instance;
    enum hook hook;
    struct hook_result *result;  /* what the handler says besides its return value */
    struct failure *failure;     /* in init: set by qp_fail(); else NULL */
    struct config_lines *answer; /* in config hooks: qp_config_answer() */
};

struct config_lines {
    struct qp_line *line;
    size_t n, room;
    struct arena *arena;
};

/* hooks_log_attach, hooks_log_detach - let the plugins that have the hook `logging` take every line
 */
void hooks_log_attach(struct host *h);
void hooks_log_detach(struct host *h);

/* hooks_enter - a function of that instance is about to run: the log and the activity say so until
 * hooks_leave() tells what ran before */
void hooks_enter(struct host *h, struct instance *instance, enum hook hook);
void hooks_leave(struct host *h, struct instance *before, enum hook hook_before);

/* scope_arena - the arena behind a scope, as seen from this call */
struct arena *scope_arena(struct qp *q, enum qp_scope scope);

#endif
