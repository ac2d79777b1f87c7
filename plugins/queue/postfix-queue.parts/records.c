#include "records.h"

#include <string.h>

static void
flush(struct records *r)
{
    if (r->n > 0 && r->good)
        r->good = r->put(r->data, r->out, r->n);
    r->n = 0;
}

void
records_begin(struct records *r, bool (*put)(void *data, const char *bytes, size_t n), void *data)
{
    r->put = put;
    r->data = data;
    r->good = true;
    r->n = r->line_n = 0;
    r->in_line = false;
}

void
records_raw(struct records *r, const char *bytes, size_t n)
{
    while (n > 0) {
        size_t room = sizeof r->out - r->n, some = n < room ? n : room;

        memcpy(r->out + r->n, bytes, some);
        r->n += some;
        bytes += some;
        n -= some;
        if (r->n == sizeof r->out)
            flush(r);
    }
}

/* The length: seven bits a byte, the lowest first, the high bit set on all but the last. */
static void
record(struct records *r, char type, const char *bytes, size_t n)
{
    char head[12] = {type};
    size_t at = 1;

    for (size_t left = n; at == 1 || left > 0; left >>= 7)
        head[at++] = (char)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    records_raw(r, head, at);
    records_raw(r, bytes, n);
}

void
records_text(struct records *r, char type, const char *text)
{
    record(r, type, text, strlen(text));
}

static void
line_part(struct records *r, char type)
{
    record(r, type, r->line, r->line_n);
    r->line_n = 0;
}

void
records_lines(struct records *r, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n') {
            line_part(r, 'N');
        } else if (bytes[i] != '\0') {
            if (r->line_n == RECORDS_LINE)
                line_part(r, 'L');
            r->line[r->line_n++] = bytes[i];
        }
        r->in_line = bytes[i] != '\n';
    }
}

void
records_lines_end(struct records *r)
{
    if (r->in_line)
        line_part(r, 'N');
    r->in_line = false;
}

bool
records_end(struct records *r)
{
    flush(r);
    return r->good;
}
