#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "smtp/outcome.h"

static const enum hook answered[] = {HOOK_PRE_CONNECTION, HOOK_CONNECT, HOOK_HELO, HOOK_EHLO,
    HOOK_MAIL, HOOK_RCPT, HOOK_DATA, HOOK_DATA_HEADERS_END, HOOK_DATA_POST, HOOK_QUEUE_PRE,
    HOOK_QUEUE, HOOK_VRFY, HOOK_NOOP};

static void
every_refusal_is_answered_with_its_class(void **state)
{
    static const struct {
        enum qp_rc rc;
        int class;
        bool close;
    } refusals[] = {{QP_DENY, 5, false}, {QP_DENYSOFT, 4, false}, {QP_DENY_DISCONNECT, 5, true},
        {QP_DENYSOFT_DISCONNECT, 4, true}};
    struct arena *a = arena_open("test");

    (void)state;
    for (size_t h = 0; h < sizeof answered / sizeof *answered; h++)
        for (size_t i = 0; i < 4; i++) {
            struct hook_result r = {.rc = refusals[i].rc, .text = ""};
            bool before_greeting =
                answered[h] == HOOK_CONNECT || answered[h] == HOOK_PRE_CONNECTION;
            struct reply reply;

            assert_true(outcome_reply(answered[h], &r, a, "<a@b>", &reply));
            assert_int_equal(reply.code / 100, refusals[i].class);
            assert_true(*reply.text);
            assert_int_equal(reply.close, refusals[i].close || before_greeting);
            if (refusals[i].rc == QP_DENYSOFT_DISCONNECT)
                assert_int_equal(reply.code, 421); /* RFC 5321, 3.8: the channel is closed */
            if (reply.enhanced)
                assert_int_equal(reply.enhanced[0] - '0', refusals[i].class);
        }
    arena_close(&a);
}

static void
what_a_plugin_says_replaces_the_default(void **state)
{
    struct arena *a = arena_open("test");
    struct hook_result r = {.rc = QP_DENY, .text = "no"},
                       coded = {.rc = QP_DENYSOFT, .text = "", .code = 452, .enhanced = "4.5.3"},
                       plain = {.rc = QP_DENY, .text = ""};
    struct reply reply;

    (void)state;
    assert_true(outcome_reply(HOOK_MAIL, &r, a, "<a@b>", &reply));
    assert_string_equal(reply.text, "no");
    assert_true(outcome_reply(HOOK_MAIL, &plain, a, "<a@b>", &reply));
    assert_string_equal(reply.text, "<a@b>, denied");
    assert_true(outcome_reply(HOOK_RCPT, &coded, a, "<a@b>", &reply));
    assert_int_equal(reply.code, 452);
    assert_string_equal(reply.enhanced, "4.5.3");
    assert_string_equal(reply.text, "relaying denied");
    arena_close(&a);
}

static void
nobody_objecting_goes_on_except_where_somebody_must_decide(void **state)
{
    struct hook_result r = {.rc = QP_DECLINED, .text = ""};
    struct arena *a = arena_open("test");
    struct reply reply;

    (void)state;
    for (size_t h = 0; h < sizeof answered / sizeof *answered; h++) {
        bool must = answered[h] == HOOK_RCPT || answered[h] == HOOK_QUEUE;

        assert_int_equal(outcome_reply(answered[h], &r, a, NULL, &reply), must);
        if (must)
            assert_int_equal(reply.code / 100, 4);
    }
    arena_close(&a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_is_answered_with_its_class),
        cmocka_unit_test(what_a_plugin_says_replaces_the_default),
        cmocka_unit_test(nobody_objecting_goes_on_except_where_somebody_must_decide),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
