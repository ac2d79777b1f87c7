#include "packet.h"

#include <stdio.h>
#include <string.h>

/* ---- what the milter says ---- */

enum shape {
    NOTHING,
    TEXT,
    ADDRESS, /* a text, maybe a second one: ESMTP parameters */
    FIELD,   /* name, value */
    NUMBERED_FIELD,
    NUMBERED_TEXT,
    BYTES,
    OFFER,
};

static const struct answer {
    uint8_t letter;
    enum shape shape;
} answers[] = {
    {MILTER_ADD_RCPT, TEXT},
    {MILTER_DELETE_RCPT, TEXT},
    {MILTER_ADD_RCPT_PARAMS, ADDRESS},
    {MILTER_SHUTDOWN, NOTHING},
    {MILTER_ACCEPT, NOTHING},
    {MILTER_REPLACE_BODY, BYTES},
    {MILTER_CONTINUE, NOTHING},
    {MILTER_DISCARD, NOTHING},
    {MILTER_CHANGE_SENDER, ADDRESS},
    {MILTER_CONNECTION_FAIL, NOTHING},
    {MILTER_ADD_FIELD, FIELD},
    {MILTER_INSERT_FIELD, NUMBERED_FIELD},
    {MILTER_MACRO_LIST, NUMBERED_TEXT},
    {MILTER_CHANGE_FIELD, NUMBERED_FIELD},
    {MILTER_PROGRESS, NOTHING},
    {MILTER_QUARANTINE, TEXT},
    {MILTER_REJECT, NOTHING},
    {MILTER_SKIP, NOTHING},
    {MILTER_TEMPFAIL, NOTHING},
    {MILTER_REPLY_CODE, TEXT},
    {MILTER_OFFER, OFFER},
};

/* What of a packet was not read yet. */
struct rest {
    const uint8_t *p;
    size_t n;
};

static bool
take_number(struct rest *r, uint32_t *out)
{
    if (r->n < 4)
        return false;
    *out = (uint32_t)r->p[0] << 24 | (uint32_t)r->p[1] << 16 | (uint32_t)r->p[2] << 8 | r->p[3];
    r->p += 4;
    r->n -= 4;
    return true;
}

static bool
take_text(struct rest *r, const char **out)
{
    const uint8_t *end = r->n ? memchr(r->p, '\0', r->n) : NULL;

    if (!end)
        return false;
    *out = (const char *)r->p;
    r->n -= (size_t)(end - r->p) + 1;
    r->p = end + 1;
    return true;
}

static bool
take_address(struct rest *r, struct milter_packet *out)
{
    if (!take_text(r, &out->name))
        return false;
    out->value = "";
    return r->n == 0 || take_text(r, &out->value);
}

static bool
take_offer(struct rest *r, struct milter_packet *out)
{
    if (!take_number(r, &out->offer.version) || !take_number(r, &out->offer.actions) ||
        !take_number(r, &out->offer.steps))
        return false;
    out->bytes = r->p;
    out->n = r->n;
    r->n = 0;
    return true;
}

static bool
take(struct rest *r, enum shape shape, struct milter_packet *out)
{
    switch (shape) {
    case NOTHING:
        return true;
    case TEXT:
        return take_text(r, &out->name);
    case ADDRESS:
        return take_address(r, out);
    case NUMBERED_TEXT:
        return take_number(r, &out->index) && take_text(r, &out->name);
    case NUMBERED_FIELD:
        if (!take_number(r, &out->index))
            return false;
        return take_text(r, &out->name) && take_text(r, &out->value);
    case FIELD:
        return take_text(r, &out->name) && take_text(r, &out->value);
    case BYTES:
        out->bytes = r->p;
        out->n = r->n;
        r->n = 0;
        return true;
    case OFFER:
        return take_offer(r, out);
    }
    return false;
}

const char *
milter_packet_parse(const uint8_t *data, size_t n, struct milter_packet *out)
{
    struct rest rest = {data, n};

    if (n == 0)
        return "a packet without a letter";
    rest = (struct rest){data + 1, n - 1};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        if (answers[i].letter != data[0])
            continue;
        *out = (struct milter_packet){.letter = data[0]};
        if (!take(&rest, answers[i].shape, out))
            return "an answer that ends early";
        return rest.n == 0 ? NULL : "an answer with bytes behind its end";
    }
    return "an answer that the protocol does not have";
}

bool
milter_macro_list(const uint8_t **bytes, size_t *left, uint32_t *stage, const char **names)
{
    struct rest rest = {*bytes, *left};

    if (!take_number(&rest, stage) || !take_text(&rest, names))
        return false;
    *bytes = rest.p;
    *left = rest.n;
    return true;
}

