#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h wants those four before it */
#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>

#include "base/log.h"
#include "smtp/sasl.h"

/* Who is asked, and how often. */
struct judge {
    enum exchange_answer answer;
    const char *secret;
    int asked;
    char user[64], password[64], ticket[128];
};

static enum exchange_answer
ask(void *data, const struct qp_auth *who, const char **secret)
{
    struct judge *j = data;

    j->asked++;
    snprintf(j->user, sizeof j->user, "%s", who->user);
    snprintf(j->password, sizeof j->password, "%s", who->password ? who->password : "(none)");
    snprintf(j->ticket, sizeof j->ticket, "%s", who->ticket ? who->ticket : "(none)");
    if (!who->password && j->answer == EXCHANGE_ACCEPT)
        *secret = j->secret;
    return j->answer;
}

static const struct {
    const char *mechanism;
    enum exchange_answer answer;
    const char *secret;
    struct str response[3]; /* p NULL: none; an entry without p ends the list */
    int n;
    enum exchange_status expected;
    int asked;
} cases[] = {
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"\0joe\0pw", 7}}, 1, EXCHANGE_PASSED, 1},
    {"PLAIN", EXCHANGE_REFUSE, NULL, {{"\0joe\0pw", 7}}, 1, EXCHANGE_FAILED, 1},
    {"PLAIN", EXCHANGE_STOP, NULL, {{"\0joe\0pw", 7}}, 1, EXCHANGE_FAILED, 1},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"joe\0joe\0pw", 10}}, 1, EXCHANGE_PASSED, 1},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"ann\0joe\0pw", 10}}, 1, EXCHANGE_INVALID, 0},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"\0\0pw", 4}}, 1, EXCHANGE_INVALID, 0},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"\0joe\0", 5}}, 1, EXCHANGE_FAILED, 0},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"\0joe", 4}}, 1, EXCHANGE_MALFORMED, 0},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"\0joe\0pw\0", 8}}, 1, EXCHANGE_MALFORMED, 0},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{"", 0}}, 1, EXCHANGE_MALFORMED, 0},
    {"PLAIN", EXCHANGE_ACCEPT, NULL, {{NULL, 0}}, 1, EXCHANGE_MORE, 0},
    {"LOGIN", EXCHANGE_ACCEPT, NULL, {{NULL, 0}, {"joe", 3}, {"pw", 2}}, 3, EXCHANGE_PASSED, 1},
    {"LOGIN", EXCHANGE_ACCEPT, NULL, {{"joe", 3}, {"pw", 2}}, 2, EXCHANGE_PASSED, 1},
    {"LOGIN", EXCHANGE_ACCEPT, NULL, {{"joe", 3}, {"p\0w", 3}}, 2, EXCHANGE_MALFORMED, 0},
    {"LOGIN", EXCHANGE_REFUSE, NULL, {{"joe", 3}, {"pw", 2}}, 2, EXCHANGE_FAILED, 1},
    {"CRAM-MD5", EXCHANGE_ACCEPT, NULL, {{NULL, 0}, {"joe 0123456789abcdef0123456789ABCDEF", 36}},
        2, EXCHANGE_PASSED, 1},
    {"CRAM-MD5", EXCHANGE_ACCEPT, "pw", {{NULL, 0}, {"joe 0123456789abcdef0123456789abcdef", 36}},
        2, EXCHANGE_FAILED, 1},
    {"CRAM-MD5", EXCHANGE_REFUSE, NULL, {{NULL, 0}, {"joe 0123456789abcdef0123456789abcdef", 36}},
        2, EXCHANGE_FAILED, 1},
    {"CRAM-MD5", EXCHANGE_ACCEPT, NULL, {{NULL, 0}, {"joe", 3}}, 2, EXCHANGE_MALFORMED, 0},
    {"SCRAM-SHA-1", EXCHANGE_ACCEPT, "pw", {{"n,,n=joe,r=abcdefghij", 21}}, 1, EXCHANGE_MORE, 1},
    {"SCRAM-SHA-256", EXCHANGE_REFUSE, NULL, {{"n,,n=joe,r=abcdefghij", 21}}, 1, EXCHANGE_MORE, 1},
    {"SCRAM-SHA-256", EXCHANGE_STOP, NULL, {{"n,,n=joe,r=abcdefghij", 21}}, 1, EXCHANGE_FAILED, 1},
    {"SCRAM-SHA-256", EXCHANGE_ACCEPT, "pw", {{"n,,r=joe", 8}}, 1, EXCHANGE_MALFORMED, 0},
    /* nobody is asked: nobody passes */
    {"ANONYMOUS", EXCHANGE_ACCEPT, "pw", {{"joe", 3}}, 1, EXCHANGE_BROKEN, 0},
    {"EXTERNAL", EXCHANGE_ACCEPT, "pw", {{"joe", 3}}, 1, EXCHANGE_BROKEN, 0},
    {"NO-SUCH", EXCHANGE_ACCEPT, "pw", {{"joe", 3}}, 1, EXCHANGE_BROKEN, 0},
};

