#include "stuffing.h"

size_t
stuffing_put(struct stuffing *s, const char *bytes, size_t n, char *out)
{
    size_t length = 0;

    for (size_t i = 0; i < n; i++) {
        char c = bytes[i] == '\r' ? '\n' : bytes[i];

        if (s->line_start && c == '.')
            out[length++] = '.';
        out[length++] = c;
        s->line_start = c == '\n';
    }
    return length;
}
