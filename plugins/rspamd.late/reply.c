#include "reply.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_LOOKED_AT 300 /* of an answer: more are no help to anybody */
#define NAME_MAX_BYTES    100

static const struct {
    const char *name;
    enum reply_action action;
} actions[] = {
    {"no action", REPLY_NO_ACTION},
    {"greylist", REPLY_GREYLIST},
    {"add header", REPLY_ADD_HEADER},
    {"rewrite subject", REPLY_REWRITE_SUBJECT},
    {"soft reject", REPLY_SOFT_REJECT},
    {"reject", REPLY_REJECT},
    {"quarantine", REPLY_QUARANTINE},
    {"discard", REPLY_DISCARD},
};

/* ---- bytes: what a strict reader of JSON stumbles over, and rspamd may repeat from a message ---- */

/* How many bytes the UTF-8 sequence at p has (RFC 3629); 0: none begins there. */
static size_t
utf8_length(const unsigned char *p, size_t n)
{
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (length == 0 || length > n || p[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

static void
mend_bytes(char *text, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t length = utf8_length((const unsigned char *)text + i, n - i);

        if (length == 0)
            text[i] = '?';
        i += length ? length : 1;
    }
    for (char *nul = text; (nul = strstr(nul, "\\u0000")); nul += 6)
        nul[4] = '3', nul[5] = 'f'; /* the question mark */
}

/* ---- members ---- */

static bool
is_header_name(const char *name)
{
    size_t n = strlen(name);

    for (const char *p = name; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == ':')
            return false;
    return n > 0 && n <= NAME_MAX_BYTES;
}

/* A whole number near 0: rspamd writes some as 1.0. */
static bool
small_number(const json_t *value, int *out)
{
    double number = json_number_value(value);

    if (!json_is_number(value) || !(fabs(number) <= REPLY_NUMBER_MAX) || number != floor(number))
        return false;
    *out = (int)number;
    return true;
}

static const char *
add_edit(struct reply *r, enum reply_edit_kind kind, const char *name, const json_t *value, int at)
{
    if (r->n_edits == REPLY_EDITS_MAX)
        return "too many changes";
    if (name && !is_header_name(name))
        return "a wrong name of a header field";
    if (kind != REPLY_HEADER_REMOVE && !json_is_string(value))
        return "a value that is no text";
    r->edit[r->n_edits++] = (struct reply_edit){kind, name, json_string_value(value), at};
    return NULL;
}

static const char *
read_removals(struct reply *r, json_t *headers)
{
    const char *name, *why = NULL;
    json_t *value;

    if (headers && !json_is_object(headers))
        return "remove_headers is no object";
    json_object_foreach(headers, name, value)
    {
        int at;

        if (!small_number(value, &at))
            return "remove_headers without a number";
        why = add_edit(r, REPLY_HEADER_REMOVE, name, NULL, at);
        if (why)
            break;
    }
    return why;
}

/* "value", or {"value": "value", "order": 0} */
static const char *
read_addition(struct reply *r, const char *name, json_t *value)
{
    json_t *order = json_object_get(value, "order");
    int at = 0;

    if (!json_is_object(value))
        return add_edit(r, REPLY_HEADER_ADD, name, value, 0);
    if (!order)
        order = json_object_get(value, "index");
    if (order && !small_number(order, &at))
        return "add_headers with a wrong order";
    return add_edit(r, order ? REPLY_HEADER_INSERT : REPLY_HEADER_ADD, name,
        json_object_get(value, "value"), at);
}

static const char *
read_additions(struct reply *r, json_t *headers)
{
    const char *name, *why = NULL;
    json_t *value, *one;
    size_t i;

    if (headers && !json_is_object(headers))
        return "add_headers is no object";
    json_object_foreach(headers, name, value)
    {
        if (!json_is_array(value))
            why = read_addition(r, name, value);
        json_array_foreach(value, i, one) if (!why) why = read_addition(r, name, one);
        if (why)
            break;
    }
    return why;
}

/* One text or a list of them, each an edit of that kind. */
static const char *
read_texts(struct reply *r, enum reply_edit_kind kind, const char *name, json_t *value)
{
    const char *why = NULL;
    json_t *one;
    size_t i;

    if (value && !json_is_array(value))
        return add_edit(r, kind, name, value, 0);
    json_array_foreach(value, i, one)
    {
        why = add_edit(r, kind, name, one, (int)i);
        if (why)
            break;
    }
    return why;
}

/* How spam is marked, if not as usual: a value, or whole fields which replace those of their name. */
static const char *
read_spam_header(struct reply *r, json_t *value)
{
    const char *name, *why = NULL;
    json_t *one;

    if (!value || r->action != REPLY_ADD_HEADER)
        return NULL;
    if (json_is_string(value)) {
        r->spam_header = json_string_value(value);
        return NULL;
    }
    if (!json_is_object(value))
        return "spam_header is neither a text nor an object";
    r->has_spam_header = true;
    json_object_foreach(value, name, one)
    {
        why = add_edit(r, REPLY_HEADER_REMOVE, name, NULL, 0);
        if (!why)
            why = add_edit(r, REPLY_HEADER_ADD, name, one, 0);
        if (why)
            break;
    }
    return why;
}

static const char *
read_milter(struct reply *r, json_t *milter)
{
    const char *why;

    if (milter && !json_is_object(milter))
        return "milter is no object";
    r->no_action = json_is_true(json_object_get(milter, "no_action"));
    if ((why = read_removals(r, json_object_get(milter, "remove_headers"))) ||
        (why = read_additions(r, json_object_get(milter, "add_headers"))) ||
        (why = read_texts(r, REPLY_SENDER, NULL, json_object_get(milter, "change_from"))) ||
        (why = read_texts(r, REPLY_RCPT_ADD, NULL, json_object_get(milter, "add_rcpt"))) ||
        (why = read_texts(r, REPLY_RCPT_REMOVE, NULL, json_object_get(milter, "del_rcpt"))) ||
        (why = read_spam_header(r, json_object_get(milter, "spam_header"))))
        return why;
    return NULL;
}

static const char *
read_action(struct reply *r)
{
    r->action_name = json_string_value(json_object_get(r->root, "action"));
    if (!r->action_name)
        return "no action";
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        if (strcmp(r->action_name, actions[i].name) == 0) {
            r->action = actions[i].action;
            return NULL;
        }
    return "an unknown action";
}

static const char *
optional_text(const json_t *value)
{
    const char *text = json_string_value(value);

    return text && *text ? text : NULL;
}

/* ---- symbols, for the log ---- */

struct symbol {
    const char *name;
    double score;
};

static int
by_weight(const void *a, const void *b)
{
    double x = fabs(((const struct symbol *)a)->score), y = fabs(((const struct symbol *)b)->score);

    return (x < y) - (x > y);
}

static void
list_symbols(struct reply *r)
{
    struct symbol found[SYMBOLS_LOOKED_AT];
    const char *name;
    json_t *value;
    size_t n = 0, at = 0;

    json_object_foreach(json_object_get(r->root, "symbols"), name, value) if (n < SYMBOLS_LOOKED_AT)
        found[n++] = (struct symbol){name, json_number_value(json_object_get(value, "score"))};
    qsort(found, n, sizeof *found, by_weight);
    for (size_t i = 0; i < n; i++) {
        int wrote = snprintf(r->symbols + at, sizeof r->symbols - at, "%s%s(%.2f)", i ? "," : "",
            found[i].name, found[i].score);

        if (wrote < 0 || (size_t)wrote >= sizeof r->symbols - at) {
            r->symbols[at] = '\0'; /* no half of one */
            break;
        }
        at += (size_t)wrote;
    }
}

/* ---- the whole ---- */

static const char *
read_all(struct reply *r)
{
    const char *why;

    if (!json_is_object(r->root))
        return "no object";
    if ((why = read_action(r)) || (why = read_milter(r, json_object_get(r->root, "milter"))))
        return why;
    r->score = json_number_value(json_object_get(r->root, "score"));
    r->required = json_number_value(json_object_get(r->root, "required_score"));
    r->subject = optional_text(json_object_get(r->root, "subject"));
    r->message =
        optional_text(json_object_get(json_object_get(r->root, "messages"), "smtp_message"));
    list_symbols(r);
    return read_texts(
        r, REPLY_HEADER_INSERT, "DKIM-Signature", json_object_get(r->root, "dkim-signature"));
}

const char *
reply_parse(char *text, size_t n, struct reply *out)
{
    const char *why = "no JSON";

    *out = (struct reply){0};
    if (strlen(text) != n)
        return "a NUL byte";
    mend_bytes(text, n);
    out->root = json_loadb(text, n, 0, NULL);
    if (out->root)
        why = read_all(out);
    if (why)
        reply_close(out);
    return why;
}

void
reply_close(struct reply *r)
{
    json_decref(r->root);
    r->root = NULL;
}