static bool
swallow(void *data, const struct log_event *event)
{
    (void)data, (void)event;
    return true;
}

static enum exchange_status
run(struct arena *a, size_t i, struct judge *j)
{
    struct exchange *x = exchange_new(a, cases[i].mechanism, "mx.test", ask, j);
    enum exchange_status status = EXCHANGE_MORE;
    struct str challenge;

    for (int step = 0; step < cases[i].n && status == EXCHANGE_MORE; step++) {
        const struct str *response = &cases[i].response[step];

        status = exchange_step(x, response->p ? response : NULL, &challenge);
    }
    return status;
}

static void
each_exchange_ends_as_it_should(void **state)
{
    struct arena *a = arena_open("test");

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct judge j = {.answer = cases[i].answer, .secret = cases[i].secret};
        enum exchange_status status = run(a, i, &j);

        if (status != cases[i].expected || j.asked != cases[i].asked)
            fail_msg("case %zu, %s: status %d, asked %d", i, cases[i].mechanism, status, j.asked);
        if (j.asked)
            assert_string_equal(j.user, "joe");
        arena_reset(a);
    }
    arena_close(&a);
}

static void
the_ticket_reaches_who_is_asked(void **state)
{
    static const struct str proof = {"joe 0123456789abcdef0123456789abcdef", 36};
    struct judge j = {.answer = EXCHANGE_ACCEPT};
    struct arena *a = arena_open("test");
    struct exchange *x = exchange_new(a, "CRAM-MD5", "mx.test", ask, &j);
    struct str challenge, more;

    (void)state;
    assert_string_equal(exchange_user(x), "");
    assert_int_equal(exchange_step(x, NULL, &challenge), EXCHANGE_MORE);
    challenge = str_of(arena_dup(a, challenge));
    assert_int_equal(exchange_step(x, &proof, &more), EXCHANGE_PASSED);
    assert_string_equal(j.ticket, challenge.p);
    assert_string_equal(j.password, "(none)");
    assert_string_equal(exchange_user(x), "joe");
    arena_close(&a);
}

static void
failures_leave_no_memory_behind(void **state)
{
    struct arena *a = arena_open("test");
    size_t before = 0;

    (void)state;
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct judge j = {.answer = EXCHANGE_REFUSE};

            run(a, i, &j);
            arena_reset(a);
        }
        if (round == 20)
            before = mallinfo2().uordblks;
    }
    /* Of a thousand exchanges, and the allocator is no exact science. */
    assert_true(mallinfo2().uordblks <= before + 16384);
    arena_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_exchange_ends_as_it_should),
        cmocka_unit_test(the_ticket_reaches_who_is_asked),
        cmocka_unit_test(failures_leave_no_memory_behind),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    log_sink_set(swallow, NULL, LOG_LEVEL_DEBUG);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
