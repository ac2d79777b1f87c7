#include "mail/header.h"

struct header {
    struct arena *arena;
    struct header_field *fields;
    size_t n, room;
    uint64_t size;
};

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 5322, 3.6.8: length of the run of bytes that a field name may hold */
static size_t
name_length(struct str s)
{
    size_t n = 0;

    while (n < s.n && s.p[n] > 0x20 && s.p[n] < 0x7f && s.p[n] != ':')
        n++;
    return n;
}

static size_t
blanks(struct str s, size_t at)
{
    size_t n = 0;

    while (at + n < s.n && is_blank(s.p[at + n]))
        n++;
    return n;
}

/* "Name : value" is obsolete (RFC 5322, 4.5), and a field: whoever reads the message after us takes it
 * for one. */
static struct header_field
field_of(struct str raw)
{
    size_t n = name_length(raw), colon = n + blanks(raw, n);

    if (colon == raw.n || raw.p[colon] != ':')
        n = 0;
    return (struct header_field){raw, {raw.p, n}};
}

static size_t
line_length(struct str s)
{
    const char *lf = memchr(s.p, '\n', s.n);

    return lf ? (size_t)(lf - s.p) + 1 : s.n;
}

/* One line and those below it that begin with a blank. */
static size_t
field_length(struct str s)
{
    size_t n = line_length(s);

    while (n < s.n && is_blank(s.p[n]))
        n += line_length(str_from(s, n));
    return n;
}

size_t
header_fields(struct str text)
{
    size_t n = 0;

    while (n < text.n) {
        struct str raw = {text.p + n, field_length(str_from(text, n))};
        bool unfinished = raw.n <= HEADER_LINE_MAX && raw.p[raw.n - 1] != '\n';

        if (!unfinished && !field_of(raw).name.n)
            break;
        n += raw.n;
    }
    return n;
}

static size_t
count_fields(struct str text)
{
    size_t count = 0;

    for (; text.n > 0; count++)
        text = str_from(text, field_length(text));
    return count;
}

static void
reserve(struct header *h, size_t more)
{
    struct header_field *fields;

    if (more <= h->room - h->n)
        return;
    h->room = h->n + more + h->n / 2 + 8; /* some for Received and what plugins add */
    fields = arena_alloc(h->arena, h->room * sizeof *fields);
    if (h->n > 0)
        memcpy(fields, h->fields, h->n * sizeof *fields);
    h->fields = fields;
}

static void
append(struct header *h, struct str raw)
{
    h->fields[h->n++] = field_of(raw);
    h->size += raw.n;
}

static struct str
rename_mbox_from(struct header *h, struct str raw)
{
    const struct str from = STR("From "), name = STR("Mail-From: ");
    size_t n = name.n + raw.n - from.n;
    char *p = arena_alloc(h->arena, n);

    memcpy(p, name.p, name.n);
    memcpy(p + name.n, raw.p + from.n, raw.n - from.n);
    return (struct str){p, n};
}

static bool
is_blank_line(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_blank(s.p[i]) && s.p[i] != '\r')
            return false;
    return true;
}

static char *
put_clean(char *out, struct str line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] != '\r')
            *out++ = ascii_control(line.p[i]) && line.p[i] != '\t' ? '?' : line.p[i];
    return out;
}

/* What stands between the name and the value. */
static const struct str colon_blank = {": ", 2}, colon = {":", 1};

/* Whatever value holds, the result is one field. */
static struct str
build(struct arena *a, struct str name, struct str between, struct str value)
{
    /* Every LF of value may cost two bytes, LF and TAB; no other byte costs more than itself. */
    char *raw = arena_alloc(a, name.n + between.n + 2 * value.n + sizeof "\n");
    char *p = raw;

    memcpy(p, name.p, name.n);
    p += name.n;
    memcpy(p, between.p, between.n);
    p += between.n;
    p = put_clean(p, str_cut(&value, '\n'));
    while (value.n > 0) {
        struct str line = str_cut(&value, '\n');
        const char *begin = line.p;

        while (line.n > 0 && *begin == '\r') { /* dropped, so it must not hide what comes first */
            begin++;
            line = str_from(line, 1);
        }
        if (is_blank_line(line))
            continue;
        *p++ = '\n';
        if (!is_blank(*begin))
            *p++ = '\t';
        p = put_clean(p, line);
    }
    *p++ = '\n';
    return (struct str){raw, (size_t)(p - raw)};
}

struct header *
header_new(struct arena *a)
{
    struct header *h = arena_alloc(a, sizeof *h);

    h->arena = a;
    return h;
}

