#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/table.h"
#include "scratch.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct world {
    struct arena *arena, *scratch;
    struct scratch dir;
};

static int
set_up(void **state)
{
    static struct world w;

    w.arena = arena_open("test");
    w.scratch = arena_open("test lookups");
    scratch_open(&w.dir);
    *state = &w;
    return 0;
}

static int
tear_down(void **state)
{
    struct world *w = *state;

    arena_close(&w->scratch);
    arena_close(&w->arena);
    scratch_close(&w->dir);
    return 0;
}

static const struct table *
table_of(struct world *w, enum table_match kind, const char *text)
{
    const struct qp_line *bad = NULL;
    struct err e = {""};
    const struct table *t =
        table_new(w->arena, kind, config_parse(w->arena, "list", str_of(text)), &bad, &e);

    if (t == NULL)
        fail_msg("\"%s\": %s", bad ? bad->text : "?", e.text);
    return t;
}

/* The value; "ABSENT" or "BROKEN". */
static const char *
find(struct world *w, const struct table *t, const char *key)
{
    const char *value = "unset";
    enum table_status status = table_find(t, key, w->scratch, &value);

    assert_int_equal(table_find(t, key, w->scratch, NULL), status);
    if (status != TABLE_FOUND)
        assert_null(value);
    return status == TABLE_FOUND ? value : status == TABLE_ABSENT ? "ABSENT" : "BROKEN";
}

struct lookup_case {
    const char *key, *want;
};

static void
check(struct world *w, const struct table *t, const struct lookup_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(find(w, t, cases[i].key), cases[i].want) != 0)
            fail_msg("\"%s\" gives \"%s\", not \"%s\"", cases[i].key, find(w, t, cases[i].key),
                cases[i].want);
}

static void
exact_keys_fold_case_and_values_begin_behind_the_blanks(void **state)
{
    static const struct lookup_case cases[] = {
        {"alpha", ""},
        {"ALPHA", ""},
        {"beta", "two  words"},
        {"gamma", "first"},
        {"alph", "ABSENT"},
        {"alpha ", "ABSENT"},
        {"alpha.", "ABSENT"},
        {"dot.", "kept"},
        {"dot", "ABSENT"},
        {"", "ABSENT"},
    };
    struct world *w = *state;
    const struct table *t = table_of(
        w, TABLE_EXACT, "Alpha\nbeta \t two  words \nGAMMA first\ngamma second\ndot. kept\n");

    check(w, t, cases, COUNT(cases));
    assert_int_equal(table_count(t), 4);
    assert_int_equal(table_count(table_of(w, TABLE_EXACT, "")), 0);
    assert_string_equal(find(w, table_of(w, TABLE_EXACT, ""), "x"), "ABSENT");
}

static const struct lookup_case address_cases[] = {
    {"joe@example.com", "joe"},
    {"JOE@Example.COM", "joe"},
    {"joe@example.com.", "joe"},
    {"jim@example.com", "all"},
    {"@example.com", "all"},
    {"joe@a.example.com", "ABSENT"},
    {"\"a@b\"@example.com", "all"},
    {"joe@dotted.example", "dotted"},
    {"joe@dotted.example.", "dotted"},
    {"joe@dotted.example..", "ABSENT"},
    {"@", "ABSENT"},
    {"joe@", "ABSENT"},
    {"joe@.", "ABSENT"},
    {"joe", "ABSENT"},
    {"example.com", "ABSENT"},
    {"", "ABSENT"},
    {".", "ABSENT"},
};

static void
addresses_match_whole_or_by_host(void **state)
{
    struct world *w = *state;
    const struct table *t = table_of(w, TABLE_ADDRESS,
        "Joe@EXAMPLE.com joe\njoe@example.com. again\n@example.com all\n@dotted.example. dotted\n");

    check(w, t, address_cases, COUNT(address_cases));
    assert_int_equal(table_count(t), 3);
}

