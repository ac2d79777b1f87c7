#include "plugin/badlist_table.h"

#include <stdio.h>

#include "base/log.h"
#include "plugin/regex.h"

struct pattern {
    const struct qp_regex *regex;
    struct qp_badlist_entry e;
    uint64_t at;
    struct pattern *next;
};

struct badlist_table {
    const struct table *table;
    struct pattern *patterns; /* as in the list */
};

bool
badlist_is_pattern(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (word.p[i] != '\0' && strchr("/^$*+!%?\\", word.p[i]))
            return true;
    return false;
}

struct str
badlist_pattern_key(size_t n, char room[BADLIST_KEY])
{
    return (struct str){room, (size_t)snprintf(room, BADLIST_KEY, "\001%zu", n)};
}

bool
badlist_is_pattern_key(struct str key)
{
    return str_starts(key, STR("\001")) && str_find(key, '@') == key.n;
}

static char *
fold(char *text)
{
    for (char *p = text; *p != '\0'; p++)
        *p = ascii_lower(*p);
    return text;
}

/* "pattern reason", of the arena */
static struct pattern *
pattern_new(struct arena *a, const struct table_record *record, struct err *e)
{
    struct pattern *p = arena_alloc(a, sizeof *p);
    struct str rest = str_of(record->value);
    char *entry = arena_dup(a, str_word(&rest));
    const char *error;

    p->e = (struct qp_badlist_entry){entry, str_trim(rest).p};
    p->at = record->at;
    p->regex = regex_new(a, entry, true, &error);
    if (!p->regex) {
        err_set(e, "\"%s\" is no pattern: %s", entry, error);
        return NULL;
    }
    fold(entry); /* not before: \S is not \s */
    return p;
}

struct badlist_table *
badlist_table_new(struct arena *a, const struct table *t)
{
    struct badlist_table *b = arena_alloc(a, sizeof *b);

    b->table = t;
    return b;
}

bool
badlist_table_add_patterns(struct badlist_table *b, struct arena *a, struct err *e)
{
    struct pattern **end = &b->patterns;
    enum table_status status;
    struct table_record record;
    char room[BADLIST_KEY];

    for (size_t n = 0;
         (status = table_get(b->table, badlist_pattern_key(n, room), a, &record)) == TABLE_FOUND;
         n++) {
        *end = pattern_new(a, &record, e);
        if (!*end)
            return false;
        end = &(*end)->next;
    }
    return status == TABLE_ABSENT || err_set(e, "the list is damaged");
}

/* What was found and stands first in the list. */
struct best {
    uint64_t at;
    bool found;
};

static enum table_status
try_address(const struct badlist_table *b, struct arena *scratch, const char *key,
    struct best *best, struct qp_badlist_entry *out)
{
    struct table_record record;
    enum table_status status = table_get(b->table, str_of(key), scratch, &record);

    if (status == TABLE_FOUND && (!best->found || record.at < best->at)) {
        *best = (struct best){record.at, true};
        *out = (struct qp_badlist_entry){key, record.value};
    }
    return status;
}

static bool
matches(const struct pattern *p, const char *address)
{
    char why[REGEX_WHY];

    switch (regex_match(p->regex, address, why)) {
    case REGEX_YES:
        return true;
    case REGEX_NO:
        break;
    case REGEX_GIVEN_UP:
        log_at(LOG_LEVEL_WARN, "pattern given up: pattern=%s error=\"%s\"", p->e.entry, why);
        break;
    }
    return false;
}

enum table_status
badlist_table_find(const struct badlist_table *b, struct arena *scratch, const char *address,
    size_t user, struct qp_badlist_entry *out)
{
    const char *folded = fold(arena_dup(scratch, str_of(address)));
    struct best best = {0, false};

    if (try_address(b, scratch, folded, &best, out) == TABLE_BROKEN ||
        try_address(b, scratch, folded + user, &best, out) == TABLE_BROKEN)
        return TABLE_BROKEN;
    for (const struct pattern *p = b->patterns; p && !(best.found && best.at < p->at); p = p->next)
        if (matches(p, address)) {
            *out = p->e;
            return TABLE_FOUND;
        }
    return best.found ? TABLE_FOUND : TABLE_ABSENT;
}
