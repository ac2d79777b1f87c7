/*
 * Compiled lists: whatever the list and the key are, the answer is that of the text and of a cdb;
 * whatever happens to the file, it is that answer or none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/buf.h"
#include "conf/bdz.h"
#include "conf/mph.h"
#include "conf/table.h"
#include "scratch.h"
#include "server/fault.h"
#include "server/table_compile.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct world {
    struct arena *arena, *scratch;
    struct scratch dir;
    uint64_t random;
};

static int
set_up(void **state)
{
    static struct world w;

    w.arena = arena_open("test");
    w.scratch = arena_open("test lookups");
    w.random = UINT64_C(88172645463325252);
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

/* The same numbers in each run. */
static size_t
draw(struct world *w, size_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (size_t)((w->random >> 11) % below);
}

static const char *
word(struct world *w, const char *const words[], size_t n)
{
    return words[draw(w, n)];
}

#define WORD(w, words) word(w, words, COUNT(words))

/* ---- forms of one list ---- */

static const struct table *
compile(struct world *w, enum table_match kind, struct str text, struct table_report *report)
{
    struct table_report ignored;
    char path[PATH_MAX];
    struct err e = {""};
    struct table *t;

    snprintf(path, sizeof path, "%s/list.mph", w->dir.dir);
    if (!table_compile(
            scratch_write(&w->dir, "list", text), path, kind, report ? report : &ignored, &e))
        fail_msg("%s", e.text);
    t = table_open_mph(w->arena, kind, path, &e);
    if (!t)
        fail_msg("%s", e.text);
    return t;
}

static const struct table *
read_text(struct world *w, enum table_match kind, struct str text)
{
    const struct qp_line *bad = NULL;
    struct err e = {""};
    const struct table *t =
        table_new(w->arena, kind, config_parse(w->arena, "list", text), &bad, &e);

    if (!t)
        fail_msg("\"%s\": %s", bad ? bad->text : "?", e.text);
    return t;
}

/* As an administrator would: keys in lower case without the dot at the end. */
static const struct table *
make_cdb(struct world *w, enum table_match kind, struct str text)
{
    struct config_value lines = config_parse(w->arena, "list", text);
    struct buf records;
    struct err e = {""};
    const struct table *t;

    buf_init(&records, w->arena, (size_t)1 << 20);
    for (size_t i = 0; i < lines.n; i++) {
        struct str line = str_of(lines.line[i].text);
        struct table_entry entry;

        assert_true(table_entry(kind == TABLE_IP ? TABLE_EXACT : kind, line,
            arena_alloc(w->scratch, TABLE_ROOM(line)), &entry, &e));
        buf_printf(&records, "+%zu,%zu:%.*s->%.*s\n", entry.key.n, entry.value.n,
            STR_ARG(entry.key), STR_ARG(entry.value));
    }
    buf_putc(&records, '\n');
    assert_false(records.overflow);
    t = table_open_cdb(w->arena, kind, scratch_cdb(&w->dir, "list.cdb", buf_str(&records)), &e);
    assert_non_null(t);
    return t;
}

static const char *
answer(struct world *w, const struct table *t, const char *key)
{
    const char *value = NULL;

    switch (table_find(t, key, w->scratch, &value)) {
    case TABLE_FOUND:
        return value;
    case TABLE_ABSENT:
        return "(absent)";
    case TABLE_BROKEN:
        break;
    }
    return "(broken)";
}

/* ---- random lists ---- */

/* Few words, so that most keys meet something: an entry, its suffix, a neighbour. */
static const char *const labels[] = {"a", "b", "example", "EXAMPLE", "mail", "x-1", "com", "org"};
static const char *const users[] = {"joe", "Joe", "j.o.e", "j+o", "\"j@e\"", "", "\xe9t\xe9"};
static const char *const octets[] = {"10", "192", "0", "1", "2", "255"};
static const char *const groups[] = {"2001", "db8", "0", "1", "DB8", "ffff"};
static const char *const ends[] = {"", "", "", "."};
static const char *const blanks[] = {" ", "\t", " \t "};