static const struct lookup_case domain_cases[] = {
    {"example.com", "host"},
    {"Example.Com.", "host"},
    {"a.example.com", "ABSENT"},
    {"example.net", "ABSENT"},
    {"a.example.net", "below"},
    {"B.A.EXAMPLE.NET.", "below"},
    {"x.deep.example.net", "deeper"},
    {"deep.example.net", "below"},
    {"aexample.net", "ABSENT"},
    {"example.net.evil.org", "ABSENT"},
    {"com", "ABSENT"},
    {"dotted.example", "dotted"},
    {"[192.0.2.1]", "literal"},
    {"[192.0.2.2]", "ABSENT"},
    {"", "ABSENT"},
    {".", "ABSENT"},
    {"..", "ABSENT"},
    {"a@example.com", "ABSENT"},
};

static void
domains_match_whole_or_below_a_dotted_suffix(void **state)
{
    struct world *w = *state;
    const struct table *t = table_of(w, TABLE_DOMAIN,
        "EXAMPLE.com host\n.example.NET below\n.deep.example.net deeper\ndotted.example. dotted\n"
        "example.com. again\n[192.0.2.1] literal\nx_y-z.example\n");

    check(w, t, domain_cases, COUNT(domain_cases));
    assert_int_equal(table_count(t), 6);
}

static void
addresses_of_clients_match_the_longest_network(void **state)
{
    static const struct lookup_case cases[] = {
        {"192.0.2.1", "single"},
        {"::ffff:192.0.2.1", "single"},
        {"192.0.2.2", "half"},
        {"192.0.2.200", "dotted"},
        {"192.0.3.1", "ABSENT"},
        {"192.168.255.1", "two"},
        {"10.1.2.3", "ten"},
        {"2001:db8::1", "v6"},
        {"2001:DB8:0:0::1", "v6"},
        {"2001:db8:1::1", "group"},
        {"2001:db9::1", "rest"},
        {"172.16.0.1", "ABSENT"}, /* ::/0 is for IPv6 */
        {"unknown", "ABSENT"},
        {"", "ABSENT"},
        {"192.0.2.", "ABSENT"},
        {"192.0.2.1 ", "ABSENT"},
        {"[192.0.2.1]", "ABSENT"},
        {"192.0.2.0/25", "ABSENT"},
    };
    struct world *w = *state;
    const struct table *t = table_of(w, TABLE_IP,
        "10.0.0.0/8 ten\n192.0.2. dotted\n192.0.2.1 single\n192.0.2.77/25 half\n"
        "192.0.2.0/25 again\n192.168. two\n2001:DB8::/32 v6\n2001:db8:1: group\n::/0 rest\n");

    check(w, t, cases, COUNT(cases));
    assert_int_equal(table_count(t), 8);
    assert_string_equal(find(w, table_of(w, TABLE_IP, "0.0.0.0/0 all"), "9.9.9.9"), "all");
    assert_string_equal(find(w, table_of(w, TABLE_IP, "0.0.0.0/0 all"), "::1"), "ABSENT");
}

