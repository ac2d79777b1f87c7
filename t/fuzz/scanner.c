/*
 * plugins/virus: what scanners print, and what sophie and clamd answer
 *
 * The first byte is the exit code, the second chooses a way to read it; the rest is the output.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/virus/clamdscan.parts/answer.h"
#include "../../plugins/virus/scanner.parts/product.h"

static const struct reading readings[] = {
    {.clean = {{1}}, .infected = {{2}}, .pattern = {": * FOUND"}},
    {.clean = {{1}}, .infected = {{12}}, .pattern = {"infected: *", "suspicion: *"}},
    {.clean = {{33}}, .infected = {{28}}, .encrypted = {{64}}, .lines = true},
    {.clean = {{1}}, .pattern = {"infected: *"}, .by_output = true},
    {.clean = {{1}},
        .infected = {{8}},
        .pattern = {"Virus '*' found"},
        .locked = "password-protected"},
    {.clean = {{1}}, .infected = {{~0ULL, ~0ULL, ~0ULL, ~0ULL}}, .pattern = {"*<", ">*"}},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text, names[40];
    struct report report;
    struct codes codes;
    const char *name;
    size_t n;

    if (size < 2)
        return 0;
    text = malloc(size - 1);
    assert(text);
    memcpy(text, data + 2, size - 2);
    text[size - 2] = '\0';
    report = (struct report){data[0], text};
    const struct reading *how = &readings[data[1] % (sizeof readings / sizeof *readings)];
    enum verdict v = report_read(how, &report, names, sizeof names);

    assert(strlen(names) < sizeof names && !strchr(names, '\n'));
    assert(v != FOUND || how->by_output || codes_has(&how->infected, data[0]));
    assert(v != CLEAN || codes_has(&how->clean, data[0]));
    v = answer_read(text, names, sizeof names);
    assert(strlen(names) < sizeof names);
    assert(v != CLEAN || text[0] == '0');
    if (clamd_answer_parse(text, &name, &n) == CLAMD_FOUND) {
        assert(n > 0 && name >= text && name + n + strlen(" FOUND") == text + strlen(text));
    }
    if (codes_parse(text, &codes))
        assert(strspn(text, "0123456789,") == strlen(text));
    free(text);
    return 0;
}