void
header_parse(struct header *h, struct str text)
{
    reserve(h, count_fields(text));
    while (text.n > 0) {
        size_t n = field_length(text);
        struct str raw = {text.p, n};

        if (h->n == 0 && str_starts(raw, STR("From ")) && !field_of(raw).name.n)
            raw = rename_mbox_from(h, raw);
        append(h, raw);
        text = str_from(text, n);
    }
}

size_t
header_count(const struct header *h)
{
    return h->n;
}

const struct header_field *
header_at(const struct header *h, size_t i)
{
    return i < h->n ? &h->fields[i] : NULL;
}

const struct header_field *
header_find(const struct header *h, struct str name, size_t i, size_t *index)
{
    if (name.n == 0)
        return NULL;
    for (size_t at = 0; at < h->n; at++) {
        if (!str_ieq(h->fields[at].name, name) || i-- > 0)
            continue;
        if (index)
            *index = at;
        return &h->fields[at];
    }
    return NULL;
}

size_t
header_count_of(const struct header *h, struct str name)
{
    size_t count = 0;

    for (size_t at = 0; at < h->n && name.n > 0; at++)
        count += str_ieq(h->fields[at].name, name);
    return count;
}

size_t
header_hops(const struct header *h)
{
    return header_count_of(h, STR("Received")) + header_count_of(h, STR("Delivered-To"));
}

struct str
header_text(const struct header_field *f)
{
    size_t n = f->name.n;

    return n > 0 ? str_from(f->raw, n + blanks(f->raw, n) + 1) : f->raw;
}

const char *
header_value(const struct header *h, const struct header_field *f)
{
    struct str value = header_text(f);
    char *copy;

    value = str_from(value, blanks(value, 0));
    if (value.n > 0 && value.p[value.n - 1] == '\n')
        value.n--;
    copy = arena_dup(h->arena, value);
    for (size_t i = 0; i < value.n; i++)
        if (copy[i] == '\0')
            copy[i] = '?';
    return copy;
}

static bool
insert(struct header *h, size_t i, struct str name, struct str between, struct str value)
{
    struct str raw;

    if (name.n == 0 || name_length(name) != name.n)
        return false;
    raw = build(h->arena, name, between, value);
    if (i > h->n)
        i = h->n;
    reserve(h, 1);
    memmove(h->fields + i + 1, h->fields + i, (h->n - i) * sizeof *h->fields);
    h->fields[i] = field_of(raw);
    h->n++;
    h->size += raw.n;
    return true;
}

bool
header_insert(struct header *h, size_t i, struct str name, struct str value)
{
    return insert(h, i, name, colon_blank, value);
}

bool
header_insert_exact(struct header *h, size_t i, struct str name, struct str value)
{
    return insert(h, i, name, colon, value);
}

static bool
replace(struct header *h, size_t i, struct str between, struct str value)
{
    struct header_field *f;

    if (i >= h->n || h->fields[i].name.n == 0)
        return false;
    f = &h->fields[i];
    h->size -= f->raw.n;
    *f = field_of(build(h->arena, f->name, between, value));
    h->size += f->raw.n;
    return true;
}

bool
header_replace(struct header *h, size_t i, struct str value)
{
    return replace(h, i, colon_blank, value);
}

bool
header_replace_exact(struct header *h, size_t i, struct str value)
{
    return replace(h, i, colon, value);
}

bool
header_remove(struct header *h, size_t i)
{
    if (i >= h->n)
        return false;
    h->size -= h->fields[i].raw.n;
    h->n--;
    memmove(h->fields + i, h->fields + i + 1, (h->n - i) * sizeof *h->fields);
    return true;
}

/* One pass: a client may have sent a hundred thousand. */
static size_t
remove_where(struct header *h, bool (*is_meant)(struct str name, struct str what), struct str what)
{
    size_t kept = 0, removed;

    for (size_t i = 0; i < h->n; i++) {
        if (h->fields[i].name.n > 0 && is_meant(h->fields[i].name, what))
            h->size -= h->fields[i].raw.n;
        else
            h->fields[kept++] = h->fields[i];
    }
    removed = h->n - kept;
    h->n = kept;
    return removed;
}

size_t
header_remove_all(struct header *h, struct str name)
{
    return remove_where(h, str_ieq, name);
}

size_t
header_remove_begin(struct header *h, struct str begin)
{
    return remove_where(h, str_istarts, begin);
}

uint64_t
header_size(const struct header *h)
{
    return h->size;
}
