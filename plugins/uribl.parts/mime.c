#include "mime.h"

#include <ctype.h>
#include <string.h>

static int
hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10
                                        : -1;
}

static void
put_quoted(struct mime *m, const char *line, size_t n)
{
    bool newline = n > 0 && line[n - 1] == '\n';

    if (newline)
        n--;
    while (newline && n > 0 && strchr(" \t\r", line[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++) {
        if (line[i] != '=') {
            m->put(m->data, line[i]);
        } else if (i + 1 == n) {
            newline = false; /* a soft break: the line goes on */
        } else if (i + 2 < n && hex_digit(line[i + 1]) >= 0 && hex_digit(line[i + 2]) >= 0) {
            m->put(m->data, (char)(hex_digit(line[i + 1]) * 16 + hex_digit(line[i + 2])));
            i += 2;
        }
    }
    if (newline)
        m->put(m->data, '\n');
}

static void
put_base64(struct mime *m, const char *line, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < n; i++) {
        const char *digit = line[i] ? strchr(digits, line[i]) : NULL;

        if (!digit)
            continue;
        m->bits = m->bits << 6 | (uint32_t)(digit - digits);
        m->n_bits += 6;
        if (m->n_bits < 8)
            continue;
        m->n_bits -= 8;
        m->put(m->data, (char)(m->bits >> m->n_bits & 0xff));
    }
}

static void
begin_part(struct mime *m)
{
    m->put(m->data, '\n');
    m->part = (struct part){.type = TEXT};
    m->field_n = 0;
    m->bits = 0;
    m->n_bits = 0;
    m->state = HEADER;
}

static void
content_type(struct part *part, const char *value)
{
    const char *p;
    size_t n;

    value += strspn(value, " \t\r\n");
    part->type = strncasecmp(value, "multipart/", 10) == 0                    ? MULTIPART
                 : strncasecmp(value, "message/", 8) == 0                     ? MESSAGE
                 : strncasecmp(value, "text/", 5) == 0 || !strchr(value, '/') ? TEXT
                                                                              : OTHER;
    for (p = strcasestr(value, "boundary"); p; p = strcasestr(p, "boundary")) {
        p += strlen("boundary");
        p += strspn(p, " \t\r\n");
        if (*p != '=')
            continue;
        p++;
        p += strspn(p, " \t\r\n");
        n = *p == '"' ? strcspn(++p, "\"") : strcspn(p, "; \t\r\n");
        if (n <= MIME_BOUNDARY) {
            memcpy(part->boundary, p, n);
            while (n > 0 && strchr(" \t", part->boundary[n - 1]))
                n--;
            part->boundary[n] = '\0';
        }
        return;
    }
}

static void
content_encoding(struct part *part, const char *value)
{
    value += strspn(value, " \t\r\n");
    if (strncasecmp(value, "quoted-printable", 16) == 0)
        part->encoding = QUOTED_PRINTABLE;
    else if (strncasecmp(value, "base64", 6) == 0)
        part->encoding = BASE64;
}

static void
end_field(struct mime *m)
{
    m->field[m->field_n] = '\0';
    if (strncasecmp(m->field, "Content-Type:", 13) == 0)
        content_type(&m->part, m->field + 13);
    else if (strncasecmp(m->field, "Content-Transfer-Encoding:", 26) == 0)
        content_encoding(&m->part, m->field + 26);
    m->field_n = 0;
}

/* The header of a part is over. A multipart without boundary has no parts: it is read as text. */
static void
begin_body(struct mime *m)
{
    m->state = BODY;
    if (m->part.type == MULTIPART && m->part.boundary[0] && m->depth < MIME_DEPTH) {
        memcpy(m->boundary[m->depth++], m->part.boundary, sizeof m->part.boundary);
        m->state = SKIP;
    } else if (m->part.type == MESSAGE && m->part.encoding == IDENTITY) {
        begin_part(m);
    }
}

/* A line of a part's header; `fresh`: it is the beginning of one. */
static void
header_line(struct mime *m, const char *line, size_t n, bool fresh)
{
    if (fresh && line[0] != ' ' && line[0] != '\t')
        end_field(m);
    if (fresh && (line[0] == '\n' || (n == 2 && line[0] == '\r'))) {
        begin_body(m);
        return;
    }
    n = n < MIME_FIELD - m->field_n ? n : MIME_FIELD - m->field_n;
    for (size_t i = 0; i < n; i++)
        m->field[m->field_n++] = line[i] ? line[i] : '?';
}

/* Is the line a boundary, of this part or of one around it? Then the parts inside of it are over. */
static bool
at_boundary(struct mime *m, const char *line, size_t n)
{
    if (n < 3 || line[0] != '-' || line[1] != '-')
        return false;
    while (n > 3 && strchr(" \t\r\n", line[n - 1]))
        n--;
    for (size_t i = m->depth; i-- > 0;) {
        size_t length = strlen(m->boundary[i]);

        if (n < length + 2 || memcmp(line + 2, m->boundary[i], length) != 0)
            continue;
        if (n == length + 2) {
            m->depth = i + 1;
            begin_part(m);
            return true;
        }
        if (n == length + 4 && memcmp(line + length + 2, "--", 2) == 0) {
            m->depth = i;
            m->put(m->data, '\n');
            m->state = SKIP;
            return true;
        }
    }
    return false;
}

void
mime_begin(struct mime *m, const char *type, const char *encoding)
{
    begin_part(m);
    if (type)
        content_type(&m->part, type);
    if (encoding)
        content_encoding(&m->part, encoding);
    begin_body(m);
}

void
mime_line(struct mime *m, const char *line, size_t n, bool fresh)
{
    if (fresh && m->depth > 0 && at_boundary(m, line, n))
        return;
    if (m->state == HEADER) {
        header_line(m, line, n, fresh);
    } else if (m->state == BODY && m->part.type != OTHER) {
        if (m->part.encoding == BASE64)
            put_base64(m, line, n);
        else if (m->part.encoding == QUOTED_PRINTABLE)
            put_quoted(m, line, n);
        else
            for (size_t i = 0; i < n; i++)
                m->put(m->data, line[i]);
    }
}
