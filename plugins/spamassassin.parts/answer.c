#include "answer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define STATUS_BEGIN "SPAMD/"
#define FIELD_BEGIN  "X-Spam-"
#define FOLD_AT      76

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static const char *
skip_blanks(const char *p)
{
    while (is_blank(*p))
        p++;
    return p;
}

/* ---- numbers ---- */

/* Where the number ends; NULL: there is none. */
static const char *
score_at(const char *p, int64_t *out)
{
    bool negative = *p == '-';
    int64_t n = 0;
    int digits = 0;

    p += *p == '-' || *p == '+';
    for (; is_digit(*p); p++, digits++) {
        if (digits == 6)
            return NULL;
        n = n * 10 + (*p - '0');
    }
    n *= SPAMD_UNIT;
    if (*p == '.')
        for (int64_t unit = SPAMD_UNIT / 10; is_digit(*++p); unit /= 10, digits++)
            n += unit * (*p - '0');
    if (digits == 0)
        return NULL;
    *out = negative ? -n : n;
    return p;
}

bool
spamd_score_parse(const char *text, int64_t *out)
{
    int64_t score;
    const char *end = score_at(text, &score);

    if (!end || *end)
        return false;
    *out = score;
    return true;
}

/* ---- the status line and its header ---- */

/* "SPAMD/1.1 0 EX_OK" */
static bool
status_line(struct spamd_answer *a, const char *line)
{
    const char *p = line + strlen(STATUS_BEGIN);

    if (strncmp(line, STATUS_BEGIN, strlen(STATUS_BEGIN)) != 0)
        return false;
    while (is_digit(*p) || *p == '.')
        p++;
    if (!is_blank(*p))
        return false;
    p = skip_blanks(p);
    for (int digits = 0; is_digit(*p); p++) {
        if (++digits > 3)
            return false;
        a->code = a->code * 10 + (*p - '0');
    }
    if (!is_digit(p[-1]) || (*p && !is_blank(*p)))
        return false;
    a->step = a->code == 0 ? SPAMD_HEADER : SPAMD_END;
    return true;
}

/* "True ; 15.1 / 5.0" */
static bool
verdict_value(struct spamd_answer *a, const char *p)
{
    size_t word = strcspn(p, " \t;");

    if ((word == 4 && strncasecmp(p, "True", word) == 0) ||
        (word == 3 && strncasecmp(p, "Yes", word) == 0))
        a->spam = true;
    else if (!(word == 5 && strncasecmp(p, "False", word) == 0) &&
             !(word == 2 && strncasecmp(p, "No", word) == 0))
        return false;
    p = skip_blanks(p + word);
    if (*p != ';')
        return false;
    p = score_at(skip_blanks(p + 1), &a->score);
    if (!p)
        return false;
    p = skip_blanks(p);
    if (*p != '/')
        return false;
    p = score_at(skip_blanks(p + 1), &a->required);
    return p && !*skip_blanks(p);
}

static bool
header_line(struct spamd_answer *a, const char *line)
{
    if (!*line) {
        a->step = SPAMD_PAYLOAD;
        return true;
    }
    if (strncasecmp(line, "Spam:", 5) != 0)
        return strchr(line, ':') != NULL;
    if (a->verdict) /* a second one: which is to be believed? */
        return false;
    a->verdict = true;
    return verdict_value(a, skip_blanks(line + 5));
}

/* ---- the payload ---- */

/* Text behind what is there, printable; false: it does not fit, and nothing was put. */
static bool
put(struct spamd_answer *a, const char *text, size_t n)
{
    if (n >= sizeof a->text - a->used)
        return false;
    for (size_t i = 0; i < n; i++)
        a->text[a->used++] = text[i] == '\t' || (text[i] >= ' ' && text[i] <= '~') ? text[i] : '?';
    a->text[a->used] = '\0';
    return true;
}

static bool
is_field_name(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    return true;
}

