#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/rdns.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* A name server on loopback: what it answers depends on the first label of the question. */
struct server {
    pid_t pid;
    char address[32];
};

static const struct {
    const char *label;
    const char *name; /* NULL: there is no such name; "": silence */
} answers[] = {
    {"1", "Mail-1.Example_x.ORG"},
    {"2", "mail\"quote.example"},
    {"3", "two words.example"},
    {"4", NULL},
    {"5", ""},
    {"8", "v6.example"},
};

static size_t
put_name(uint8_t *out, const char *name)
{
    size_t n = 0;

    while (*name) {
        size_t length = strcspn(name, ".");

        out[n++] = (uint8_t)length;
        memcpy(out + n, name, length);
        n += length;
        name += length + (name[length] == '.');
    }
    out[n++] = 0;
    return n;
}

/* The question with an answer behind it; 0: none at all. */
static size_t
answer(uint8_t *packet, size_t n)
{
    static const uint8_t fixed[] = {0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0}; /* PTR IN, 60 s */
    const char *name = NULL;
    size_t length;

    for (size_t i = 0; i < COUNT(answers); i++)
        if (packet[12] == 1 && packet[13] == (uint8_t)*answers[i].label)
            name = answers[i].name;
    if (name && !*name)
        return 0;
    packet[2] = 0x81;
    packet[3] = name ? 0x80 : 0x83;
    packet[7] = name != NULL;
    packet[11] = 0; /* no additional section: the OPT record of the question is cut off below */
    if (!name)
        return n;
    memcpy(packet + n, fixed, sizeof fixed);
    length = put_name(packet + n + sizeof fixed + 1, name);
    packet[n + sizeof fixed] = (uint8_t)length;
    return n + sizeof fixed + 1 + length;
}

static size_t
question_end(const uint8_t *packet)
{
    size_t i = 12;

    while (packet[i])
        i += packet[i] + 1U;
    return i + 5;
}

static void
serve(int fd)
{
    for (;;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        uint8_t packet[1024];
        size_t n;

        if (recvfrom(fd, packet, 512, 0, (struct sockaddr *)&from, &len) < 17)
            continue;
        n = answer(packet, question_end(packet));
        if (n > 0 && sendto(fd, packet, n, 0, (struct sockaddr *)&from, len) < 0)
            _exit(1);
    }
}

static int
setup(void **state)
{
    static struct server server;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return -1;
    snprintf(server.address, sizeof server.address, "127.0.0.1:%d", ntohs(sa.sin_port));
    server.pid = fork();
    if (server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails does not come to teardown */
        serve(fd);
    }
    close(fd);
    *state = &server;
    return server.pid < 0 ? -1 : 0;
}

static int
teardown(void **state)
{
    struct server *server = *state;

    kill(server->pid, SIGKILL);
    return waitpid(server->pid, NULL, 0) == server->pid ? 0 : -1;
}

static struct dns *
resolver(const char *server)
{
    struct dns_options options = {.timeout_ms = 3000, .tries = 2, .queries_max = 100};

    if (server) {
        assert_true(dns_server_parse(str_of(server), &options.server[0]));
        options.n_servers = 1;
    }
    return dns_open(&options);
}

static void
only_clean_names_are_names(void **state)
{
    static const struct {
        const char *ip, *name;
    } cases[] = {
        {"192.0.2.1", "mail-1.example_x.org"},
        {"192.0.2.2", NULL}, /* a quote */
        {"192.0.2.3", NULL}, /* a blank */
        {"192.0.2.4", NULL}, /* NXDOMAIN */
        {"2001:db8::8", "v6.example"},
        {"2001:db8::1", "mail-1.example_x.org"},
    };
    struct server *server = *state;
    char name[RDNS_NAME_MAX];
    struct dns *d = resolver(server->address);

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ip ip;

        assert_true(ip_parse(str_of(cases[i].ip), &ip));
        assert_int_equal(rdns_name(d, &ip, name), cases[i].name != NULL);
        if (cases[i].name)
            assert_string_equal(name, cases[i].name);
    }
    dns_close(&d);
}

static void
loopback_is_never_asked_for(void **state)
{
    static const struct {
        const char *ip;
        bool named;
    } cases[] = {{"127.0.0.1", true}, {"::1", true}, {"127.0.0.2", false}, {"127.1.1.1", false}};
    char name[RDNS_NAME_MAX];
    struct dns *d = resolver(NULL);

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ip ip;

        assert_true(ip_parse(str_of(cases[i].ip), &ip));
        assert_int_equal(rdns_name(d, &ip, name), cases[i].named);
        if (cases[i].named)
            assert_string_equal(name, "localhost");
    }
    assert_null(dns_find(d, QP_DNS_PTR, STR("2.0.0.127.in-addr.arpa")));
    dns_close(&d);
}

/* Who runs a name server of his own may have delegated these to himself. */
static void
configured_servers_are_asked_for_the_rest_of_loopback(void **state)
{
    struct server *server = *state;
    struct dns *d = resolver(server->address);
    char name[RDNS_NAME_MAX];
    struct ip ip;

    assert_true(ip_parse(STR("127.0.0.2"), &ip));
    assert_false(rdns_name(d, &ip, name)); /* two words */
    assert_true(ip_parse(STR("127.1.1.1"), &ip));
    assert_true(rdns_name(d, &ip, name));
    assert_string_equal(name, "mail-1.example_x.org");
    assert_true(ip_parse(STR("127.0.0.1"), &ip));
    assert_true(rdns_name(d, &ip, name));
    assert_string_equal(name, "localhost");
    dns_close(&d);
}

static void
a_silent_server_is_left_in_time(void **state)
{
    struct server *server = *state;
    int64_t before = clock_ms();
    char name[RDNS_NAME_MAX];
    struct dns *d = resolver(server->address);
    struct ip silent, named;

    assert_true(ip_parse(STR("192.0.2.5"), &silent));
    assert_true(ip_parse(STR("192.0.2.1"), &named));
    assert_false(rdns_name(d, &silent, name));
    assert_true(clock_ms() - before < RDNS_MAX_MS + 1000);
    assert_true(rdns_name(d, &named, name)); /* nothing of the other question is left */
    dns_close(&d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_clean_names_are_names),
        cmocka_unit_test(loopback_is_never_asked_for),
        cmocka_unit_test(configured_servers_are_asked_for_the_rest_of_loopback),
        cmocka_unit_test(a_silent_server_is_left_in_time),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, setup, teardown);
}
