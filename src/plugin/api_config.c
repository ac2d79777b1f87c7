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
    struct qp_lines lines; /* of text */
    bool again;
};

struct qp_table {
    struct opened *opened;
    const char *name;
    enum table_match kind;
    bool adds_dots; /* QP_MATCH_IP_DOT */
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

/* 192.0.2 and what may follow it: 192.0.2. */
static const char *
with_dot(struct arena *a, const char *line)
{
    size_t n = strspn(line, "0123456789."), dots = 0;

    for (size_t i = 0; i < n; i++)
        dots += line[i] == '.';
    if (n == 0 || line[n - 1] == '.' || dots > 2 || (line[n] && !strchr(" \t", line[n])))
        return line;
    return arena_printf(a, "%.*s.%s", (int)n, line, line + n);
}

static struct config_value
with_dots(struct arena *a, struct config_value lines)
{
    struct qp_line *copy = arena_alloc(a, (lines.n + 1) * sizeof *copy);

    for (size_t i = 0; i < lines.n; i++) {
        copy[i] = lines.line[i];
        copy[i].text = with_dot(a, copy[i].text);
    }
    return (struct config_value){copy, lines.n};
}

/* The lines become a table of the host, as the instance may borrow them from the file. */
static bool
table_of(struct qp *q, const struct qp_table *t, struct config_value lines)
{
    struct arena *a = q->context->host->arena;
    const struct qp_line *bad = NULL;
    struct table *fresh;
    struct err e;

    if (t->adds_dots)
        lines = with_dots(a, lines);
    fresh = table_new(a, t->kind, lines, &bad, &e);
    if (!fresh)
        return qp_fail_at(q, bad, "%s", e.text);
    t->opened->table = fresh;
    t->opened->lines = (struct qp_lines){lines.n, lines.line};
    return true;
}

/* Nothing of t has changed when the result is false. */
static bool
open_list(struct qp *q, const struct qp_table *t, enum list_use use)
{
    struct arena *a = q->context->host->arena;
    struct config_value lines;
    struct table *fresh;
    struct err e;

    switch (list_open(q->context->config, a, t->kind, t->name, use, &fresh, &e)) {
    case LIST_TABLE:
        t->opened->table = fresh;
        return true;
    case LIST_TEXT:
        if (list_text(q->context->config, a, t->name, use, &lines, &e))
            return table_of(q, t, lines);
        break;
    case LIST_BROKEN:
        break;
    }
    return qp_fail(q, "%s", e.text);
}

const struct qp_table *
qp_table_open(struct qp *q, const char *name, enum qp_match kind)
{
    struct arena *a = q->context->host->arena;
    struct qp_table *t = arena_alloc(a, sizeof *t);
    struct config_value lines;
    bool opened;

    t->opened = arena_alloc(a, sizeof *t->opened);
    t->name = arena_dup(a, str_of(name));
    t->adds_dots = kind == QP_MATCH_IP_DOT;
    t->kind = t->adds_dots ? TABLE_IP : (enum table_match)kind;
    if (list_base(name).n == strlen(name) && hook_config_answer(q->context, name, &lines)) {
        struct qp_lines kept = keep(q, lines, true);

        opened = table_of(q, t, (struct config_value){kept.line, kept.n});
    } else {
        opened = open_list(q, t, LIST_ANY);
    }
    return opened ? t : NULL;
}

/* What a compiled list was made of is asked, once, when the list turns out to be damaged. */
static bool
open_again(struct qp *q, const struct qp_table *t)
{
    if (t->opened->again || !table_header(t->opened->table))
        return false;
    t->opened->again = true;
    return open_list(q, t, LIST_NO_MPH);
}

enum qp_lookup
qp_table_find(struct qp *q, const struct qp_table *t, const char *key, const char **value)
{
    struct arena *scratch = q->context->command;
    enum table_status found = table_find(t->opened->table, key, scratch, value);

    if (found == TABLE_BROKEN && open_again(q, t))
        found = table_find(t->opened->table, key, scratch, value);
    if (found == TABLE_BROKEN)
        log_at(LOG_LEVEL_ERROR, "%s is damaged: build it again", t->name);
    if (value && *value)
        *value = arena_dup(scope_arena(q, QP_TRANSACTION), str_of(*value));
    return (enum qp_lookup)found;
}

bool
qp_table_has(struct qp *q, const struct qp_table *t, const char *key)
{
    return qp_table_find(q, t, key, NULL) == QP_FOUND;
}

struct qp_lines
qp_table_lines(const struct qp_table *t)
{
    return t->opened->lines;
}

size_t
qp_table_count(const struct qp_table *t)
{
    return table_count(t->opened->table);
}
