/*
 * plugin/badlist - the functions behind <qpsmtpd/badlist.h>
 *
 * Owns   the order of literal entries and patterns of a list that is text
 * Uses   the public API for it; conf/list and plugin/badlist_table for a list that is compiled
 * Keep   a lookup takes log2(n) comparisons and one match for each pattern, so lists may be long
 */
#include <qpsmtpd/badlist.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/regex.h>

#include "conf/list.h"
#include "plugin/badlist_table.h"
#include "plugin/instance.h"

struct item {
    struct qp_badlist_entry e;
    const struct qp_regex *regex; /* NULL: no pattern */
};

/* A list that is text. */
struct text {
    size_t n;
    struct item *line;          /* as in the file: what comes first has the lower address */
    const struct item **sorted; /* all, by entry; equal ones as in the file */
    size_t n_patterns;
    const struct item **pattern; /* those with a regex, as in the file */
};

/* Opened in init; once more, as text, when a compiled list turns out to be damaged. */
struct qp_badlist {
    const char *name;
    bool of_qmail; /* it has no patterns */
    struct opened {
        const struct text *text;
        const struct badlist_table *table; /* NULL: there is text */
        bool again;
    } * opened;
};

static int
compare(const void *a, const void *b)
{
    const struct item *x = *(const struct item *const *)a;
    const struct item *y = *(const struct item *const *)b;
    int order = strcmp(x->e.entry, y->e.entry);

    return order != 0 ? order : x < y ? -1 : x > y;
}

/* Matches nothing, as in qmail: no reason to refuse mail. */
static void
warn(struct qp *q, const struct qp_badlist *list, const struct qp_line *line, const char *entry)
{
    qp_log(q, QP_LOG_WARN, "%s:%u: \"%s\" is ignored: write user@host%s", line->file, line->number,
        entry,
        list->of_qmail ? " or @host for a whole domain"
                       : ", @host for a whole domain, or a pattern");
}

static bool
parse(struct qp *q, const struct qp_badlist *list, const struct qp_line *line, struct item *out)
{
    char *entry = qp_strdup(q, QP_INSTANCE, line->text);
    char *end = entry + strcspn(entry, " \t");
    const char *error;

    out->e.reason = end + strspn(end, " \t");
    *end = '\0';
    if (!list->of_qmail && badlist_is_pattern(str_of(entry))) {
        out->regex = qp_regex_new(q, entry, true, &error);
        if (out->regex == NULL)
            return qp_fail_at(q, line, "\"%s\" is no pattern: %s", entry, error);
    } else if (strchr(entry, '@') == NULL) {
        warn(q, list, line, entry);
    }
    for (char *p = entry; *p != '\0'; p++)
        *p = ascii_lower(*p);
    out->e.entry = entry;
    return true;
}

static const struct text *
read_text(struct qp *q, const struct qp_badlist *list, struct config_value lines)
{
    struct text *text = qp_alloc(q, QP_INSTANCE, sizeof *text);

    text->n = lines.n;
    text->line = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *text->line);
    text->sorted = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *text->sorted);
    text->pattern = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *text->pattern);
    for (size_t i = 0; i < lines.n; i++) {
        if (!parse(q, list, &lines.line[i], &text->line[i]))
            return NULL;
        text->sorted[i] = &text->line[i];
        if (text->line[i].regex != NULL)
            text->pattern[text->n_patterns++] = &text->line[i];
    }
    qsort(text->sorted, text->n, sizeof *text->sorted, compare);
    return text;
}

static bool
open_text(struct qp *q, const struct qp_badlist *list, enum list_use use, struct opened *out)
{
    struct arena *a = scope_arena(q, QP_INSTANCE);
    struct config_value lines;
    struct err e;

    if (!list_text(q->context->config, a, list->name, use, &lines, &e))
        return qp_fail(q, "%s", e.text);
    out->text = read_text(q, list, lines);
    return out->text != NULL;
}

static bool
open_table(struct qp *q, const struct qp_badlist *list, const struct table *t, struct opened *out)
{
    struct arena *a = scope_arena(q, QP_INSTANCE);
    struct badlist_table *table = badlist_table_new(a, t);
    struct err e;

    if (!list->of_qmail && !badlist_table_add_patterns(table, a, &e))
        return qp_fail(q, "%s: %s", list->name, e.text);
    out->table = table;
    return true;
}