/* ---- reply codes ---- */

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "5.7.1" and a blank or the end of the line: how long it is; 0: none of that class */
static size_t
enhanced_length(const char *text, char class)
{
    size_t n = 1;

    if (text[0] != class)
        return 0;
    for (int part = 0; part < 2; part++) {
        size_t digits = 0;

        if (text[n++] != '.')
            return 0;
        while (digits < 3 && is_digit(text[n]))
            n++, digits++;
        if (digits == 0)
            return 0;
    }
    return text[n] == ' ' || text[n] == '\0' || text[n] == '\r' || text[n] == '\n' ? n : 0;
}

static bool
is_code(const char *line)
{
    return (line[0] == '4' || line[0] == '5') && line[1] >= '0' && line[1] <= '5' &&
           is_digit(line[2]) && (line[3] == ' ' || line[3] == '-' || line[3] == '\0');
}

static void
keep_text(struct milter_code *out, size_t *at, const char *line, size_t n)
{
    if (n > MILTER_TEXT_MAX - *at)
        n = MILTER_TEXT_MAX - *at;
    memcpy(out->text + *at, line, n);
    *at += n;
    out->text[*at] = '\0';
}

/* One line behind its code: the status, which counts on the first one, and the text. Sendmail uses it as
 * a format, so filters write %% for %. */
static void
keep_line(struct milter_code *out, size_t *at, const char *line, size_t n, bool first)
{
    size_t status = enhanced_length(line, (char)('0' + out->code / 100));

    if (status > 0 && status <= n && first)
        snprintf(out->enhanced, sizeof out->enhanced, "%.*s", (int)status, line);
    if (status > 0 && status <= n) {
        line += status;
        n -= status;
    }
    while (n > 0 && *line == ' ') {
        line++;
        n--;
    }
    if (!first)
        keep_text(out, at, "\n", 1);
    while (n > 0) {
        const char *percent = memchr(line, '%', n);
        size_t until = percent ? (size_t)(percent - line) + 1 : n;

        keep_text(out, at, line, until);
        if (until < n && percent && line[until] == '%')
            until++;
        line += until;
        n -= until;
    }
}

bool
milter_code_parse(const char *text, struct milter_code *out)
{
    size_t at = 0;

    if (!is_code(text))
        return false;
    *out = (struct milter_code){
        .code = (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0')};
    for (bool first = true, more = true; more; first = false) {
        size_t n = strcspn(text, "\r\n");
        const char *line = text + 3;

        if (!is_code(text) ||
            (text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0') != out->code)
            return false;
        more = *line == '-';
        n -= 3;
        if (n > 0) {
            line++;
            n--;
        }
        keep_line(out, &at, line, n, first);
        text = line + n;
        text += *text == '\r';
        text += *text == '\n';
        if (more ? *text == '\0' : *text != '\0')
            return false;
    }
    return true;
}

/* ---- what we say ---- */

void
milter_begin(struct milter_writer *w, uint8_t *p, size_t room, char letter)
{
    *w = (struct milter_writer){.p = p, .n = MILTER_FRAME, .room = room};
    p[4] = (uint8_t)letter;
}

void
milter_put_bytes(struct milter_writer *w, const void *bytes, size_t n)
{
    w->overflow = w->overflow || n > w->room - w->n;
    if (w->overflow || n == 0)
        return;
    memcpy(w->p + w->n, bytes, n);
    w->n += n;
}

void
milter_put_number(struct milter_writer *w, uint64_t number, size_t bytes)
{
    uint8_t out[8];

    for (size_t i = bytes; i-- > 0; number >>= 8)
        out[i] = (uint8_t)(number & 0xff);
    milter_put_bytes(w, out, bytes);
}

void
milter_put_text(struct milter_writer *w, const char *text, size_t n)
{
    size_t begin = w->n;

    if (n >= w->room - w->n)
        w->overflow = true;
    milter_put_bytes(w, text, n);
    for (size_t i = begin; i < w->n; i++)
        if (w->p[i] == '\0')
            w->p[i] = '?';
    milter_put_bytes(w, "", 1);
}

bool
milter_put_text_cut(struct milter_writer *w, const char *text, size_t n)
{
    bool cut = w->room - w->n >= 1 && n > w->room - w->n - 1;

    milter_put_text(w, text, cut ? w->room - w->n - 1 : n);
    return cut;
}

size_t
milter_end(struct milter_writer *w)
{
    size_t length = w->n - 4;

    for (size_t i = 4; i-- > 0; length >>= 8)
        w->p[i] = (uint8_t)(length & 0xff);
    return w->n;
}
