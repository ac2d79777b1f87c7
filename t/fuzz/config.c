/*
 * t/fuzz/config - any bytes as a configuration file: the lines keep their promises, and every table
 * that can be made of them finds its own keys
 */
#include <assert.h>

#include "base/log.h"
#include "conf/config.h"
#include "conf/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_lines(struct config_value v, size_t n)
{
    unsigned int number = 0;

    for (size_t i = 0; i < v.n; i++) {
        struct str text = str_of(v.line[i].text);

        assert(text.n > 0 && text.n <= n && text.p[0] != '#');
        assert(str_trim(text).n == text.n);
        assert(str_find(text, '\n') == text.n);
        assert(v.line[i].number > number);
        number = v.line[i].number;
        assert(str_eq(str_of(v.line[i].file), STR("fuzz")));
    }
    assert(number <= n);
}

static void
check_table(struct arena *a, enum table_match kind, struct config_value v)
{
    const struct qp_line *bad = NULL;
    struct err e = {""};
    const struct table *t = table_new(a, kind, v, &bad, &e);
    const char *value;

    if (t == NULL) {
        assert(bad >= v.line && bad < v.line + v.n);
        assert(e.text[0] != '\0');
        return;
    }
    assert(table_count(t) <= v.n);
    assert(v.n == 0 || kind == TABLE_DOMAIN || table_count(t) > 0);
    for (size_t i = 0; i < v.n; i++) {
        struct str rest = str_of(v.line[i].text);
        struct str word = str_word(&rest);
        enum table_status status = table_find(t, arena_dup(a, word), a, &value);
        char *room = arena_alloc(a, TABLE_ROOM(word));
        struct table_entry entry;

        if (kind != TABLE_IP && table_entry(kind, word, room, &entry, &e)) /* a network is no key */
            assert(status == TABLE_FOUND);
        assert((value != NULL) == (status == TABLE_FOUND));
    }
    assert(table_find(t, "", a, NULL) == TABLE_ABSENT);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena *a = arena_open("fuzz");
    struct config_value v;

    log_level_set(LOG_LEVEL_ERROR); /* what is passed over is a warning each */
    v = config_parse(a, "fuzz", (struct str){(const char *)data, n});
    assert((v.line == NULL) == (v.n == 0));
    check_lines(v, n);
    for (int kind = TABLE_EXACT; kind <= TABLE_IP; kind++)
        check_table(a, (enum table_match)kind, v);
    arena_close(&a);
    return 0;
}