static bool
open_list(struct qp *q, const struct qp_badlist *list, enum list_use use, struct opened *out)
{
    struct arena *a = scope_arena(q, QP_INSTANCE);
    struct config_value lines;
    struct table *table;
    struct err e;

    if (hook_config_answer(q->context, list->name, &lines)) {
        out->text = read_text(q, list, lines);
        return out->text != NULL;
    }
    switch (list_open(q->context->config, a, TABLE_BAD, list->name, use, &table, &e)) {
    case LIST_TABLE:
        return open_table(q, list, table, out);
    case LIST_TEXT:
        return open_text(q, list, use, out);
    case LIST_BROKEN:
        break;
    }
    return qp_fail(q, "%s", e.text);
}

static const struct qp_badlist *
open_new(struct qp *q, const char *name, bool of_qmail)
{
    struct qp_badlist *list = qp_alloc(q, QP_INSTANCE, sizeof *list);

    list->name = qp_strdup(q, QP_INSTANCE, name);
    list->of_qmail = of_qmail;
    list->opened = qp_alloc(q, QP_INSTANCE, sizeof *list->opened);
    return open_list(q, list, LIST_ANY, list->opened) ? list : NULL;
}

const struct qp_badlist *
qp_badlist_open(struct qp *q, const char *name)
{
    return open_new(q, name, false);
}

const struct qp_badlist *
qp_badlist_open_of_qmail(struct qp *q, const char *name)
{
    return open_new(q, name, true);
}

/* The first line that is literally key, in any case; NULL: none */
static const struct item *
find_literal(const struct text *list, const char *key)
{
    size_t low = 0, high = list->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcasecmp(list->sorted[middle]->e.entry, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == list->n || strcasecmp(list->sorted[low]->e.entry, key) != 0)
        return NULL;
    return list->sorted[low];
}

/* Whichever stands first in the file; NULL: the other. */
static const struct item *
earlier(const struct item *a, const struct item *b)
{
    return a == NULL || (b != NULL && b < a) ? b : a;
}

static const struct qp_badlist_entry *
find_in_text(struct qp *q, const struct text *list, const struct qp_address *address)
{
    const struct item *first;

    first = earlier(find_literal(list, address->address),
        find_literal(list, address->address + strlen(address->user))); /* @host */
    for (size_t i = 0; i < list->n_patterns; i++) {
        const struct item *pattern = list->pattern[i];

        if (earlier(first, pattern) == pattern &&
            qp_regex_match(q, pattern->regex, address->address)) {
            first = pattern;
            break;
        }
    }
    return first == NULL ? NULL : &first->e;
}

static enum table_status
find_in_table(struct qp *q, const struct badlist_table *table, const struct qp_address *address,
    struct qp_badlist_entry *out)
{
    return badlist_table_find(
        table, q->context->command, address->address, strlen(address->user), out);
}

/* A compiled list is damaged: what it was made of is read, once. */
static bool
open_again(struct qp *q, const struct qp_badlist *list)
{
    struct opened fresh = {.again = true};
    bool first = !list->opened->again;

    list->opened->again = true;
    if (!first || !open_list(q, list, LIST_NO_MPH, &fresh))
        return false;
    *list->opened = fresh;
    return true;
}

const struct qp_badlist_entry *
qp_badlist_find(struct qp *q, const struct qp_badlist *list, const struct qp_address *address)
{
    struct opened *o = list->opened;
    enum table_status found = TABLE_ABSENT;
    struct qp_badlist_entry *entry;

    if (address->user[0] == '\0' || address->host[0] == '\0')
        return NULL;
    entry = arena_alloc(q->context->command, sizeof *entry);
    if (o->table)
        found = find_in_table(q, o->table, address, entry);
    if (found == TABLE_BROKEN && open_again(q, list) && o->table)
        found = find_in_table(q, o->table, address, entry);
    if (!o->table)
        return find_in_text(q, o->text, address);
    if (found == TABLE_BROKEN)
        qp_log(q, QP_LOG_ERROR, "%s is damaged: build it again", list->name);
    return found == TABLE_FOUND ? entry : NULL;
}