static void
put_domain(struct world *w, struct buf *b)
{
    size_t n = 1 + draw(w, 3);

    while (n-- > 0) {
        buf_puts(b, WORD(w, labels));
        if (n > 0)
            buf_putc(b, '.');
    }
    buf_puts(b, WORD(w, ends));
}

static void
put_v4(struct world *w, struct buf *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%s", WORD(w, octets), i < 3 ? "." : "");
}

static void
put_v6(struct world *w, struct buf *b)
{
    buf_printf(b, "%s:%s::%s", WORD(w, groups), WORD(w, groups), WORD(w, groups));
}

/* cdb: what such a list can say in every form */
static void
put_network(struct world *w, struct buf *b, bool cdb)
{
    switch (draw(w, cdb ? 2 : 6)) {
    case 0:
        put_v4(w, b, 4);
        break;
    case 1:
        put_v4(w, b, 1 + draw(w, 3));
        break;
    case 2:
        put_v4(w, b, 4);
        buf_printf(b, "/%zu", draw(w, 33));
        break;
    case 3:
        put_v6(w, b);
        break;
    case 4:
        put_v6(w, b);
        buf_printf(b, "/%zu", draw(w, 129));
        break;
    case 5:
        buf_printf(b, "%s:%s:", WORD(w, groups), WORD(w, groups));
        break;
    default:
        break;
    }
}

static void
put_word(struct world *w, struct buf *b, enum table_match kind, bool cdb)
{
    switch (kind) {
    case TABLE_EXACT:
        buf_printf(b, "%s%s", WORD(w, users), WORD(w, labels));
        break;
    case TABLE_ADDRESS:
        buf_printf(b, "%s@", WORD(w, users));
        put_domain(w, b);
        break;
    case TABLE_DOMAIN:
        buf_puts(b, draw(w, 2) ? "." : "");
        put_domain(w, b);
        break;
    case TABLE_IP:
    case TABLE_BAD:
        put_network(w, b, cdb);
        break;
    }
}

/* With comments, blank lines, CR, repeated entries; the last line may have no end. */
static struct str
random_list(struct world *w, enum table_match kind, bool cdb)
{
    size_t n = draw(w, 60);
    struct buf b;

    buf_init(&b, w->arena, (size_t)1 << 20);
    for (size_t i = 0; i < n; i++) {
        if (draw(w, 10) == 0)
            buf_puts(&b, draw(w, 2) ? "# comment\n" : " \n");
        put_word(w, &b, kind, cdb);
        if (draw(w, 2))
            buf_printf(&b, "%svalue %zu", WORD(w, blanks), i);
        if (i + 1 < n || draw(w, 2))
            buf_puts(&b, draw(w, 8) ? "\n" : "\r\n");
    }
    return buf_str(&b);
}

static const char *
random_key(struct world *w, enum table_match kind)
{
    struct buf b;

    buf_init(&b, w->scratch, 4096);
    switch (kind) {
    case TABLE_EXACT:
    case TABLE_DOMAIN:
    case TABLE_ADDRESS:
        put_word(w, &b, kind, false);
        if (draw(w, 4) == 0)
            put_domain(w, &b);
        break;
    case TABLE_IP:
    case TABLE_BAD:
        if (draw(w, 3))
            put_v4(w, &b, draw(w, 20) ? 4 : 3);
        else
            put_v6(w, &b);
        break;
    }
    return arena_dup(w->scratch, buf_str(&b));
}

