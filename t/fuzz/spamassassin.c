/*
 * plugins/spamassassin: the lines that spamd answers, and the values of X-Spam-Status
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugins/spamassassin.parts/answer.h"

static void
check_printable(const char *text, const char *also)
{
    for (; *text; text++)
        assert((*text >= ' ' && *text <= '~') || strchr(also, *text));
}

static void
check_answer(const struct spamd_answer *a)
{
    assert(a->fields <= SPAMD_FIELDS_MAX && a->used <= SPAMD_TEXT_MAX && a->code >= 0 &&
           a->code < 1000);
    assert(a->score > -SPAMD_SCORE_MAX && a->score < SPAMD_SCORE_MAX);
    assert(a->required > -SPAMD_SCORE_MAX && a->required < SPAMD_SCORE_MAX);
    for (size_t i = 0; i < a->fields; i++) {
        check_printable(a->field[i].name, "");
        check_printable(a->field[i].value, "\t\n");
        assert(strncasecmp(a->field[i].name, "X-Spam-", 7) == 0 && a->field[i].name[7]);
        assert(!strpbrk(a->field[i].name, ": \t"));
        for (const char *lf = a->field[i].value; (lf = strchr(lf, '\n')); lf++)
            assert(lf[1] == ' ' || lf[1] == '\t');
    }
}

static void
check_status(const char *value)
{
    static struct spamd_status s;
    char folded[2 * SPAMD_TESTS_MAX + 64];
    int64_t n;

    if (!spamd_status_parse(value, &s))
        return;
    assert(!*s.score || spamd_score_parse(s.score, &n));
    assert(!*s.required || spamd_score_parse(s.required, &n));
    check_printable(s.tests, "");
    check_printable(s.autolearn, "");
    check_printable(s.version, "");
    spamd_tests_fold(s.tests, folded, sizeof folded);
    assert(strncmp(folded, "tests=", 6) == 0);
    for (const char *p = folded + 6, *t = s.tests; *t || *p;
         p++) /* nothing is lost but by folding */
        if (*p == '\n')
            assert(*++p == '\t');
        else
            assert(*p == *t++);
    spamd_tests_fold(s.tests, folded, 40);
    assert(strlen(folded) < 40);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spamd_answer a;
    char *text = malloc(size + 1), *rest = text, *line;

    assert(text);
    memcpy(text, data, size);
    text[size] = '\0';
    a = (struct spamd_answer){0};
    while ((line = strsep(&rest, "\n"))) {
        if (strlen(line) > SPAMD_LINE_MAX)
            line[SPAMD_LINE_MAX] = '\0';
        if (!spamd_answer_line(&a, line))
            break;
        check_answer(&a);
    }
    for (size_t i = 0; i < a.fields; i++)
        check_status(a.field[i].value);
    check_status((const char *)text);
    free(text);
    return 0;
}
