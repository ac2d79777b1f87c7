#include "answer.h"

#include <stdio.h>
#include <string.h>

static bool
digit(char c, char from, char to)
{
    return c >= from && c <= to;
}

static bool
is_refusal(const char *line, size_t n)
{
    return n >= 3 && digit(line[0], '4', '5') && digit(line[1], '0', '9') &&
           digit(line[2], '0', '9') && (n == 3 || line[3] == ' ' || line[3] == '-');
}

static void
take(const char *line, size_t n, struct answer *out)
{
    size_t length = 0;

    out->code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0';
    for (size_t i = 4; i < n && length < ANSWER_TEXT; i++)
        out->text[length++] = (char)(line[i] < 0x20 || line[i] > 0x7e ? '?' : line[i]);
    out->text[length] = '\0';
    if (strspn(out->text, " ") == length)
        snprintf(out->text, sizeof out->text, "not accepted");
}

bool
answer_parse(const char *output, size_t n, struct answer *out)
{
    while (n > 0) {
        const char *lf = memchr(output, '\n', n);
        size_t whole = lf ? (size_t)(lf - output) + 1 : n, length = lf ? whole - 1 : n;

        if (length > 0 && output[length - 1] == '\r')
            length--;
        if (is_refusal(output, length)) {
            take(output, length, out);
            return true;
        }
        output += whole;
        n -= whole;
    }
    return false;
}