static void
ill_formed_entries_are_refused_with_their_line(void **state)
{
    static const struct {
        enum table_match kind;
        const char *entry, *why;
    } cases[] = {
        {TABLE_ADDRESS, "example.com", "no @ in \"example.com\""},
        {TABLE_ADDRESS, "joe a@b", "no @ in \"joe\""},
        {TABLE_ADDRESS, "joe@", "no host"},
        {TABLE_ADDRESS, "@.", "no host"},
        {TABLE_IP, "192.0.2", "is no address or network"},
        {TABLE_IP, "192.0.2.0/33", "is no address or network"},
        {TABLE_IP, "example.com", "is no address or network"},
        {TABLE_IP, ".", "is no address or network"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct qp_line lines[] = {
            {cases[i].kind == TABLE_ADDRESS ? "a@b" : "::1", "f", 1}, {cases[i].entry, "f", 7}};
        const struct qp_line *bad = NULL;
        struct err e = {""};

        assert_null(table_new(w->arena, cases[i].kind, (struct config_value){lines, 2}, &bad, &e));
        assert_ptr_equal(bad, &lines[1]);
        if (strstr(e.text, cases[i].why) == NULL)
            fail_msg("\"%s\": %s", cases[i].entry, e.text);
    }
}

static bool
take_log(void *data, const struct log_event *event)
{
    snprintf(data, LOG_LINE_MAX, "%d %s", (int)event->level, event->text);
    return true;
}

/* They stop no mail; who compiles the list is told. */
static void
what_is_no_domain_is_passed_over(void **state)
{
    static const char *const entries[] = {"joe@example.com", "@example.com", "*.example.com", ".",
        "..", "a..b", "..example.com", "a,b", "example.com:25", "10.0.0.0/8",
        "b\xc3\xbc"
        "cher.example",
        "a\x01"
        "b",
        "[]", "[1.2.3.4", "[a@b]"};
    struct world *w = *state;

    for (size_t i = 0; i < COUNT(entries); i++) {
        const struct qp_line lines[] = {{"a", "f", 1}, {entries[i], "f", 7}, {"c", "f", 8}};
        char logged[LOG_LINE_MAX] = "", room[64];
        struct table_entry entry;
        struct err e = {""};
        const struct table *t;

        assert_false(table_entry(TABLE_DOMAIN, str_of(entries[i]), room, &entry, &e));
        assert_non_null(strstr(e.text, "is no domain"));
        log_sink_set(take_log, logged, LOG_LEVEL_WARN);
        t = table_new(w->arena, TABLE_DOMAIN, (struct config_value){lines, 3}, NULL, &e);
        log_sink_set(NULL, NULL, LOG_LEVEL_WARN);
        assert_non_null(t);
        assert_int_equal(table_count(t), 2);
        assert_string_equal(find(w, t, entries[i]), "ABSENT");
        assert_string_equal(find(w, t, "c"), "");
        assert_non_null(strstr(logged, "4 f:7: "));
        assert_non_null(strstr(logged, "is no domain: ignored"));
    }
}

static const struct table *
cdb_of(struct world *w, enum table_match kind, const char *records)
{
    struct err e = {""};
    const struct table *t =
        table_open_cdb(w->arena, kind, scratch_cdb(&w->dir, "x.cdb", str_of(records)), &e);

    if (t == NULL)
        fail_msg("%s", e.text);
    return t;
}

static void
a_cdb_is_asked_in_the_same_order(void **state)
{
    static const struct lookup_case ip_cases[] = {
        {"192.0.2.1", "single"},
        {"::ffff:192.0.2.1", "single"},
        {"192.0.2.10", "dotted"},
        {"192.0.3.1", "one"},
        {"192.0.20.1", "one"},
        {"19.0.2.1", "ABSENT"},
        {"2001:DB8:0::1", "six"},
        {"2001:db8::2", "double"},
        {"2001:db8:1::2", "group"},
        {"2001:db9::", "top"},
        {"2002::", "ABSENT"},
        {"::1", "ABSENT"},
        {"unknown", "ABSENT"},
        {"", "ABSENT"},
    };
    struct world *w = *state;

    check(w,
        cdb_of(w, TABLE_ADDRESS,
            "+15,3:joe@example.com->joe\n+12,3:@example.com->all\n+15,6:@dotted.example->dotted\n"
            "+0,3:->bad\n\n"),
        address_cases, COUNT(address_cases));
    check(w,
        cdb_of(w, TABLE_DOMAIN,
            "+11,4:example.com->host\n+12,5:.example.net->below\n+17,6:.deep.example.net->deeper\n"
            "+14,6:dotted.example->dotted\n+11,7:[192.0.2.1]->literal\n+0,3:->bad\n\n"),
        domain_cases, COUNT(domain_cases));
    check(w,
        cdb_of(w, TABLE_IP,
            "+9,6:192.0.2.1->single\n+8,6:192.0.2.->dotted\n+4,3:192.->one\n+11,3:2001:db8::1->"
            "six\n"
            "+10,6:2001:db8::->double\n+9,5:2001:db8:->group\n+5,3:2001:->top\n+0,3:->bad\n\n"),
        ip_cases, COUNT(ip_cases));
    assert_string_equal(find(w, cdb_of(w, TABLE_EXACT, "+3,1:key->v\n\n"), "KEY"), "v");
    assert_int_equal(table_count(cdb_of(w, TABLE_EXACT, "+3,1:key->v\n\n")), 0);
}

static void
values_of_a_cdb_are_text_up_to_a_nul(void **state)
{
    struct world *w = *state;
    struct err e;
    const struct table *t = table_open_cdb(
        w->arena, TABLE_EXACT, scratch_cdb(&w->dir, "x.cdb", STR("+1,3:k->a\0b\n\n")), &e);

    assert_non_null(t);
    assert_string_equal(find(w, t, "k"), "a");
}

static void
a_missing_cdb_is_empty_only_when_nobody_named_one(void **state)
{
    struct world *w = *state;
    struct err e = {""};
    const struct table *t = table_open_cdb(w->arena, TABLE_DOMAIN, NULL, &e);

    assert_non_null(t);
    assert_string_equal(find(w, t, "example.com"), "ABSENT");
    assert_null(table_open_cdb(w->arena, TABLE_DOMAIN, scratch_path(&w->dir, "none"), &e));
    assert_non_null(strstr(e.text, "No such file"));
    assert_null(table_open_cdb(w->arena, TABLE_DOMAIN, scratch_write(&w->dir, "x", STR("")), &e));
}

static void
a_damaged_cdb_is_broken_and_not_absent(void **state)
{
    static uint8_t wild[2048];
    struct world *w = *state;
    struct err e;
    const struct table *t;

    memset(wild, 0xff, sizeof wild);
    scratch_write(&w->dir, "x", (struct str){(const char *)wild, sizeof wild});
    for (int kind = TABLE_EXACT; kind <= TABLE_IP; kind++) {
        t = table_open_cdb(w->arena, (enum table_match)kind, scratch_path(&w->dir, "x"), &e);
        assert_non_null(t);
        assert_string_equal(find(w, t, kind == TABLE_IP ? "192.0.2.1" : "a@b.c"), "BROKEN");
    }
}

static void
large_lists_are_no_linear_scan(void **state)
{
    struct world *w = *state;
    size_t n = 100000;
    struct qp_line *line = arena_alloc(w->arena, n * sizeof *line);
    const struct qp_line *bad;
    const struct table *t;
    int64_t start;
    struct err e;

    for (size_t i = 0; i < n; i++)
        line[i] = (struct qp_line){
            arena_printf(w->arena, "10.%zu.%zu.0/24 %zu", i >> 8 & 255, i & 255, i), "f", 1};
    t = table_new(w->arena, TABLE_IP, (struct config_value){line, 60000}, &bad, &e);
    assert_non_null(t);
    assert_int_equal(table_count(t), 60000);
    start = clock_ms();
    for (size_t i = 0; i < 60000; i++) {
        char key[32], want[16];

        snprintf(key, sizeof key, "10.%zu.%zu.9", i >> 8 & 255, i & 255);
        snprintf(want, sizeof want, "%zu", i);
        assert_string_equal(find(w, t, key), want);
    }
    for (size_t i = 0; i < n; i++)
        line[i].text = arena_printf(w->arena, "host%zu.example.com", i);
    t = table_new(w->arena, TABLE_DOMAIN, (struct config_value){line, n}, &bad, &e);
    assert_non_null(t);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(find(w, t, line[i].text), "");
    /* a scan of each list would take 10 billion comparisons */
    assert_true(clock_ms() - start < 20000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exact_keys_fold_case_and_values_begin_behind_the_blanks),
        TEST(addresses_match_whole_or_by_host),
        TEST(domains_match_whole_or_below_a_dotted_suffix),
        TEST(addresses_of_clients_match_the_longest_network),
        TEST(ill_formed_entries_are_refused_with_their_line),
        TEST(what_is_no_domain_is_passed_over),
        TEST(a_cdb_is_asked_in_the_same_order),
        TEST(values_of_a_cdb_are_text_up_to_a_nul),
        TEST(a_missing_cdb_is_empty_only_when_nobody_named_one),
        TEST(a_damaged_cdb_is_broken_and_not_absent),
        TEST(large_lists_are_no_linear_scan),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("conf/table", tests, NULL, NULL);
}
