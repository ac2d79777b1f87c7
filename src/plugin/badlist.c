/*
 * plugin/badlist - the functions behind <qpsmtpd/badlist.h>
 *
 * Owns   which words are patterns, and the order of literal entries and patterns
 * Uses   the public API only
 * Keep   a lookup takes log2(n) comparisons and one match for each pattern, so lists may be long
 */
#include <qpsmtpd/badlist.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/regex.h>

struct item {
    struct qp_badlist_entry e;
    const struct qp_regex *regex; /* NULL: no pattern */
};

struct qp_badlist {
    size_t n;
    struct item *line;          /* as in the file: what comes first has the lower address */
    const struct item **sorted; /* all, by entry; equal ones as in the file */
    size_t n_patterns;
    const struct item **pattern; /* those with a regex, as in the file */
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
    if (strpbrk(entry, "/^$*+!%?\\") != NULL) {
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
        *p = (char)tolower((unsigned char)*p);
    out->e.entry = entry;
    return true;
}

const struct qp_badlist *
qp_badlist_open(struct qp *q, const char *name)
{
    struct qp_lines lines = qp_config_lines(q, name);
    struct qp_badlist *list = qp_alloc(q, QP_INSTANCE, sizeof *list);

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

/* The first line that is literally key, in any case; NULL: none */
static const struct item *
find_literal(const struct qp_badlist *list, const char *key)
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

const struct qp_badlist_entry *
qp_badlist_find(struct qp *q, const struct qp_badlist *list, const struct qp_address *address)
{
    const struct item *first;

    if (address->user[0] == '\0' || address->host[0] == '\0')
        return NULL;
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
