#include "product.h"

#include <stdio.h>
#include <string.h>

/* Exit codes and words are those that the products' manuals and amavisd-new's table tell. */
static const struct product products[] = {
    {.name = "clamscan",
        .title = "ClamAV",
        .bin = "/usr/bin/clamscan",
        .args = "--no-summary --stdout %f",
        .clean = "0",
        .infected = "1",
        .pattern = {": * FOUND"},
        .opens_links = true},
    {.name = "clamdscan",
        .title = "ClamAV",
        .bin = "/usr/bin/clamdscan",
        .args = "--fdpass --no-summary --stdout %f",
        .clean = "0",
        .infected = "1",
        .pattern = {": * FOUND"},
        .needs_name = true},
    {.name = "uvscan",
        .title = "McAfee uvscan",
        .bin = "/usr/local/bin/uvscan",
        .args = "--mime --unzip --secure %f",
        .clean = "0",
        .infected = "12,13,19",
        .pattern = {"Found *"},
        .locked = "password-protected"},
    {.name = "kav4",
        .title = "Kaspersky",
        .bin = "/opt/AVP/kavscanner",
        .args = "-Y -P -B -MP -MD %f",
        .clean = "0",
        .infected = "2,3,4,8",
        .pattern = {"infected: *", "suspicion: *"}},
    {.name = "aveclient",
        .title = "Kaspersky",
        .bin = "/opt/kav/bin/aveclient",
        .args = "-p %s -s %f",
        .socket = "/var/run/aveserver",
        .clean = "0,5",
        .infected = "2,3,4",
        .encrypted = "6",
        .lines = true,
        .needs_name = true},
    {.name = "bitdefender",
        .title = "BitDefender",
        .bin = "/opt/bdc/bdc",
        .args = "--mail --all --arc %f",
        .clean = "0",
        .pattern = {"infected: *"},
        .by_output = true},
    {.name = "hbedv",
        .title = "H+BEDV AntiVir",
        .bin = "/usr/bin/antivir",
        .args = "--archive-max-recursion=50 --alltypes -z -noboot -nombr -rs %f",
        .clean = "0",
        .infected = "1,3",
        .pattern = {"ALERT: [* "}},
    {.name = "savscan",
        .title = "Sophos",
        .bin = "/usr/local/bin/savscan",
        .args = "-nc -ss -archive -mime %f",
        .clean = "0",
        .infected = "3",
        .pattern = {"Virus '*' found"}},
    {.name = "sophie",
        .title = "SOPHIE",
        .socket = "/var/run/sophie",
        .needs_name = true,
        .talks = true},
    {.name = "custom", .title = "a virus scanner", .args = "%f"},
};

const struct product *
product_find(const char *name)
{
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        if (strcmp(name, products[i].name) == 0)
            return &products[i];
    return NULL;
}

void
product_names(char *out, size_t room)
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < sizeof products / sizeof *products && n < room; i++)
        n += (size_t)snprintf(out + n, room - n, "%s%s", i ? ", " : "", products[i].name);
}

/* ---- exit codes ---- */

bool
codes_parse(const char *text, struct codes *out)
{
    *out = (struct codes){{0}};
    for (; *text; text++) {
        int code = 0, digits = 0;

        for (; *text >= '0' && *text <= '9' && digits < 3; text++, digits++)
            code = code * 10 + (*text - '0');
        if (digits == 0 || code > 255 || (*text && (*text != ',' || !text[1])))
            return false;
        out->bit[code / 64] |= (uint64_t)1 << code % 64;
        if (!*text)
            break;
    }
    return true;
}

bool
codes_has(const struct codes *codes, int code)
{
    return code >= 0 && code <= 255 && (codes->bit[code / 64] >> code % 64 & 1);
}

/* ---- names ---- */

/* Where in line[0..n) the text `part` of m bytes begins; NULL: nowhere. */
static const char *
find(const char *line, size_t n, const char *part, size_t m)
{
    return m > 0 ? memmem(line, n, part, m) : line;
}

/* What stands in the place of the '*'; its length 0: the line does not match. */
static size_t
match(const char *pattern, const char *line, size_t n, const char **name)
{
    size_t before = strcspn(pattern, "*");
    const char *after = pattern + before + (pattern[before] == '*');
    const char *at = find(line, n, pattern, before), *end;

    if (!at)
        return 0;
    at += before;
    end = *after ? find(at, (size_t)(line + n - at), after, strlen(after)) : line + n;
    *name = at;
    return end ? (size_t)(end - at) : 0;
}

/* One more name behind those that are there, as far as it fits. */
static void
add(char *names, size_t room, const char *name, size_t n)
{
    size_t have = strlen(names);

    while (n > 0 && (name[n - 1] == ' ' || name[n - 1] == '\r' || name[n - 1] == '\t'))
        n--;
    if (n > 0)
        snprintf(names + have, room - have, "%s%.*s", have ? ", " : "", (int)n, name);
}

static void
read_names(const struct reading *how, const char *output, char *names, size_t room)
{
    size_t number = 0, n;

    for (const char *line = output; *line; line += n + (line[n] == '\n')) {
        const char *name;
        size_t length;

        n = strcspn(line, "\n");
        if (how->lines && number++ > 0)
            add(names, room, line, n);
        for (size_t i = 0; i < PATTERNS_MAX && how->pattern[i]; i++)
            if ((length = match(how->pattern[i], line, n, &name)) > 0)
                add(names, room, name, length);
    }
}

enum verdict
report_read(const struct reading *how, const struct report *report, char *names, size_t room)
{
    names[0] = '\0';
    if (codes_has(&how->infected, report->code) || how->by_output)
        read_names(how, report->output, names, room);
    if (codes_has(&how->infected, report->code) || (how->by_output && names[0]))
        return FOUND;
    if (codes_has(&how->encrypted, report->code) ||
        (how->locked && strstr(report->output, how->locked)))
        return LOCKED;
    return codes_has(&how->clean, report->code) ? CLEAN : FAILED;
}

enum verdict
answer_read(const char *answer, char *names, size_t room)
{
    names[0] = '\0';
    if (answer[0] == '0' && (answer[1] == '\0' || answer[1] == ':'))
        return CLEAN;
    if (answer[0] != '1' || (answer[1] != '\0' && answer[1] != ':'))
        return FAILED;
    if (answer[1])
        add(names, room, answer + 2, strlen(answer + 2));
    return FOUND;
}
