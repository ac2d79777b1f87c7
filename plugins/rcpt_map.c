/*
 * rcpt_map - the recipients of one domain, with what to answer for each
 *
 *   plugins file: rcpt_map domain NAME file MAP [default RESULT[=TEXT]]     before rcpt_ok
 *                 MAP: a configuration file, or an absolute path; default: DENY=No_such_user.
 *                 TEXT: with _ for blanks. Several domains: rcpt_map:0 …, rcpt_map:1 …
 *   file MAP:     "user@host RESULT [text]", a line each; text: No such user. A configuration file may
 *                 be compiled: qpsmtpd-table -k exact
 *   hook rcpt:    other domain, or the plugin whitelist has the recipient: QP_DECLINED; listed
 *                 recipient: its result; else the default. A compiled list that is damaged: DENYSOFT
 *
 * RESULT is OK, DENY, DENYSOFT, one of both with _DISCONNECT, or DECLINED. OK lets the recipient
 * through to the next plugins: rcpt_ok accepts it if the domain is ours (in 1.00 it was accepted at
 * once).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <qpsmtpd/plugin.h>

struct verdict {
    enum qp_rc rc;
    const char *text;
};

struct entry {
    const char *address;
    struct verdict verdict;
    const struct qp_line *line;
};

struct conf {
    const char *domain;
    struct verdict other;            /* the default */
    const struct qp_table *compiled; /* NULL: the list is text, and stands in entry */
    size_t n;
    struct entry *entry; /* sorted by address */
};

/* ---- reading ---- */

static char *
trim(char *line)
{
    char *end;

    line += strspn(line, " \t\r\n");
    for (end = line + strlen(line); end > line && strchr(" \t\r\n", end[-1]) != NULL;)
        end--;
    *end = '\0';
    return line;
}

/* The lines of a file that the configuration directories do not have; n is 0 when there are none.
 */
static struct qp_lines
read_path(struct qp *q, const char *path, FILE *f)
{
    struct qp_line *lines = NULL, *kept;
    size_t n = 0, room = 0;
    char *line = NULL;

    for (unsigned int number = 1; getline(&line, &room, f) >= 0; number++) {
        const char *text = trim(line);

        if (*text == '\0' || *text == '#')
            continue;
        if ((n & (n - 1)) == 0) { /* full at each power of two */
            kept = qp_alloc(q, QP_INSTANCE, (n == 0 ? 1 : 2 * n) * sizeof *kept);
            if (n > 0)
                memcpy(kept, lines, n * sizeof *kept);
            lines = kept;
        }
        lines[n++] = (struct qp_line){qp_strdup(q, QP_INSTANCE, text), path, number};
    }
    free(line);
    return (struct qp_lines){n, lines};
}

static bool
path_lines(struct qp *q, const char *path, struct qp_lines *out)
{
    FILE *f = fopen(path, "re");
    bool bad;

    if (f == NULL)
        return qp_fail(q, "%s: %s", path, strerror(errno));
    *out = read_path(q, path, f);
    bad = ferror(f) != 0;
    fclose(f);
    return !bad || qp_fail(q, "%s: cannot be read", path);
}

/* The list: compiled, or its lines. */
static bool
map_open(struct qp *q, const char *name, struct conf *c, struct qp_lines *lines)
{
    const struct qp_table *table;

    if (name[0] == '/') {
        if (!path_lines(q, name, lines))
            return false;
    } else {
        table = qp_table_open(q, name, QP_MATCH_EXACT);
        if (table == NULL)
            return false;
        *lines = qp_table_lines(table);
        if (lines->n == 0 && qp_table_count(table) > 0)
            c->compiled = table;
    }
    if (lines->n == 0 && c->compiled == NULL)
        return qp_fail(
            q, "%s is missing or empty: list the recipients there, as user@host OK", name);
    return true;
}

static int
compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcasecmp(x->address, y->address);

    return order != 0 ? order : x->line < y->line ? -1 : x->line > y->line;
}

/* Cut the word at *rest off, and the blanks behind it. */
static char *
next_word(char **rest)
{
    char *word = *rest;

    *rest += strcspn(*rest, " \t");
    if (**rest != '\0')
        *(*rest)++ = '\0';
    *rest += strspn(*rest, " \t");
    return word;
}

