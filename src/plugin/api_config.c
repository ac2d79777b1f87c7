/*
 * Configuration files and tables as plugins see them: <qpsmtpd/config.h>.
 */
#include <qpsmtpd/plugin.h>

#include <assert.h>

#include "conf/list.h"
#include "plugin/instance.h"

/* Opened in init; once more, as text, when a compiled list turns out to be damaged. */
struct opened {
    struct table *table;
    bool again;
};

struct qp_table {
    struct opened *opened;
    const char *name;
    enum table_match kind;
};

static_assert((int)QP_MATCH_IP == (int)TABLE_IP && (int)QP_MATCH_EXACT == (int)TABLE_EXACT,
    "conf/table matches as <qpsmtpd/config.h> promises");
static_assert((int)QP_TROUBLE == (int)TABLE_BROKEN, "and answers so");

/* What hooks have answered lives as long as the command; plugins were promised more. */
static struct qp_lines
keep(struct qp *q, struct config_value v, bool answered)
{
    struct arena *a = scope_arena(q, q->failure ? QP_INSTANCE : QP_CONNECTION);
    struct qp_line *copy;

    if (!answered || !v.n)
        return (struct qp_lines){v.n, v.line};
    copy = arena_alloc(a, v.n * sizeof *copy);
    for (size_t i = 0; i < v.n; i++) {
        copy[i] = v.line[i];
        copy[i].text = arena_dup(a, str_of(v.line[i].text));
    }
    return (struct qp_lines){v.n, copy};
}

struct qp_lines
qp_config_lines(struct qp *q, const char *name)
{
    struct config_value v;
    struct err e;

    switch (hook_config(q->context, name, &v, &e)) {
    case CONFIG_OK:
        return keep(q, v, hook_used(q->context->host, HOOK_CONFIG));
    case CONFIG_BROKEN:
        qp_fail(q, "%s", e.text);
        break;
    case CONFIG_ABSENT:
        break;
    }
    return (struct qp_lines){0, NULL};
}

const char *
qp_config(struct qp *q, const char *name)
{
    struct qp_lines lines = qp_config_lines(q, name);

    return lines.n ? lines.line[0].text : NULL;
}

bool
qp_config_true(struct qp *q, const char *name)
{
    const char *text = qp_config(q, name);

    return text && *text && strcmp(text, "0") != 0;
}

struct qp_lines
qp_config_for(struct qp *q, const struct qp_address *user, const char *name)
{
    struct host *h = q->context->host;
    struct config_lines answer = {.arena = q->context->command};
    struct hook_args args = {.text = name, .address = user, .answer = &answer};

    if (hook_used(h, HOOK_USER_CONFIG) && !h->configuring) {
        struct hook_result r;

        h->configuring = true;
        r = hook_run(q->context, HOOK_USER_CONFIG, &args);
        h->configuring = false;
        if (r.rc == QP_OK)
            return keep(q, (struct config_value){answer.line, answer.n}, true);
    }
    return qp_config_lines(q, name);
}

void
qp_config_answer(struct qp *q, const char *text)
{
    struct config_lines *a = q->answer;

    if (!a) {
        log_at(LOG_LEVEL_ERROR, "qp_config_answer() is for the hooks config and user_config");
        return;
    }
    if (a->n == a->room) {
        size_t room = a->room ? 2 * a->room : 8;
        struct qp_line *more = arena_alloc(a->arena, room * sizeof *more);

        if (a->n)
            memcpy(more, a->line, a->n * sizeof *more);
        a->line = more;
        a->room = room;
    }
    a->line[a->n] = (struct qp_line){
        arena_dup(a->arena, str_trim(str_of(text))), "hook config", (unsigned)a->n + 1};
    a->n++;
}

/* ---- tables ---- */

/* The lines become a table of the host, as the instance may borrow them from the file. */
static struct table *
table_of(struct qp *q, enum table_match kind, struct config_value lines)
{
    const struct qp_line *bad = NULL;
    struct err e;
    struct table *t = table_new(q->context->host->arena, kind, lines, &bad, &e);

    if (!t)
        qp_fail_at(q, bad, "%s", e.text);
    return t;
}

static struct table *
open_text(struct qp *q, const char *name, enum table_match kind, enum list_use use)
{
    struct config_value lines;
    struct err e;

    if (list_text(q->context->config, q->context->host->arena, name, use, &lines, &e))
        return table_of(q, kind, lines);
    qp_fail(q, "%s", e.text);
    return NULL;
}

static struct table *
open_list(struct qp *q, const char *name, enum table_match kind, enum list_use use)
{
    struct table *t = NULL;
    struct err e;

    switch (list_open(q->context->config, q->context->host->arena, kind, name, use, &t, &e)) {
    case LIST_TABLE:
        break;
    case LIST_TEXT:
        return open_text(q, name, kind, use);
    case LIST_BROKEN:
        qp_fail(q, "%s", e.text);
        return NULL;
    }
    return t;
}

const struct qp_table *
qp_table_open(struct qp *q, const char *name, enum qp_match kind)
{
    struct arena *a = q->context->host->arena;
    struct qp_table *t = arena_alloc(a, sizeof *t);
    struct config_value lines;

    t->opened = arena_alloc(a, sizeof *t->opened);
    t->name = arena_dup(a, str_of(name));
    t->kind = (enum table_match)kind;
    if (list_base(name).n == strlen(name) && hook_config_answer(q->context, name, &lines)) {
        struct qp_lines kept = keep(q, lines, true);

        lines = (struct config_value){kept.line, kept.n};
        t->opened->table = table_of(q, t->kind, lines);
    } else {
        t->opened->table = open_list(q, name, t->kind, LIST_ANY);
    }
    return t->opened->table ? t : NULL;
}

/* What a compiled list was made of is asked, once, when the list turns out to be damaged. */
static bool
open_again(struct qp *q, const struct qp_table *t)
{
    struct table *fresh;

    if (t->opened->again || !table_header(t->opened->table))
        return false;
    t->opened->again = true;
    fresh = open_list(q, t->name, t->kind, LIST_NO_MPH);
    if (fresh)
        t->opened->table = fresh;
    return fresh != NULL;
}

enum qp_lookup
qp_table_find(struct qp *q, const struct qp_table *t, const char *key, const char **value)
{
    struct arena *scratch = scope_arena(q, QP_TRANSACTION);
    enum table_status found = table_find(t->opened->table, key, scratch, value);

    if (found == TABLE_BROKEN && open_again(q, t))
        found = table_find(t->opened->table, key, scratch, value);
    if (found == TABLE_BROKEN)
        log_at(LOG_LEVEL_ERROR, "%s is damaged: build it again", t->name);
    return (enum qp_lookup)found;
}

bool
qp_table_has(struct qp *q, const struct qp_table *t, const char *key)
{
    return qp_table_find(q, t, key, NULL) == QP_FOUND;
}

size_t
qp_table_count(const struct qp_table *t)
{
    return table_count(t->opened->table);
}
