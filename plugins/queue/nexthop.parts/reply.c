#include "reply.h"

#include <string.h>

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void
reply_begin(struct reply *r)
{
    r->code = 0;
    r->enhanced[0] = r->text[0] = r->line[0] = '\0';
    r->lines = r->raw_n = r->text_n = 0;
}

/* 1 to 3 digits, and what follows them; NULL: none */
static const char *
skip_number(const char *p)
{
    size_t n = strspn(p, "0123456789");

    return n >= 1 && n <= 3 ? p + n : NULL;
}

/* The length of "5.1.1" at the start of text when its class is that of the code; else 0. */
static size_t
status_length(const struct reply *r, const char *text)
{
    const char *p = text;

    if (text[0] != '0' + (char)(r->code / 100) || text[1] != '.' || !(p = skip_number(text + 2)) ||
        *p != '.' || !(p = skip_number(p + 1)) || (*p != ' ' && *p != '\0'))
        return 0;
    return (size_t)(p - text);
}

static void
add_text(struct reply *r, const char *text)
{
    size_t n = strlen(text);

    if (r->text_n && n && r->text_n < REPLY_TEXT_MAX)
        r->text[r->text_n++] = ' ';
    if (n > REPLY_TEXT_MAX - r->text_n)
        n = REPLY_TEXT_MAX - r->text_n;
    memcpy(r->text + r->text_n, text, n);
    r->text_n += n;
    r->text[r->text_n] = '\0';
}

static void
keep_line(struct reply *r, const char *p, size_t n)
{
    const char *text = r->line;
    size_t status;

    for (size_t i = 0; i < n; i++)
        r->line[i] = p[i] >= ' ' && p[i] <= '~' ? p[i] : '?';
    r->line[n] = '\0';
    status = status_length(r, text);
    if (status && r->lines == 1) {
        memcpy(r->enhanced, text, status);
        r->enhanced[status] = '\0';
    }
    text += status;
    add_text(r, text + strspn(text, " "));
}

/* A complete line of n bytes, without its line end: "250-text", "250 text", "250" */
static enum reply_status
take_line(struct reply *r, const char *p, size_t n)
{
    int code;

    if (n < 3 || p[0] < '2' || p[0] > '5' || !is_digit(p[1]) || !is_digit(p[2]) ||
        (n > 3 && p[3] != ' ' && p[3] != '-'))
        return REPLY_BAD;
    code = 100 * (p[0] - '0') + 10 * (p[1] - '0') + p[2] - '0';
    if (r->lines == 0)
        r->code = code;
    if (code != r->code || r->lines == REPLY_LINES_MAX)
        return REPLY_BAD;
    r->lines++;
    keep_line(r, p + (n > 3 ? 4 : 3), n - (n > 3 ? 4 : 3));
    return n > 3 && p[3] == '-' ? REPLY_LINE : REPLY_DONE;
}

enum reply_status
reply_feed(struct reply *r, const char *p, size_t n, size_t *taken)
{
    const char *lf = n ? memchr(p, '\n', n) : NULL;
    size_t part = lf ? (size_t)(lf - p) : n, room = sizeof r->raw - r->raw_n;

    *taken = lf ? part + 1 : n;
    if (part > room)
        return REPLY_BAD;
    if (part)
        memcpy(r->raw + r->raw_n, p, part);
    part += r->raw_n;
    r->raw_n = part;
    if (!lf)
        return part > REPLY_LINE_MAX && (part > REPLY_LINE_MAX + 1 || r->raw[part - 1] != '\r')
                   ? REPLY_BAD
                   : REPLY_MORE;
    r->raw_n = 0;
    if (part && r->raw[part - 1] == '\r')
        part--;
    return part > REPLY_LINE_MAX ? REPLY_BAD : take_line(r, r->raw, part);
}