static void
compare(struct world *w, enum table_match kind, bool cdb)
{
    struct str text = random_list(w, kind, cdb);
    const struct table *forms[3] = {read_text(w, kind, text), compile(w, kind, text, NULL)};
    size_t found = 0;

    forms[2] = cdb ? make_cdb(w, kind, text) : forms[0];
    assert_int_equal(table_count(forms[1]), table_count(forms[0]));
    for (size_t i = 0; i < 300; i++) {
        const char *key = random_key(w, kind);
        const char *right = answer(w, forms[0], key);

        found += *right != '(';
        for (size_t j = 1; j < 3; j++)
            if (strcmp(answer(w, forms[j], key), right) != 0)
                fail_msg("kind %d, \"%s\": form %zu says \"%s\", the text \"%s\":\n%.*s", kind, key,
                    j, answer(w, forms[j], key), right, STR_ARG(text));
    }
    if (table_count(forms[0]) > 20)
        assert_true(found > 0);
    arena_reset(w->scratch);
}

static void
every_form_gives_the_same_answer(void **state)
{
    for (int kind = TABLE_EXACT; kind <= TABLE_IP; kind++)
        for (size_t i = 0; i < 60; i++)
            compare(*state, (enum table_match)kind, false);
}

static void
a_cdb_does_too_where_it_can_say_the_same(void **state)
{
    for (int kind = TABLE_EXACT; kind <= TABLE_IP; kind++)
        for (size_t i = 0; i < 12; i++)
            compare(*state, (enum table_match)kind, true);
}

/* ---- sizes ---- */

static void
a_list_may_be_empty_or_have_one_entry(void **state)
{
    struct world *w = *state;
    struct table_report r;

    for (int kind = TABLE_EXACT; kind <= TABLE_BAD; kind++) {
        const struct table *t = compile(w, (enum table_match)kind, STR("# nothing\n\n"), &r);

        assert_int_equal(table_count(t), 0);
        assert_int_equal(r.header.n_lines, 0);
        assert_string_equal(answer(w, t, "a@b"), "(absent)");
        assert_string_equal(answer(w, t, "192.0.2.1"), "(absent)");
    }
    assert_string_equal(answer(w, compile(w, TABLE_EXACT, STR("a"), &r), "A"), "");
    assert_string_equal(answer(w, compile(w, TABLE_EXACT, STR("a 1\nA 2\na 3"), &r), "a"), "1");
    assert_int_equal(r.header.n_keys, 1);
    assert_int_equal(r.header.n_lines, 3);
}

static void
keys_are_any_bytes_of_any_length(void **state)
{
    static const size_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 900, 4096, 70000};
    struct world *w = *state;
    const struct table *t;
    struct buf b;

    buf_init(&b, w->arena, (size_t)1 << 20);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        for (size_t j = 0; j < lengths[i]; j++)
            buf_putc(&b, (char)(0x80 + (i * 7 + j) % 0x80));
        buf_printf(&b, " %zu\n", lengths[i]);
    }
    t = compile(w, TABLE_EXACT, buf_str(&b), NULL);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        char *key = arena_alloc(w->scratch, lengths[i] + 1), want[24];

        for (size_t j = 0; j < lengths[i]; j++)
            key[j] = (char)(0x80 + (i * 7 + j) % 0x80);
        snprintf(want, sizeof want, "%zu", lengths[i]);
        assert_string_equal(answer(w, t, key), want);
        key[lengths[i] / 2]++;
        assert_string_equal(answer(w, t, key), "(absent)");
    }
}

static void
a_long_list_has_many_functions(void **state)
{
    const size_t n = 300000; /* more than one temporary file */
    struct world *w = *state;
    const struct table *t;
    struct table_report r;
    char key[40], want[24];
    struct buf b;

    buf_init(&b, w->arena, (size_t)64 << 20);
    for (size_t i = 0; i < n; i++)
        buf_printf(
            &b, "host%zu.example.com %zu\n%s", i, i, i % 1000 ? "" : "HOST0.example.com x\n");
    t = compile(w, TABLE_DOMAIN, buf_str(&b), &r);
    assert_int_equal(table_count(t), n);
    assert_int_equal(r.header.n_lines, n + n / 1000);
    assert_true(r.header.n_shards > 1);
    for (size_t i = 0; i < n; i++) {
        snprintf(key, sizeof key, "host%zu.example.com", i);
        snprintf(want, sizeof want, "%zu", i);
        assert_string_equal(answer(w, t, key), want);
        snprintf(key, sizeof key, "host%zu.example.net", i);
        assert_string_equal(answer(w, t, key), "(absent)");
        arena_reset(w->scratch);
    }
}

