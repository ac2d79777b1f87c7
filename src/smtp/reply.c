#include "smtp/reply.h"

#define LINE_MAX_BYTES 510 /* without CR LF */

/* X.Y.Z, each of 1 to 3 digits, the first one a class that RFC 3463 knows. */
static bool
is_enhanced(struct str s)
{
    for (int part = 0; part < 3; part++) {
        struct str digits = str_cut(&s, '.');
        uint64_t n;

        if (digits.n > 3 || !str_number(digits, 999, &n) ||
            (part == 0 && n != 2 && n != 4 && n != 5))
            return false;
    }
    return s.n == 0;
}

/* The status in a trailing "(#5.7.1)", taken off the text; n is 0 when there is none for that
 * class. */
static struct str
trailing_status(struct str *text, int code)
{
    struct str status = {text->p, 0};
    size_t open = text->n;

    if (!text->n || text->p[text->n - 1] != ')')
        return status;
    while (open && text->p[open - 1] != '(')
        open--;
    if (!open || text->p[open] != '#')
        return status;
    status = (struct str){text->p + open + 1, text->n - open - 2};
    if (!is_enhanced(status) || status.p[0] != '0' + code / 100)
        return (struct str){text->p, 0};
    *text = str_trim((struct str){text->p, open - 1});
    return status;
}

static void
put_line(struct buf *out, int code, char separator, struct str status, struct str line)
{
    const char head[] = {
        (char)('0' + code / 100), (char)('0' + code / 10 % 10), (char)('0' + code % 10), separator};
    size_t room = LINE_MAX_BYTES - sizeof head - (status.n ? status.n + 1 : 0), start;

    buf_put(out, (struct str){head, sizeof head});
    if (status.n) {
        buf_put(out, status);
        buf_putc(out, ' ');
    }
    start = out->n;
    buf_put(out, (struct str){line.p, line.n < room ? line.n : room});
    for (size_t i = start; i < out->n; i++)
        if (ascii_control(out->p[i]))
            out->p[i] = '?';
    buf_put(out, STR("\r\n"));
}

void
reply_format(struct buf *out, int code, const char *enhanced, const char *text)
{
    struct str rest = str_trim(str_of(text)), status = {"", 0};

    if (enhanced) {
        status = trailing_status(&rest, code);
        status = status.n ? status : str_of(enhanced);
    }
    do {
        struct str line = str_cut(&rest, '\n');

        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        put_line(out, code, rest.n ? '-' : ' ', status, line);
    } while (rest.n);
}
