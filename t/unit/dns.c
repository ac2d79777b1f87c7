#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/wait.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void
servers_are_addresses_with_or_without_port(void **state)
{
    static const struct {
        const char *text, *ip; /* NULL: none */
        uint16_t port;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", 53},
        {"192.0.2.1:5353", "192.0.2.1", 5353},
        {"2001:db8::1", "2001:db8::1", 53},
        {"[2001:db8::1]", "2001:db8::1", 53},
        {"[2001:db8::1]:65535", "2001:db8::1", 65535},
        {"::ffff:192.0.2.1", "192.0.2.1", 53},
        {"[192.0.2.1]:53", "192.0.2.1", 53},
        {"192.0.2.1:", NULL, 0},
        {"192.0.2.1:0", NULL, 0},
        {"192.0.2.1:65536", NULL, 0},
        {"192.0.2.1:53x", NULL, 0},
        {"192.0.2.1 53", NULL, 0},
        {"[2001:db8::1", NULL, 0},
        {"[2001:db8::1]53", NULL, 0},
        {"[2001:db8::1]:", NULL, 0},
        {"[]:53", NULL, 0},
        {"ns.example.org", NULL, 0},
        {"", NULL, 0},
        {":53", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct dns_server server;
        bool good = dns_server_parse(str_of(cases[i].text), &server);
        char text[IP_TEXT_MAX];

        if (good != (cases[i].ip != NULL))
            fail_msg("%s", cases[i].text);
        if (!good)
            continue;
        ip_format(&server.ip, text);
        assert_string_equal(text, cases[i].ip);
        assert_int_equal(server.port, cases[i].port);
    }
}

/* A server that says what the test makes it say: here, mostly nothing. */
struct mute {
    int fd;
    struct dns *dns;
};

static void
mute_open(struct mute *m, int64_t timeout_ms)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct dns_options options = {
        .n_servers = 1, .timeout_ms = timeout_ms, .tries = 2, .queries_max = 3};
    socklen_t len = sizeof sa;
    int port;

    m->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(m->fd >= 0 && bind(m->fd, (struct sockaddr *)&sa, sizeof sa) == 0);
    assert_int_equal(getsockname(m->fd, (struct sockaddr *)&sa, &len), 0);
    assert_true(ip_from_sockaddr((struct sockaddr *)&sa, &options.server[0].ip, &port));
    options.server[0].port = (uint16_t)port;
    m->dns = dns_open(&options);
}

static void
mute_close(struct mute *m)
{
    dns_close(&m->dns);
    close(m->fd);
}

/* The next question comes back as NXDOMAIN. */
static void
mute_says_no(const struct mute *m)
{
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    uint8_t packet[512];
    ssize_t n = recvfrom(m->fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &len);

    assert_true(n > 12);
    packet[2] = 0x81;
    packet[3] = 0x83;
    assert_int_equal(sendto(m->fd, packet, (size_t)n, 0, (struct sockaddr *)&from, len), n);
}

static const struct dns_lookup *
ask(struct mute *m, const char *name)
{
    return dns_ask(m->dns, QP_DNS_A, str_of(name), 0);
}

static void
a_client_is_awaited_as_if_there_were_no_resolver(void **state)
{
    struct mute m;
    int ends[2];

    (void)state;
    mute_open(&m, 10000);
    assert_int_equal(pipe(ends), 0);
    for (int round = 0; round < 2; round++) { /* without an open question, then with one */
        int64_t before = clock_ms();

        assert_int_equal(dns_busy(m.dns), round);
        assert_int_equal(wait_fd(round ? m.dns : NULL, ends[0], POLLIN, before + 100), 0);
        assert_true(clock_ms() >= before + 100 && clock_ms() < before + 1000);
        assert_int_equal(wait_fd(m.dns, ends[1], POLLOUT, CLOCK_NEVER), 1);
        assert_int_equal(write(ends[1], "x", 1), 1);
        assert_int_equal(wait_fd(m.dns, ends[0], POLLIN, clock_ms()), 1);
        assert_int_equal(read(ends[0], &(char){0}, 1), 1);
        assert_null(dns_answer(ask(&m, "a.test")));
    }
    close(ends[1]);
    assert_int_equal(wait_fd(m.dns, ends[0], POLLIN, CLOCK_NEVER), 1); /* POLLHUP */
    close(ends[0]);
    mute_close(&m);
}