/* One round of mph_hash, which whoever knows the seed can turn back. */
static uint64_t
round_of(uint64_t h, uint64_t w)
{
    h = (h ^ w) * UINT64_C(0xd6e8feb86659fd93);
    return h << 29 | h >> 35;
}

static bool
is_plain(uint64_t word)
{
    for (; word > 0; word >>= 8)
        if ((word & 0xff) < 0x80)
            return false;
    return true;
}

static void
keys_of_one_hash_are_told_apart(void **state)
{
    struct world *w = *state;
    uint64_t seed = mph_hash(0, "seed", 4), begin = seed ^ 16 * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t one[2] = {UINT64_C(0x8182838485868788), UINT64_C(0x9192939495969798)}, two[2];
    char keys[2][17] = {"", ""};
    const struct table *t;

    for (two[0] = UINT64_C(0xa182838485868788);; two[0]++) {
        two[1] = one[1] ^ round_of(begin, one[0]) ^ round_of(begin, two[0]);
        if (is_plain(two[0]) && two[1] >> 56 >= 0x80 && is_plain(two[1]))
            break;
    }
    memcpy(keys[0], one, 16);
    memcpy(keys[1], two, 16);
    assert_true(mph_hash(seed, keys[0], 16) == mph_hash(seed, keys[1], 16));
    t = compile(
        w, TABLE_EXACT, str_of(arena_printf(w->arena, "%s one\n%s two\n", keys[0], keys[1])), NULL);
    assert_int_equal(table_count(t), 2);
    assert_string_equal(answer(w, t, keys[0]), "one");
    assert_string_equal(answer(w, t, keys[1]), "two");
    assert_true(table_header(t)->seed != seed);

    t = compile(w, TABLE_EXACT, str_of(keys[0]), NULL);
    assert_true(table_header(t)->seed == seed);
    assert_string_equal(answer(w, t, keys[0]), "");
    assert_string_equal(answer(w, t, keys[1]), "(absent)"); /* only its text differs */
}

/* ---- lists that are no lists ---- */

static void
wrong_lines_are_refused_with_file_and_line(void **state)
{
    static const struct {
        enum table_match kind;
        const char *text, *why;
    } cases[] = {
        {TABLE_DOMAIN, "a.b\n\n*.c\n", "list:3: \"*.c\" is no domain"},
        {TABLE_ADDRESS, "# x\njoe\n", "list:2: no @ in \"joe\""},
        {TABLE_IP, "1.2.3\n", "list:1: \"1.2.3\" is no address or network"},
        {TABLE_BAD, "a@b\n^(\n", "list:2: \"^(\" is no pattern"},
        {TABLE_EXACT, "a\n$Include b\n", "list:2: $Include cannot be compiled"},
    };
    struct world *w = *state;
    struct table_report r;
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/list.mph", w->dir.dir);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct err e = {""};

        assert_false(table_compile(
            scratch_write(&w->dir, "list", str_of(cases[i].text)), path, cases[i].kind, &r, &e));
        if (!strstr(e.text, cases[i].why))
            fail_msg("%s", e.text);
        assert_int_equal(access(path, F_OK), -1); /* nothing is left of it */
    }
}

/* ---- damage ---- */

#define DAMAGE_KEYS 90

