#include "net/hosts.h"

#include <stdio.h>

#define LINE_ROOM 1024

/* Is it one of these words? */
static bool
lists(struct str words, struct str name)
{
    for (struct str word = str_word(&words); word.n; word = str_word(&words))
        if (str_ieq(word, name))
            return true;
    return false;
}

static size_t
search(FILE *file, struct str name, struct ip out[], size_t max)
{
    char line[LINE_ROOM];
    size_t n = 0;

    while (n < max && fgets(line, sizeof line, file)) {
        struct str rest = {line, strcspn(line, "#\r\n")};

        if (ip_parse(str_word(&rest), &out[n]) && lists(rest, name))
            n++;
    }
    return n;
}

size_t
hosts_find(const char *file, const char *name, struct ip out[], size_t max)
{
    static const struct str localhost[] = {{"127.0.0.1", 9}, {"::1", 3}};
    FILE *f = fopen(file, "re");
    size_t n = f ? search(f, str_of(name), out, max) : 0;

    if (f)
        fclose(f);
    if (n > 0 || !str_ieq(str_of(name), STR("localhost")))
        return n;
    while (n < max && n < sizeof localhost / sizeof *localhost && ip_parse(localhost[n], &out[n]))
        n++;
    return n;
}
