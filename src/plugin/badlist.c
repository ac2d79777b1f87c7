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

static bool
parse(struct qp *q, const struct qp_line *line, struct item *out)
{
    char *entry = qp_strdup(q, QP_INSTANCE, line->text);
    char *end = entry + strcspn(entry, " \t");
    const char *error;

    out->e.reason = end + strspn(end, " \t");
    *end = '\0';
    if (badlist_is_pattern(str_of(entry))) {
        out->regex = qp_regex_new(q, entry, true, &error);
        if (out->regex == NULL)
            return qp_fail_at(q, line, "\"%s\" is no pattern: %s", entry, error);
    } else if (strchr(entry, '@') ==
               NULL) { /* matches nothing, as in qmail: no reason to refuse mail */
        qp_log(q, QP_LOG_WARN,
            "%s:%u: \"%s\" is ignored: write user@host, @host for a whole domain, or a pattern",
            line->file, line->number, entry);
    }
    for (char *p = entry; *p != '\0'; p++)
        *p = ascii_lower(*p);
    out->e.entry = entry;
    return true;
}

static const struct text *
read_text(struct qp *q, struct qp_lines lines)
{
    struct text *list = qp_alloc(q, QP_INSTANCE, sizeof *list);

    list->n = lines.n;
    list->line = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *list->line);
    list->sorted = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *list->sorted);
    list->pattern = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *list->pattern);
    for (size_t i = 0; i < lines.n; i++) {
        if (!parse(q, &lines.line[i], &list->line[i]))
            return NULL;
        list->sorted[i] = &list->line[i];
        if (list->line[i].regex != NULL)
            list->pattern[list->n_patterns++] = &list->line[i];
    }
    qsort(list->sorted, list->n, sizeof *list->sorted, compare);
    return list;
}

static bool
open_text(struct qp *q, const char *name, enum list_use use, struct opened *out)
{
    struct config_value lines;
    struct err e;

    if (!list_text(q->context->config, scope_arena(q, QP_INSTANCE), name, use, &lines, &e))
        return qp_fail(q, "%s", e.text);
    out->text = read_text(q, (struct qp_lines){lines.n, lines.line});
    return out->text != NULL;
}

static bool
open_list(struct qp *q, const char *name, enum list_use use, struct opened *out)
{
    struct arena *a = scope_arena(q, QP_INSTANCE);
    struct config_value lines;
    struct table *table;
    struct err e;

    if (hook_config_answer(q->context, name, &lines)) {
        out->text = read_text(q, (struct qp_lines){lines.n, lines.line});
        return out->text != NULL;
    }
    switch (list_open(q->context->config, a, TABLE_BAD, name, use, &table, &e)) {
    case LIST_TABLE:
        out->table = badlist_table_new(a, table, &e);
        return out->table != NULL || qp_fail(q, "%s: %s", name, e.text);
    case LIST_TEXT:
        return open_text(q, name, use, out);
    case LIST_BROKEN:
        break;
    }
    return qp_fail(q, "%s", e.text);
}

const struct qp_badlist *
qp_badlist_open(struct qp *q, const char *name)
{
    struct qp_badlist *list = qp_alloc(q, QP_INSTANCE, sizeof *list);

    list->name = qp_strdup(q, QP_INSTANCE, name);
    list->opened = qp_alloc(q, QP_INSTANCE, sizeof *list->opened);
    return open_list(q, name, LIST_ANY, list->opened) ? list : NULL;
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
        table, scope_arena(q, QP_TRANSACTION), address->address, strlen(address->user), out);
}

/* A compiled list is damaged: what it was made of is read, once. */
static bool
open_again(struct qp *q, const struct qp_badlist *list)
{
    struct opened fresh = {.again = true};
    bool first = !list->opened->again;

    list->opened->again = true;
    if (!first || !open_list(q, list->name, LIST_NO_MPH, &fresh))
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
    entry = qp_alloc(q, QP_TRANSACTION, sizeof *entry);
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
