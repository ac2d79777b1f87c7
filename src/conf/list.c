#include "conf/list.h"

#include <sys/stat.h>

#include "base/log.h"
#include "conf/mph_format.h"

/* Where the forms of one list are; NULL: that form is not there. */
struct forms {
    const char *mph, *text, *cdb;
};

struct str
list_base(const char *name)
{
    struct str base = str_of(name);

    if (str_iends(base, STR(LIST_CDB)))
        base.n -= strlen(LIST_CDB);
    return base;
}

static bool
is_later(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

/* An archive that keeps whole seconds has not changed the text. */
static bool
is_source(const struct mph_header *h, const struct stat *text)
{
    return h->text_size == (uint64_t)text->st_size && h->text_seconds == text->st_mtim.tv_sec &&
           (h->text_nanoseconds == (uint32_t)text->st_mtim.tv_nsec || h->text_nanoseconds == 0 ||
               text->st_mtim.tv_nsec == 0);
}

/* NULL: it may be used. Else why not. */
static const char *
why_not(const struct forms *f, const struct mph_header *h)
{
    struct stat mph, other;

    if (stat(f->mph, &mph) < 0)
        return "cannot be looked at";
    if (f->text && stat(f->text, &other) == 0) {
        if (is_later(&other.st_mtim, &mph.st_mtim))
            return "is older than its text";
        if (!is_source(h, &other))
            return "was made of another text";
    }
    if (f->cdb && stat(f->cdb, &other) == 0 && is_later(&other.st_mtim, &mph.st_mtim))
        return "is older than the cdb";
    return NULL;
}

static struct table *
open_mph(const struct forms *f, struct arena *a, enum table_match kind, struct err *e)
{
    struct table *t = table_open_mph(a, kind, f->mph, e);
    const char *why = t ? why_not(f, table_header(t)) : NULL;

    if (!why)
        return t;
    err_set(e, "%s %s", f->mph, why);
    return NULL; /* closed with the arena */
}

/* A form of the list `base`. */
static const char *
path_of(struct config *c, struct arena *a, struct str base, const char *ending)
{
    return config_path(c, arena_printf(a, "%.*s%s", STR_ARG(base), ending));
}

/* Without a compiled list, or instead of it. */
static enum list_status
open_other(const struct forms *f, struct arena *a, enum table_match kind, bool wants_cdb,
    struct table **out, struct err *e)
{
    if (!f->cdb && (!wants_cdb || f->mph))
        return LIST_TEXT;
    *out = table_open_cdb(a, kind, f->cdb, e);
    return *out ? LIST_TABLE : LIST_BROKEN;
}

enum list_status
list_open(struct config *c, struct arena *a, enum table_match kind, const char *name,
    enum list_use use, struct table **out, struct err *e)
{
    struct str base = list_base(name);
    bool wants_cdb = base.n < strlen(name);
    struct forms f = {
        .mph = path_of(c, a, base, LIST_MPH),
        .text = path_of(c, a, base, ""),
    };

    if (wants_cdb || !f.text)
        f.cdb = path_of(c, a, base, LIST_CDB);
    if (!f.mph)
        return open_other(&f, a, kind, wants_cdb, out, e);
    if (use == LIST_ANY) {
        *out = open_mph(&f, a, kind, e);
        if (*out)
            return LIST_TABLE;
    } else {
        err_set(e, "%s is damaged", f.mph);
    }
    if (!f.cdb && !f.text)
        return LIST_BROKEN; /* nothing tells what else the list would be */
    log_write(LOG_LEVEL_WARN, "%s: %s is used instead; run qpsmtpd-table", e->text,
        f.cdb ? f.cdb : f.text);
    return open_other(&f, a, kind, wants_cdb, out, e);
}

bool
list_text(struct config *c, struct arena *a, const char *name, enum list_use use,
    struct config_value *out, struct err *e)
{
    const char *base = arena_dup(a, list_base(name));

    *out = (struct config_value){NULL, 0};
    switch (config_get(c, base, out, e)) {
    case CONFIG_OK:
        return true;
    case CONFIG_ABSENT:
        return use == LIST_ANY || err_set(e, "%s has gone", base);
    case CONFIG_BROKEN:
        break;
    }
    return false;
}
