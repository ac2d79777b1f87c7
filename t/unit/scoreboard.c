#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/scoreboard.h"

static struct ip
ip(const char *text)
{
    struct ip out;

    assert_true(ip_parse(str_of(text), &out));
    return out;
}

static struct scoreboard *
board_with(size_t slots)
{
    struct err e;
    struct scoreboard *b = scoreboard_open(slots, &e);
    size_t slot;

    assert_non_null(b);
    for (size_t i = 0; i < slots; i++) {
        assert_true(scoreboard_assign(b, &slot));
        assert_int_equal(slot, i);
    }
    return b;
}

static bool
claim(struct scoreboard *b, size_t slot, const char *address, int max)
{
    struct ip a = ip(address);

    return scoreboard_claim(b, slot, &a, 1, max).admitted;
}

static void
there_are_as_many_children_as_slots(void **state)
{
    struct scoreboard *b = board_with(3);
    size_t slot;

    (void)state;
    assert_false(scoreboard_assign(b, &slot));
    assert_int_equal(scoreboard_idle(b), 3);
    scoreboard_free(b, 1, NULL);
    assert_int_equal(scoreboard_idle(b), 2);
    assert_true(scoreboard_assign(b, &slot));
    assert_int_equal(slot, 1);
    scoreboard_close(&b);
    assert_null(b);
}

static void
one_address_has_its_limit_and_no_more(void **state)
{
    struct scoreboard *b = board_with(8);

    (void)state;
    assert_true(claim(b, 0, "192.0.2.1", 2));
    assert_true(claim(b, 1, "192.0.2.1", 2));
    assert_false(claim(b, 2, "192.0.2.1", 2));
    assert_true(claim(b, 2, "192.0.2.2", 2));
    assert_false(claim(b, 3, "192.0.2.1", 2)); /* who was refused was not counted */
    scoreboard_release(b, 0);
    assert_true(claim(b, 3, "192.0.2.1", 2));
    assert_true(claim(b, 4, "192.0.2.1", 0));
    scoreboard_close(&b);
}

static void
ipv6_is_counted_by_network(void **state)
{
    struct scoreboard *b = board_with(4);

    (void)state;
    assert_true(claim(b, 0, "2001:db8:0:1::1", 1));
    assert_false(claim(b, 1, "2001:db8:0:1:ffff::2", 1));
    assert_true(claim(b, 1, "2001:db8:0:2::1", 1));
    assert_true(claim(b, 2, "::ffff:192.0.2.1", 1));
    assert_false(claim(b, 3, "192.0.2.1", 1));
    scoreboard_close(&b);
}

static void
the_claim_tells_what_is_going_on(void **state)
{
    struct scoreboard *b = board_with(3);
    struct ip a = ip("192.0.2.1");
    struct claim first = scoreboard_claim(b, 0, &a, 1, 1);
    struct claim refused = scoreboard_claim(b, 1, &a, 2, 1);
    struct claim second = scoreboard_claim(b, 1, &a, 3, 0);

    (void)state;
    assert_true(first.admitted && second.admitted && !refused.admitted);
    assert_int_equal(first.from_ip, 1);
    assert_int_equal(refused.from_ip, 2);
    assert_int_equal(second.from_ip, 2);
    assert_int_equal(second.busy, 2);
    assert_true(first.sequence != refused.sequence && refused.sequence != second.sequence);
    assert_int_equal(scoreboard_idle(b), 1);
    scoreboard_close(&b);
}

/* Against a count that is plainly right, over more addresses than fit without collisions. */
static void
counts_stay_right_through_any_order(void **state)
{
    enum { SLOTS = 300, ADDRESSES = 90 };
    struct scoreboard *b = board_with(SLOTS);
    int address_of[SLOTS], count[ADDRESSES] = {0};
    unsigned random = 1;

    (void)state;
    for (size_t i = 0; i < SLOTS; i++)
        address_of[i] = -1;
    for (int step = 0; step < 100000; step++) {
        random = random * 1103515245 + 12345;
        size_t slot = (random >> 8) % SLOTS;
        int address = (int)((random >> 20) % ADDRESSES);
        struct ip a = ip("192.0.2.0");

        a.b[15] = (uint8_t)address;
        a.b[13] = (uint8_t)(address * 7);
        if (address_of[slot] >= 0) {
            count[address_of[slot]]--;
            address_of[slot] = -1;
            scoreboard_release(b, slot);
        } else {
            struct claim c = scoreboard_claim(b, slot, &a, 1, 3);

            assert_int_equal(c.from_ip, count[address] + 1);
            assert_int_equal(c.admitted, count[address] < 3);
            if (c.admitted) {
                address_of[slot] = address;
                count[address]++;
            }
        }
    }
    scoreboard_close(&b);
}

