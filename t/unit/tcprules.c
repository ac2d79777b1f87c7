#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scratch.h"
#include "server/tcprules.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Records as cdb(1) reads them; '~' stands for NUL here. */
static const char *
write_rules(struct scratch *s, const char *const rules[][2], size_t n)
{
    char text[4096];
    size_t used = 0;

    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "+%zu,%zu:%s->%s\n",
            strlen(rules[i][0]), strlen(rules[i][1]), rules[i][0], rules[i][1]);
    assert_true(used + 1 < sizeof text);
    text[used++] = '\n';
    for (size_t i = 0; i < used; i++)
        if (text[i] == '~')
            text[i] = '\0';
    return scratch_cdb(s, "rules.cdb", (struct str){text, used});
}

static void
the_most_special_key_wins_and_is_the_only_one(void **state)
{
    static const char *const all[][2] = {
        {"joe@192.0.2.1", "+K=info-ip~"},
        {"joe@=a.b.example", "+K=info-host~"},
        {"192.0.2.1", "+K=ip~"},
        {"=a.b.example", "+K=host~"},
        {"192.0.2.", "+K=24~"},
        {"192.", "+K=8~"},
        {"2001:db8:", "+K=32~"},
        {"=.b.example", "+K=suffix~"},
        {"=.example", "+K=top~"},
        {"=", "+K=named~"},
        {"", "+K=all~"},
    };
    static const struct {
        struct tcprules_client client;
        const char *env;
    } cases[] = {
        {{"192.0.2.1", "a.b.example", "joe"}, "K=info-ip"},
        {{"192.0.2.2", "a.b.example", "joe"}, "K=info-host"},
        {{"192.0.2.1", "a.b.example", "ann"}, "K=ip"},
        {{"192.0.2.1", NULL, NULL}, "K=ip"},
        {{"192.0.2.2", "a.b.example", "ann"}, "K=host"},
        {{"192.0.2.2", "x.b.example", NULL}, "K=24"},
        {{"192.0.3.2", "x.b.example", NULL}, "K=8"},
        {{"10.0.0.1", "x.b.example", NULL}, "K=suffix"},
        {{"10.0.0.1", "b.example", NULL}, "K=top"},
        {{"10.0.0.1", "other", NULL}, "K=named"},
        {{"10.0.0.1", NULL, NULL}, "K=all"},
        {{"2001:db8::1", NULL, NULL}, "K=32"},
        {{"2001:db8:1::1", NULL, NULL}, "K=32"},
        {{"2001:db80::1", NULL, NULL}, "K=all"},
    };
    const char *const *env;
    struct scratch s;
    struct tcprules t;
    struct err e;

    (void)state;
    scratch_open(&s);
    assert_true(tcprules_open(&t, write_rules(&s, all, COUNT(all)), &e));
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(tcprules_ask(&t, &cases[i].client, &env, &e), TCPRULES_ALLOW);
        assert_string_equal(env[0], cases[i].env);
        assert_null(env[1]);
    }
    tcprules_close(&t);
    scratch_close(&s);
}

static void
records_say_deny_or_set_variables(void **state)
{
    static const char *const rules[][2] = {
        {"10.0.0.1", "D~"},
        {"10.0.0.2", ""},
        {"10.0.0.3", "+RELAYCLIENT=~+RBLSMTPD=-no, really~"},
        {"10.0.0.4", "+A=1~D~"},
        {"10.0.0.5", "+NOVALUE~+A=b=c~x~~+CUT=1"},
    };
    static const struct {
        const char *ip;
        enum tcprules_verdict verdict;
        const char *first, *second;
    } cases[] = {
        {"10.0.0.1", TCPRULES_DENY, NULL, NULL},
        {"10.0.0.2", TCPRULES_ALLOW, NULL, NULL},
        {"10.0.0.3", TCPRULES_ALLOW, "RELAYCLIENT=", "RBLSMTPD=-no, really"},
        {"10.0.0.4", TCPRULES_DENY, NULL, NULL},
        {"10.0.0.5", TCPRULES_ALLOW, "A=b=c", NULL},
        {"10.0.0.6", TCPRULES_ALLOW, NULL, NULL},
    };
    const char *const *env;
    struct scratch s;
    struct tcprules t;
    struct err e;

    (void)state;
    scratch_open(&s);
    assert_true(tcprules_open(&t, write_rules(&s, rules, COUNT(rules)), &e));
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tcprules_client c = {.ip = cases[i].ip};

        assert_int_equal(tcprules_ask(&t, &c, &env, &e), cases[i].verdict);
        if (cases[i].verdict == TCPRULES_DENY)
            continue;
        for (int k = 0; k < 2; k++) {
            const char *want = k == 0 ? cases[i].first : cases[i].second;

            if (want)
                assert_string_equal(env[k], want);
            else
                assert_null(env[k]);
            if (!want)
                break;
        }
    }
    tcprules_close(&t);
    scratch_close(&s);
}

static void
a_new_file_holds_for_the_next_client(void **state)
{
    static const char *const deny[][2] = {{"", "D~"}}, *const allow[][2] = {{"", "+A=1~"}};
    const struct tcprules_client c = {.ip = "192.0.2.1"};
    char path[PATH_MAX + 8];
    const char *const *env;
    struct scratch s;
    struct tcprules t;
    struct err e;

    (void)state;
    scratch_open(&s);
    snprintf(path, sizeof path, "%s/live.cdb", s.dir);
    assert_false(tcprules_open(&t, path, &e));
    assert_int_equal(rename(write_rules(&s, deny, 1), path), 0);
    assert_true(tcprules_open(&t, path, &e));
    assert_int_equal(tcprules_ask(&t, &c, &env, &e), TCPRULES_DENY);
    assert_int_equal(rename(write_rules(&s, allow, 1), path), 0);
    assert_int_equal(tcprules_ask(&t, &c, &env, &e), TCPRULES_ALLOW);
    assert_string_equal(env[0], "A=1");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(tcprules_ask(&t, &c, &env, &e), TCPRULES_BROKEN);
    assert_non_null(strstr(e.text, path));
    scratch_write(&s, "live.cdb", STR("no database"));
    assert_int_equal(tcprules_ask(&t, &c, &env, &e), TCPRULES_BROKEN);
    assert_int_equal(rename(write_rules(&s, deny, 1), path), 0);
    assert_int_equal(tcprules_ask(&t, &c, &env, &e), TCPRULES_DENY);
    tcprules_close(&t);
    scratch_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_special_key_wins_and_is_the_only_one),
        cmocka_unit_test(records_say_deny_or_set_variables),
        cmocka_unit_test(a_new_file_holds_for_the_next_client),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
