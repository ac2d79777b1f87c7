#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/options.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define WORDS    12

static enum options_result
parse(
    enum options_program program, const char *const words[WORDS], struct options *o, struct err *e)
{
    static char text[WORDS][80]; /* options point into it, as they do into main's argv */
    char *argv[WORDS + 2] = {text[0]};
    int argc = 1;

    memset(text, 0, sizeof text);
    for (int i = 0; i + 1 < WORDS && words[i]; i++, argc++) {
        assert_true(strlen(words[i]) < sizeof text[0]);
        memcpy(text[argc], words[i], strlen(words[i]));
        argv[argc] = text[argc];
    }
    e->text[0] = '\0';
    return options_parse(program, argc, argv, o, e);
}

static void
without_options_the_defaults_stand(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(parse(OPTIONS_PREFORK, (const char *const[WORDS]){NULL}, &o, &e), OPTIONS_RUN);
    assert_int_equal(o.children, 15);
    assert_int_equal(o.idle_children, 5);
    assert_int_equal(o.max_from_ip, 10);
    assert_int_equal(o.child_lifetime, 100);
    assert_int_equal(o.renice_parent, 5);
    assert_int_equal(o.listen_n, 0);
    assert_int_equal(o.ports_n, 1);
    assert_int_equal(o.ports[0], 25);
    assert_null(o.user);
    assert_null(o.pid_file);
    assert_null(o.tcprules);
    assert_null(o.config_dir);
    assert_null(o.plugin_dirs[0]);
    assert_false(o.detach || o.pretty_child || o.debug || o.quiet || o.no_rdns || o.check);
}

static void
each_name_of_an_option_sets_it(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(parse(OPTIONS_PREFORK,
                         (const char *const[WORDS]){"-Cdir", "-P", "a", "--plugin-dir=b", "-dH",
                             "-u", "joe", "-c", "30", "-m0", "--max-requests=0"},
                         &o, &e),
        OPTIONS_RUN);
    assert_string_equal(o.config_dir, "dir");
    assert_string_equal(o.plugin_dirs[0], "a");
    assert_string_equal(o.plugin_dirs[1], "b");
    assert_null(o.plugin_dirs[2]);
    assert_true(o.detach && o.no_rdns);
    assert_string_equal(o.user, "joe");
    assert_int_equal(o.children, 30);
    assert_int_equal(o.max_from_ip, 0);
    assert_int_equal(o.child_lifetime, 0);

    assert_int_equal(parse(OPTIONS_PREFORK,
                         (const char *const[WORDS]){"-d", "--foreground", "--limit-connections",
                             "7", "--child-lifetime", "9", "--pid-file", "/run/x", "--pretty-child",
                             "--tcprules=r", "--debug"},
                         &o, &e),
        OPTIONS_RUN);
    assert_false(o.detach);
    assert_int_equal(o.children, 7);
    assert_int_equal(o.child_lifetime, 9);
    assert_string_equal(o.pid_file, "/run/x");
    assert_string_equal(o.tcprules, "r");
    assert_true(o.pretty_child && o.debug);
    assert_int_equal(
        parse(OPTIONS_QPSMTPD, (const char *const[WORDS]){"--check", "--syslog"}, &o, &e),
        OPTIONS_RUN);
    assert_true(o.check && o.syslog);
}

static void
idle_children_that_make_no_sense_mean_all(void **state)
{
    static const struct {
        const char *text;
        int idle;
    } cases[] = {{"1", 1}, {"15", 15}, {"0", 15}, {"16", 15}, {"-2", 15}};
    struct options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(OPTIONS_PREFORK,
                             (const char *const[WORDS]){"--idle-children", cases[i].text}, &o, &e),
            OPTIONS_RUN);
        assert_int_equal(o.idle_children, cases[i].idle);
    }
}

static void
addresses_carry_their_port(void **state)
{
    static const struct {
        const char *text, *host;
        int port;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1", -1},
        {"192.0.2.1:2525", "192.0.2.1", 2525},
        {"192.0.2.1:0", "192.0.2.1", 0},
        {"0", "0", -1},
        {"localhost:25", "localhost", 25},
        {"::1", "::1", -1},
        {"::", "::", -1},
        {"2001:db8::1", "2001:db8::1", -1},
        {"[::1]", "::1", -1},
        {"[2001:db8::1]:587", "2001:db8::1", 587},
        {"[fe80::1%eth0]:25", "fe80::1%eth0", 25},
    };
    struct options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(
            parse(OPTIONS_PREFORK, (const char *const[WORDS]){"-l", cases[i].text}, &o, &e),
            OPTIONS_RUN);
        assert_int_equal(o.listen_n, 1);
        assert_string_equal(o.listen[0].host, cases[i].host);
        assert_int_equal(o.listen[0].port, cases[i].port);
    }
}