/* A compiled list of DAMAGE_KEYS keys "keyN", whose values are N. */
static struct str
small_file(struct world *w)
{
    char path[PATH_MAX];
    struct stat st;
    struct buf b;
    char *bytes;
    int fd;

    buf_init(&b, w->arena, 1 << 16);
    for (size_t i = 0; i < DAMAGE_KEYS; i++)
        buf_printf(&b, "key%zu %zu\n", i, i);
    compile(w, TABLE_EXACT, buf_str(&b), NULL);
    snprintf(path, sizeof path, "%s/list.mph", w->dir.dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(fstat(fd, &st), 0);
    bytes = arena_alloc(w->arena, (size_t)st.st_size);
    assert_int_equal(read(fd, bytes, (size_t)st.st_size), st.st_size);
    close(fd);
    return (struct str){bytes, (size_t)st.st_size};
}

/* Right, or a refusal; the number of refusals */
static size_t
ask_all(struct world *w, const uint8_t *bytes, size_t n)
{
    struct mph_entry entry;
    size_t refused = 0;
    char key[16], want[16];
    struct err e;
    struct mph m;

    if (!mph_view(&m, w->scratch, bytes, n, false, &e))
        return 1;
    for (size_t i = 0; i < DAMAGE_KEYS; i++) {
        enum mph_status status;

        snprintf(key, sizeof key, "key%zu", i);
        snprintf(want, sizeof want, "%zu", i);
        status = mph_find(&m, str_of(key), &entry);
        assert_int_not_equal(status, MPH_ABSENT);
        if (status == MPH_FOUND)
            assert_true(str_eq(entry.value, str_of(want)));
        refused += status == MPH_BROKEN;
        snprintf(key, sizeof key, "none%zu", i);
        assert_int_not_equal(mph_find(&m, str_of(key), &entry), MPH_FOUND);
    }
    return refused;
}

static void
a_damaged_byte_is_noticed_and_never_a_wrong_answer(void **state)
{
    struct world *w = *state;
    struct str file = small_file(w);
    uint8_t *bytes = arena_alloc(w->arena, file.n);

    memcpy(bytes, file.p, file.n);
    assert_int_equal(ask_all(w, bytes, file.n), 0);
    for (size_t i = 0; i < file.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (uint8_t)(bytes[i] ^ 1U << bit);
            assert_true(ask_all(w, bytes, file.n) > 0);
            bytes[i] = (uint8_t)(bytes[i] ^ 1U << bit);
            arena_reset(w->scratch);
        }
}

static void
a_file_of_another_size_is_not_opened(void **state)
{
    struct world *w = *state;
    struct str file = small_file(w);
    struct err e;

    for (size_t n = 0; n <= file.n + 1; n++) {
        char *bytes = arena_alloc(w->scratch, file.n + 1);
        struct table *t;

        memcpy(bytes, file.p, n < file.n ? n : file.n);
        t = table_open_mph(
            w->scratch, TABLE_EXACT, scratch_write(&w->dir, "cut.mph", (struct str){bytes, n}), &e);
        assert_true((t != NULL) == (n == file.n));
        if (t)
            assert_string_equal(answer(w, t, "key7"), "7");
        arena_reset(w->scratch);
    }
}

static void
what_is_no_compiled_list_of_that_kind_is_not_opened(void **state)
{
    struct world *w = *state;
    struct str file = small_file(w);
    uint8_t *bytes = arena_alloc(w->arena, file.n);
    struct mph_header h;
    struct err e;
    struct mph m;

    assert_null(table_open_mph(
        w->arena, TABLE_IP, scratch_write(&w->dir, "x.mph", (struct str){file.p, file.n}), &e));
    assert_non_null(strstr(e.text, "another kind"));
    assert_null(table_open_mph(w->arena, TABLE_IP, w->dir.dir, &e));
    assert_non_null(strstr(e.text, "not a regular file"));
    assert_null(table_open_mph(w->arena, TABLE_IP, scratch_path(&w->dir, "none.mph"), &e));
    assert_int_equal(errno, ENOENT);

    memcpy(bytes, file.p, file.n);
    memcpy(&h, bytes, sizeof h);
    h.order = UINT32_C(0x04030201);
    memcpy(bytes, &h, sizeof h);
    assert_false(mph_view(&m, w->arena, bytes, file.n, false, &e));
    assert_non_null(strstr(e.text, "order of bytes"));
    h.order = MPH_ORDER;
    h.version++;
    memcpy(bytes, &h, sizeof h);
    assert_false(mph_view(&m, w->arena, bytes, file.n, false, &e));
    assert_non_null(strstr(e.text, "version"));
}

/* Cut it while it is mapped, as `cp` over it would: the page is gone, the process is not. */
static void
a_file_that_is_cut_under_us_costs_no_process(void **state)
{
    static struct activity activity;
    struct world *w = *state;
    const struct table *mph, *cdb;
    struct buf b;

    fault_install(&activity);
    buf_init(&b, w->arena, (size_t)8 << 20);
    for (size_t i = 0; i < 20000; i++)
        buf_printf(&b, "key%zu %zu\n", i, i);
    mph = compile(w, TABLE_EXACT, buf_str(&b), NULL);
    assert_string_equal(answer(w, mph, "key7"), "7");
    assert_int_equal(truncate(scratch_path(&w->dir, "list.mph"), 4096), 0);
    for (size_t i = 0; i < 3; i++) /* more than once */
        assert_string_equal(answer(w, mph, "key11111"), "(broken)");

    b.n = 0;
    for (size_t i = 0; i < 20000; i++)
        buf_printf(&b, "+8,0:key%05zu->\n", i);
    buf_putc(&b, '\n');
    cdb = table_open_cdb(
        w->arena, TABLE_EXACT, scratch_cdb(&w->dir, "x.cdb", buf_str(&b)), &(struct err){""});
    assert_string_equal(answer(w, cdb, "key00007"), "");
    assert_int_equal(truncate(scratch_path(&w->dir, "x.cdb"), 2048), 0);
    assert_string_equal(answer(w, cdb, "key11111"), "(broken)");
    assert_string_equal(answer(w, cdb, "key11111"), "(broken)");
}

/* ---- libcmph's form ---- */

static void
a_function_that_is_cut_is_none(void **state)
{
    struct world *w = *state;
    struct str file = small_file(w);
    struct mph_shard shard;
    struct mph_header h;
    struct bdz f;

    memcpy(&h, file.p, sizeof h);
    memcpy(&shard, file.p + h.directory, sizeof shard);
    for (size_t n = 0; n < shard.function_size; n++) {
        uint8_t *cut = arena_alloc(w->scratch, n); /* the sanitizer sees what is read behind it */

        memcpy(cut, file.p + shard.function, n);
        assert_false(bdz_parse(cut, n, &f));
        arena_reset(w->scratch);
    }
    assert_true(bdz_parse((const uint8_t *)file.p + shard.function, shard.function_size, &f));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_form_gives_the_same_answer),
        TEST(a_cdb_does_too_where_it_can_say_the_same),
        TEST(a_list_may_be_empty_or_have_one_entry),
        TEST(keys_are_any_bytes_of_any_length),
        TEST(a_long_list_has_many_functions),
        TEST(keys_of_one_hash_are_told_apart),
        TEST(wrong_lines_are_refused_with_file_and_line),
        TEST(a_damaged_byte_is_noticed_and_never_a_wrong_answer),
        TEST(a_file_of_another_size_is_not_opened),
        TEST(what_is_no_compiled_list_of_that_kind_is_not_opened),
        TEST(a_file_that_is_cut_under_us_costs_no_process),
        TEST(a_function_that_is_cut_is_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("conf/mph", tests, NULL, NULL);
}
