#include "text.h"

#include <string.h>

void
text_survey(struct text_survey *s, const char *p, size_t n)
{
    unsigned char all = 0;

    for (size_t i = 0; i < n; i++) {
        all |= (unsigned char)p[i];
        s->size += p[i] == '\n';
    }
    s->size += n;
    s->eight_bit = s->eight_bit || all >= 0x80;
    if (n)
        s->open = p[n - 1] != '\n';
}

void
text_survey_end(struct text_survey *s)
{
    if (s->open)
        s->size += 2;
    s->open = false;
}

static void
blank_cr(char *p, size_t n)
{
    for (char *end = p + n; (p = memchr(p, '\r', (size_t)(end - p))); p++)
        *p = ' ';
}

size_t
text_stuff(struct text_stuffing *s, const char *p, size_t n, char *out)
{
    const char *end = p + n;
    char *to = out;

    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t part = (size_t)((lf ? lf : end) - p);

        if (!s->inside && *p == '.')
            *to++ = '.';
        memcpy(to, p, part);
        blank_cr(to, part);
        to += part;
        s->inside = !lf;
        if (lf) {
            *to++ = '\r';
            *to++ = '\n';
        }
        p += part + (lf != NULL);
    }
    return (size_t)(to - out);
}

size_t
text_end(const struct text_stuffing *s, char *out)
{
    size_t n = s->inside ? 5 : 3;

    memcpy(out, &"\r\n.\r\n"[5 - n], n);
    return n;
}
