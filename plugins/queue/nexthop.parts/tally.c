#include "tally.h"

#include <stdio.h>
#include <string.h>

bool
tally_class(const struct reply *r, enum tally_class *out)
{
    static const int about_us[] = {503, 530, 534, 535, 538};

    for (size_t i = 0; i < sizeof about_us / sizeof *about_us; i++)
        if (r->code == about_us[i])
            return false;
    switch (r->code / 100) {
    case 2:
        *out = TALLY_YES;
        return true;
    case 4:
        *out = TALLY_SOFT;
        return true;
    case 5:
        *out = TALLY_HARD;
        return true;
    default:
        return false;
    }
}

static void
add_name(struct tally *t, const char *name)
{
    static const char more[] = ", ...";
    size_t n = strlen(name), comma = t->names_n ? 2 : 0;

    if (t->names_n > TALLY_NAMES_MAX) /* it ends in the dots already */
        return;
    if (t->names_n + comma + n > TALLY_NAMES_MAX) {
        memcpy(t->names + t->names_n, more + (comma ? 0 : 2), sizeof more - (comma ? 0 : 2));
        t->names_n = TALLY_NAMES_MAX + 1;
        return;
    }
    memcpy(t->names + t->names_n, ", ", comma);
    memcpy(t->names + t->names_n + comma, name, n + 1);
    t->names_n += comma + n;
}

void
tally_add(struct tally *t, const char *recipient, enum tally_class class, int code,
    const char *enhanced, const char *text)
{
    struct tally_answer *a = &t->first[class];

    if (t->count[class]++ == 0) {
        a->code = code;
        snprintf(a->enhanced, sizeof a->enhanced, "%s", enhanced);
        snprintf(a->text, sizeof a->text, "%s", text);
    }
    if (class != TALLY_YES)
        add_name(t, recipient);
}

const struct tally_answer *
tally_verdict(const struct tally *t)
{
    return &t->first[t->count[TALLY_SOFT]   ? TALLY_SOFT
                     : t->count[TALLY_HARD] ? TALLY_HARD
                                            : TALLY_YES];
}

size_t
tally_refused(const struct tally *t)
{
    return t->count[TALLY_SOFT] + t->count[TALLY_HARD];
}