/* "RESULT text"; *word becomes RESULT, also when that is none. */
static bool
verdict_parse(char *text, struct verdict *out, const char **word)
{
    *word = next_word(&text);
    out->text = *text != '\0' ? text : "No such user.";
    return qp_rc_parse(*word, &out->rc) && out->rc != QP_DONE;
}

static bool
entry_parse(struct qp *q, const struct qp_line *line, struct entry *out)
{
    char *text = qp_strdup(q, QP_INSTANCE, line->text);
    const char *result;

    out->line = line;
    out->address = next_word(&text);
    if (strchr(out->address, '@') == NULL)
        return qp_fail_at(
            q, line, "\"%s\" is no address: write user@host RESULT text", out->address);
    if (!verdict_parse(text, &out->verdict, &result))
        return qp_fail_at(q, line, "\"%s\" is no result: write OK, DENY or DENYSOFT", result);
    return true;
}

/* RESULT, RESULT=TEXT_WITH_UNDERSCORES */
static bool
default_parse(struct qp *q, const char *value, struct verdict *out)
{
    char *word = qp_strdup(q, QP_INSTANCE, value);
    char *text = word + strcspn(word, "=");

    if (*text != '\0')
        *text++ = '\0';
    for (char *p = text; (p = strchr(p, '_')) != NULL;)
        *p = ' ';
    out->text = *text != '\0' ? text : "No such user.";
    if (!qp_rc_parse(word, &out->rc) || out->rc == QP_DONE)
        return qp_fail(q, "default %s: write a result, DENY or DENY=No_such_user.", value);
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *file = "", *other = "DENY";
    struct qp_lines lines = {0};

    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{"domain", .text = &c->domain, .required = true},
                {"file", .text = &file, .required = true}, {"default", .text = &other}, {0}}) ||
        !default_parse(q, other, &c->other) || !map_open(q, file, c, &lines))
        return false;
    c->n = lines.n;
    c->entry = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *c->entry);
    for (size_t i = 0; i < lines.n; i++)
        if (!entry_parse(q, &lines.line[i], &c->entry[i]))
            return false;
    qsort(c->entry, c->n, sizeof *c->entry, compare);
    for (size_t i = 1; i < c->n; i++)
        if (strcasecmp(c->entry[i - 1].address, c->entry[i].address) == 0)
            return qp_fail_at(q, c->entry[i].line, "%s is listed twice", c->entry[i].address);
    return true;
}

/* ---- deciding ---- */

static int
compare_address(const void *address, const void *entry)
{
    return strcasecmp(address, ((const struct entry *)entry)->address);
}

static enum qp_lookup
find_compiled(struct qp *q, const struct conf *c, const char *address, struct verdict *out)
{
    const char *value, *result;
    enum qp_lookup found = qp_table_find(q, c->compiled, address, &value);

    if (found != QP_FOUND || verdict_parse(qp_strdup(q, QP_TRANSACTION, value), out, &result))
        return found;
    qp_log(q, QP_LOG_ERROR, "no result recipient=%s result=\"%s\"", address, result);
    return QP_TROUBLE;
}

static enum qp_lookup
find(struct qp *q, const struct conf *c, const char *address, struct verdict *out)
{
    const struct entry *e;

    if (c->compiled != NULL)
        return find_compiled(q, c, address, out);
    e = bsearch(address, c->entry, c->n, sizeof *c->entry, compare_address);
    if (e == NULL)
        return QP_ABSENT;
    *out = e->verdict;
    return QP_FOUND;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    struct verdict v = c->other;

    if (strcasecmp(to->host, c->domain) != 0 || qp_immune_rcpt(q, to))
        return QP_DECLINED;
    if (find(q, c, to->address, &v) == QP_TROUBLE)
        return qp_denysoft(q, "unable to read controls (#4.3.0)");
    if (v.rc == QP_OK || v.rc == QP_DECLINED)
        return QP_DECLINED;
    return qp_result(q, v.rc, "%s", v.text);
}

QP_PLUGIN(.name = "rcpt_map", .init = on_init, .rcpt = on_rcpt);
