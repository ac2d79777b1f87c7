#include "answer.h"

#include <string.h>

#define FOUND " FOUND"

enum clamd_verdict
clamd_answer_parse(const char *text, const char **name, size_t *n)
{
    const char *colon = strstr(text, ": ");
    size_t rest, end = strlen(FOUND);

    if (!colon)
        return CLAMD_ERROR;
    text = colon + 2;
    rest = strlen(text);
    if (strcmp(text, "OK") == 0)
        return CLAMD_CLEAN;
    if (rest <= end || strcmp(text + rest - end, FOUND) != 0)
        return CLAMD_ERROR;
    *name = text;
    *n = rest - end;
    return CLAMD_FOUND;
}