static void
the_listener_hears_of_a_shortage_once(void **state)
{
    struct scoreboard *b = board_with(5);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    eventfd_t n = 0;

    (void)state;
    assert_false(scoreboard_watch(b, fd, 3));
    assert_true(claim(b, 0, "192.0.2.1", 0));
    assert_true(claim(b, 1, "192.0.2.1", 0));
    assert_int_equal(eventfd_read(fd, &n), -1);
    assert_true(claim(b, 2, "192.0.2.1", 0));
    assert_int_equal(eventfd_read(fd, &n), 0);
    assert_true(claim(b, 3, "192.0.2.1", 0));
    assert_int_equal(eventfd_read(fd, &n), -1); /* it knows */
    assert_true(scoreboard_watch(b, fd, 3));
    assert_false(scoreboard_watch(b, fd, 0));
    assert_true(claim(b, 4, "192.0.2.1", 0));
    assert_int_equal(eventfd_read(fd, &n), -1);
    close(fd);
    scoreboard_close(&b);
}

static void
the_dead_leave_a_last_word_and_no_count(void **state)
{
    struct scoreboard *b = board_with(2);
    struct activity *a = scoreboard_activity(b, 0);
    struct slot last;

    (void)state;
    assert_true(claim(b, 0, "192.0.2.1", 1));
    memcpy(a->plugin, "queue/x", 8);
    scoreboard_free(b, 0, &last);
    assert_int_equal(last.state, SLOT_BUSY);
    assert_int_equal(last.served, 1);
    assert_string_equal(last.activity.plugin, "queue/x");
    assert_true(claim(b, 1, "192.0.2.1", 1));
    scoreboard_leave(b, 1);
    assert_int_equal(scoreboard_idle(b), 0);
    scoreboard_close(&b);
}

/* A child for each slot; they claim and release as fast as they can, and are killed at any
 * instruction. */
static void
killed_children_leave_no_trace(void **state)
{
    enum { CHILDREN = 8, ROUNDS = 40 };
    struct scoreboard *b = board_with(CHILDREN);
    pid_t pid[CHILDREN];

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < CHILDREN; i++) {
            pid[i] = fork();
            if (pid[i] == 0) {
                struct ip a = ip("192.0.2.1");

                for (;;)
                    if (scoreboard_claim(b, i, &a, 1, CHILDREN / 2).admitted)
                        scoreboard_release(b, i);
            }
            assert_true(pid[i] > 0);
        }
        usleep(2000);
        for (size_t i = 0; i < CHILDREN; i++) {
            size_t slot;

            kill(pid[i], SIGKILL);
            assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
            scoreboard_free(b, i, NULL);
            assert_true(scoreboard_assign(b, &slot));
            assert_int_equal(slot, i);
        }
        struct ip a = ip("192.0.2.1");
        struct claim c = scoreboard_claim(b, 0, &a, 1, 1);

        assert_true(c.admitted);
        assert_int_equal(c.busy, 1);
        assert_int_equal(scoreboard_idle(b), CHILDREN - 1);
        scoreboard_release(b, 0);
    }
    scoreboard_close(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_as_many_children_as_slots),
        cmocka_unit_test(one_address_has_its_limit_and_no_more),
        cmocka_unit_test(ipv6_is_counted_by_network),
        cmocka_unit_test(the_claim_tells_what_is_going_on),
        cmocka_unit_test(counts_stay_right_through_any_order),
        cmocka_unit_test(the_listener_hears_of_a_shortage_once),
        cmocka_unit_test(the_dead_leave_a_last_word_and_no_count),
        cmocka_unit_test(killed_children_leave_no_trace),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