static void
answers_are_read_while_the_client_is_awaited(void **state)
{
    const struct dns_lookup *l;
    struct mute m;
    int ends[2];

    (void)state;
    mute_open(&m, 10000);
    assert_int_equal(pipe(ends), 0);
    l = ask(&m, "a.test");
    mute_says_no(&m);
    assert_int_equal(wait_fd(m.dns, ends[0], POLLIN, clock_ms() + 100), 0);
    assert_non_null(dns_answer(l));
    assert_int_equal(dns_answer(l)->status, QP_DNS_NXDOMAIN);
    assert_false(dns_busy(m.dns));
    close(ends[0]);
    close(ends[1]);
    mute_close(&m);
}

/* A server that talks nonsense without a pause keeps nobody waiting. */
static void
a_deadline_holds_against_a_flood(void **state)
{
    int64_t before = clock_ms();
    const struct dns_lookup *l;
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    uint8_t packet[512];
    struct mute m;
    int rounds = 0;

    (void)state;
    mute_open(&m, 10000);
    l = ask(&m, "a.test");
    assert_true(recvfrom(m.fd, packet, sizeof packet, 0, (struct sockaddr *)&from, &len) > 0);
    while (clock_ms() < before + 300) {
        for (int i = 0; i < 10; i++)
            sendto(m.fd, "nonsense nonsense", 17, 0, (struct sockaddr *)&from, len);
        assert_int_equal(wait_answer(m.dns, l, clock_ms() + 10)->status, QP_DNS_TIMEOUT);
        rounds++;
    }
    assert_true(rounds > 3);
    mute_close(&m);
}

static void
what_a_session_has_asked_ends_with_it(void **state)
{
    const struct dns_lookup *l;
    struct mute m;

    (void)state;
    mute_open(&m, 10000);
    for (int session = 0; session < 20; session++) {
        l = ask(&m, "a.test");
        assert_ptr_equal(l, ask(&m, "A.test."));
        assert_int_equal(wait_answer(m.dns, l, clock_ms())->status, QP_DNS_TIMEOUT);
        assert_ptr_equal(l, dns_find(m.dns, QP_DNS_A, STR("a.TEST")));
        assert_null(dns_find(m.dns, QP_DNS_AAAA, STR("a.test")));
        ask(&m, "b.test");
        ask(&m, "c.test");
        assert_int_equal(dns_answer(ask(&m, "d.test"))->status, QP_DNS_BUDGET);
        assert_null(dns_answer(dns_ask_freely(m.dns, QP_DNS_A, STR("d.test"))));
        assert_null(dns_answer(ask(&m, "d.test"))); /* it is known now */
        assert_int_equal(dns_answer(ask(&m, "e.test"))->status, QP_DNS_BUDGET);
        dns_end(m.dns);
        assert_false(dns_busy(m.dns));
        assert_int_equal(dns_poll_set(m.dns, (struct pollfd[DNS_POLL_MAX]){{0}}), 0);
        assert_null(dns_find(m.dns, QP_DNS_A, STR("a.test")));
    }
    mute_close(&m);
}

static void
a_late_answer_to_the_first_try_counts(void **state)
{
    const struct dns_lookup *l;
    struct mute m;

    (void)state;
    mute_open(&m, 200);
    l = ask(&m, "a.test");
    assert_int_equal(wait_answer(m.dns, l, clock_ms() + 300)->status, QP_DNS_TIMEOUT);
    mute_says_no(&m); /* to the first; the second try is under way */
    assert_int_equal(wait_answer(m.dns, l, clock_ms() + 90)->status, QP_DNS_NXDOMAIN);
    mute_close(&m);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_are_addresses_with_or_without_port),
        cmocka_unit_test(a_client_is_awaited_as_if_there_were_no_resolver),
        cmocka_unit_test(answers_are_read_while_the_client_is_awaited),
        cmocka_unit_test(a_deadline_holds_against_a_flood),
        cmocka_unit_test(what_a_session_has_asked_ends_with_it),
        cmocka_unit_test(a_late_answer_to_the_first_try_counts),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