static void
a_wrong_option_is_named(void **state)
{
    static const struct {
        const char *words[WORDS];
        const char *error;
    } cases[] = {
        {{"--frob"}, "unknown or ambiguous option --frob"},
        {{"--p=1"}, "unknown or ambiguous option --p=1"},
        {{"-z"}, "unknown option -z"},
        {{"-dz"}, "unknown option -z"},
        {{"--check=1"}, "option --check=1: it takes no value"},
        {{"-p"}, "-p: its value is missing"},
        {{"--port"}, "--port: its value is missing"},
        {{"-p", "65536"}, "--port 65536: not a number from 0 to 65535"},
        {{"-p", "+1"}, "--port +1: not a number from 0 to 65535"},
        {{"-p", " 1"}, "--port  1: not a number from 0 to 65535"},
        {{"-p", "1x"}, "--port 1x: not a number from 0 to 65535"},
        {{"-p", ""}, "--port : not a number from 0 to 65535"},
        {{"-p", "99999999999999999999"},
            "--port 99999999999999999999: not a number from 0 to 65535"},
        {{"-c", "0"}, "--children 0: not a number from 1 to 65535"},
        {{"--limit-connections", "-1"}, "--children -1: not a number from 1 to 65535"},
        {{"-m", "65536"}, "--max-from-ip 65536: not a number from 0 to 65535"},
        {{"--idle-children", "-1"}, "--idle-children -1: not a number from 0 to 65535"},
        {{"--idle-children", "-"}, "--idle-children -: not a number from 0 to 65535"},
        {{"--renice-parent", "40"}, "--renice-parent 40: not a number from 0 to 39"},
        {{"--pid-file", "x"}, "--pid-file x: not an absolute path"},
        {{"--user", ""}, "--user: its value is empty"},
        {{"--pool", ""}, "--pool: its value is empty"},
        {{"-l", ""}, "--listen-address : not ADDR, ADDR:PORT or [ADDR]:PORT"},
        {{"-l", "[::1"}, "--listen-address [::1: not ADDR, ADDR:PORT or [ADDR]:PORT"},
        {{"-l", "[]:1"}, "--listen-address []:1: not ADDR, ADDR:PORT or [ADDR]:PORT"},
        {{"-l", "[::1]25"}, "--listen-address [::1]25: not ADDR, ADDR:PORT or [ADDR]:PORT"},
        {{"-l", "a:"}, "--listen-address a:: not ADDR, ADDR:PORT or [ADDR]:PORT"},
        {{"-l", "a b"}, "--listen-address a b: not ADDR, ADDR:PORT or [ADDR]:PORT"},
        {{"-l", "a:70000"}, "--listen-address a:70000: the port is not a number from 0 to 65535"},
        {{"--debug", "--quiet"}, "--debug and --quiet: only one of them"},
        {{"-d", "word"}, "word: not an option; this program takes nothing else"},
    };
    struct options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(OPTIONS_PREFORK, cases[i].words, &o, &e), OPTIONS_WRONG);
        assert_string_equal(e.text, cases[i].error);
    }
}

static void
the_stdin_program_takes_no_option_of_the_other(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(
        parse(OPTIONS_QPSMTPD, (const char *const[WORDS]){"-p", "25"}, &o, &e), OPTIONS_WRONG);
    assert_int_equal(
        parse(OPTIONS_QPSMTPD, (const char *const[WORDS]){"--detach"}, &o, &e), OPTIONS_WRONG);
}

static void
too_many_of_one_are_refused(void **state)
{
    static char port[] = "-p1", address[] = "-l::1", dir[] = "-Px";
    char *const repeated[] = {port, address, dir};
    char *argv[OPTIONS_LIST_MAX + 3];
    struct options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(repeated); i++) {
        for (int k = 0; k < OPTIONS_LIST_MAX + 2; k++)
            argv[k] = repeated[i];
        argv[OPTIONS_LIST_MAX + 2] = NULL;
        assert_int_equal(
            options_parse(OPTIONS_PREFORK, OPTIONS_LIST_MAX + 1, argv, &o, &e), OPTIONS_RUN);
        assert_int_equal(
            options_parse(OPTIONS_PREFORK, OPTIONS_LIST_MAX + 2, argv, &o, &e), OPTIONS_WRONG);
    }
}

static void
help_and_version_end_the_reading(void **state)
{
    struct options o;
    struct err e;

    (void)state;
    assert_int_equal(
        parse(OPTIONS_PREFORK, (const char *const[WORDS]){"-h", "--bad"}, &o, &e), OPTIONS_HELP);
    assert_int_equal(
        parse(OPTIONS_QPSMTPD, (const char *const[WORDS]){"--help"}, &o, &e), OPTIONS_HELP);
    assert_int_equal(
        parse(OPTIONS_QPSMTPD, (const char *const[WORDS]){"--version"}, &o, &e), OPTIONS_VERSION);
    assert_non_null(strstr(options_help(OPTIONS_PREFORK), "--tcprules"));
    assert_null(strstr(options_help(OPTIONS_QPSMTPD), "--tcprules"));
}

/* Port 25 by default is for those who ask for TCP, or for nothing else. */
static void
a_pool_alone_listens_on_no_port(void **state)
{
    static const struct {
        const char *words[WORDS];
        size_t ports;
    } cases[] = {
        {{"--pool", "run/pool"}, 0},
        {{"--pool", "run/pool", "-l", "::1"}, 1},
        {{"--pool", "run/pool", "-p", "26", "-p", "27"}, 2},
        {{"--pool", "run/pool", "--tls-port", "465"}, 1},
    };
    struct options o;
    struct err e;

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(parse(OPTIONS_PREFORK, cases[i].words, &o, &e), OPTIONS_RUN);
        assert_string_equal(o.pool, "run/pool");
        assert_int_equal(o.ports_n, cases[i].ports);
    }
    assert_int_equal(parse(OPTIONS_QPSMTPD, cases[0].words, &o, &e), OPTIONS_RUN);
    assert_string_equal(o.pool, "run/pool");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_options_the_defaults_stand),
        cmocka_unit_test(each_name_of_an_option_sets_it),
        cmocka_unit_test(idle_children_that_make_no_sense_mean_all),
        cmocka_unit_test(addresses_carry_their_port),
        cmocka_unit_test(a_wrong_option_is_named),
        cmocka_unit_test(the_stdin_program_takes_no_option_of_the_other),
        cmocka_unit_test(too_many_of_one_are_refused),
        cmocka_unit_test(a_pool_alone_listens_on_no_port),
        cmocka_unit_test(help_and_version_end_the_reading),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