/* "X-Spam-Flag: YES" */
static void
field_begin(struct spamd_answer *a, const char *line)
{
    size_t name = strcspn(line, ":"), before = a->used;
    struct spamd_field *f = &a->field[a->fields];
    const char *value;

    a->folds = false;
    if (strncasecmp(line, FIELD_BEGIN, strlen(FIELD_BEGIN)) != 0 || name == strlen(FIELD_BEGIN) ||
        line[name] != ':' || !is_field_name(line, name) || a->fields == SPAMD_FIELDS_MAX ||
        name + 1 >= sizeof a->text - a->used)
        return;
    value = skip_blanks(line + name + 1);
    f->name = a->text + a->used;
    put(a, line, name);
    f->value = a->text + ++a->used;
    if (!put(a, value, strlen(value))) {
        a->used = before;
        return;
    }
    a->used++;
    a->fields++;
    a->folds = true;
}

/* One more line of the field: in the place of its final NUL. One that does not fit is left out. */
static void
field_go_on(struct spamd_answer *a, const char *line)
{
    size_t n = strlen(line);

    if (n + 2 >= sizeof a->text - a->used)
        return;
    a->text[a->used - 1] = '\n';
    put(a, line, n);
    a->used++;
}

static void
payload_line(struct spamd_answer *a, const char *line)
{
    if (!*line)
        a->step = SPAMD_END;
    else if (!is_blank(*line))
        field_begin(a, line);
    else if (a->folds)
        field_go_on(a, line);
}

bool
spamd_answer_line(struct spamd_answer *a, const char *line)
{
    switch (a->step) {
    case SPAMD_STATUS:
        return status_line(a, line);
    case SPAMD_HEADER:
        return header_line(a, line);
    case SPAMD_PAYLOAD:
        payload_line(a, line);
        return true;
    case SPAMD_END:
        break;
    }
    return false;
}

/* ---- X-Spam-Status ---- */

static bool
is_space(char c)
{
    return is_blank(c) || c == '\n';
}

/* The value of one word; a list goes on behind a blank when that follows a comma. */
static const char *
copy_value(const char *p, char *out, size_t room)
{
    size_t n = 0;

    for (; *p && !(is_space(*p) && (n == 0 || out[n - 1] != ',')); p++)
        if (!is_space(*p) && n < room - 1)
            out[n++] = *p > ' ' && *p <= '~' ? *p : '?';
    out[n] = '\0';
    return p;
}

static void
only_number(char *text)
{
    int64_t n;

    if (!spamd_score_parse(text, &n))
        text[0] = '\0';
}

bool
spamd_status_parse(const char *value, struct spamd_status *out)
{
    const struct {
        const char *key;
        char *to;
        size_t room;
    } words[] = {
        {"score=", out->score, sizeof out->score},
        {"hits=", out->score, sizeof out->score},
        {"required=", out->required, sizeof out->required},
        {"tests=", out->tests, sizeof out->tests},
        {"autolearn=", out->autolearn, sizeof out->autolearn},
        {"version=", out->version, sizeof out->version},
    };
    size_t word = strcspn(value, ", \t\n");

    *out = (struct spamd_status){.spam = word == 3 && strncasecmp(value, "Yes", word) == 0};
    if (!out->spam && !(word == 2 && strncasecmp(value, "No", word) == 0))
        return false;
    for (const char *p = value + word; *p;) {
        char unknown[2];
        size_t i = 0, n = sizeof words / sizeof *words;

        p += strspn(p, ", \t\n");
        while (i < n && strncasecmp(p, words[i].key, strlen(words[i].key)) != 0)
            i++;
        if (i < n)
            p = copy_value(p + strlen(words[i].key), words[i].to, words[i].room);
        else
            p = copy_value(p, unknown, sizeof unknown);
    }
    only_number(out->score);
    only_number(out->required);
    return true;
}

void
spamd_tests_fold(const char *tests, char *out, size_t room)
{
    size_t n = (size_t)snprintf(out, room, "tests="), column = 8 + n;

    for (const char *p = tests; *p && n + 3 < room;) {
        size_t name = strcspn(p, ",");

        if (p != tests && column + name > FOLD_AT) {
            out[n++] = '\n';
            out[n++] = '\t';
            column = 8;
        }
        name += p[name] == ',';
        if (name > room - 1 - n)
            name = room - 1 - n;
        memcpy(out + n, p, name);
        n += name;
        column += name;
        p += name;
    }
    out[n < room ? n : room - 1] = '\0';
}
