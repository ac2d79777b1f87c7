#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scratch.h"
#include "server/paths.h"

struct place {
    struct scratch scratch;
    struct arena *arena;
    char cwd[PATH_MAX];
};

static struct options
with(const char *config_dir, const char *plugin_dir)
{
    return (struct options){.config_dir = config_dir, .plugin_dirs = {plugin_dir}};
}

static const char *
in(struct place *p, const char *name)
{
    return arena_printf(p->arena, "%s/%s", p->scratch.dir, name);
}

/* A program in bin/ with neither config nor plugins, and no qmail. */
static int
setup(void **state)
{
    static struct place p;

    scratch_open(&p.scratch);
    scratch_mkdir(&p.scratch, "bin");
    p.arena = arena_open("test");
    assert_non_null(getcwd(p.cwd, sizeof p.cwd));
    unsetenv("QPSMTPD_CONFIG");
    setenv("QMAIL", in(&p, "qmail"), 1);
    *state = &p;
    return 0;
}

static int
teardown(void **state)
{
    struct place *p = *state;

    assert_int_equal(chdir(p->cwd), 0);
    arena_close(&p->arena);
    scratch_close(&p->scratch);
    return 0;
}

static void
the_given_directory_hides_all_but_qmails(void **state)
{
    struct place *p = *state;
    struct options o = with(scratch_mkdir(&p->scratch, "own"), NULL);
    struct paths paths;
    struct err e;

    setenv("QPSMTPD_CONFIG", p->scratch.dir, 1);
    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_string_equal(paths.config_dirs[0], in(p, "own"));
    assert_string_equal(paths.config_dirs[1], in(p, "qmail/control"));
    assert_null(paths.config_dirs[2]);
    assert_false(paths.qmail_defaults);
}

static void
without_one_the_search_goes_from_special_to_general(void **state)
{
    struct place *p = *state;
    struct options o = with(NULL, NULL);
    struct paths paths;
    struct err e;
    size_t last = 0;

    setenv("QPSMTPD_CONFIG", scratch_mkdir(&p->scratch, "env"), 1);
    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_string_equal(paths.config_dirs[0], in(p, "env"));
    assert_string_equal(paths.config_dirs[1], in(p, "bin/config"));
    while (paths.config_dirs[last + 1])
        last++;
    assert_string_equal(paths.config_dirs[last], in(p, "qmail/control"));
}

static void
qmails_directory_is_the_default_when_the_variable_is_empty(void **state)
{
    struct place *p = *state;
    struct options o = with(p->scratch.dir, NULL);
    struct paths paths;
    struct err e;

    setenv("QMAIL", "", 1);
    assert_true(paths_find(&paths, p->arena, "x", &o, &e));
    assert_string_equal(paths.config_dirs[1], "/var/qmail/control");
}

static void
a_missing_directory_is_an_error_only_when_it_was_given(void **state)
{
    struct place *p = *state;
    struct options config = with(in(p, "none"), NULL), plugins = with(NULL, in(p, "none"));
    struct options file = with(scratch_write(&p->scratch, "file", STR("x")), NULL);
    struct paths paths;
    struct err e;

    assert_false(paths_find(&paths, p->arena, "x", &config, &e));
    assert_string_equal(e.text,
        arena_printf(p->arena, "--config-dir %s: No such file or directory", in(p, "none")));
    assert_false(paths_find(&paths, p->arena, "x", &plugins, &e));
    assert_false(paths_find(&paths, p->arena, "x", &file, &e));
    assert_non_null(strstr(e.text, "Not a directory"));
}

static void
relative_names_are_resolved_at_once(void **state)
{
    struct place *p = *state;
    struct options o = with("own", "plug");
    struct paths paths;
    struct err e;

    scratch_mkdir(&p->scratch, "own");
    scratch_mkdir(&p->scratch, "plug");
    assert_int_equal(chdir(p->scratch.dir), 0);
    assert_true(paths_find(&paths, p->arena, "./bin/qpsmtpd", &o, &e));
    assert_string_equal(paths.config_dirs[0], in(p, "own"));
    assert_string_equal(paths.plugin_dirs[0], in(p, "plug"));
    assert_null(paths.plugin_dirs[1]);
}

static void
plugins_lie_beside_the_program(void **state)
{
    struct place *p = *state;
    struct options o = with(NULL, NULL);
    struct paths paths;
    struct err e;

    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_true(!paths.default_plugin_dirs[0] ||
                strcmp(paths.default_plugin_dirs[0], in(p, "bin/plugins")) != 0);
    scratch_mkdir(&p->scratch, "bin/plugins");
    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_string_equal(paths.default_plugin_dirs[0], in(p, "bin/plugins"));
}

static void
a_name_without_slash_means_the_running_program(void **state)
{
    struct place *p = *state;
    struct options o = with(NULL, NULL);
    char exe[PATH_MAX] = "";
    struct paths paths;
    struct err e;

    assert_true(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
    *strrchr(exe, '/') = '\0';
    assert_true(paths_find(&paths, p->arena, "qpsmtpd", &o, &e));
    assert_string_equal(paths.config_dirs[0], arena_printf(p->arena, "%s/config", exe));
}

static void
a_bare_qmail_host_is_served_as_qmail_would(void **state)
{
    struct place *p = *state;
    struct options o = with(NULL, NULL);
    struct paths paths;
    struct err e;

#ifdef QPSMTPD_CONFIG_DIR
    if (access(QPSMTPD_CONFIG_DIR, F_OK) == 0)
        return; /* not a bare host: a configuration is installed */
#endif
    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_false(paths.qmail_defaults);
    scratch_mkdir(&p->scratch, "qmail");
    scratch_mkdir(&p->scratch, "qmail/control");
    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_true(paths.qmail_defaults);
    scratch_mkdir(&p->scratch, "bin/config");
    assert_true(paths_find(&paths, p->arena, in(p, "bin/qpsmtpd"), &o, &e));
    assert_false(paths.qmail_defaults);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_given_directory_hides_all_but_qmails),
        TEST(without_one_the_search_goes_from_special_to_general),
        TEST(qmails_directory_is_the_default_when_the_variable_is_empty),
        TEST(a_missing_directory_is_an_error_only_when_it_was_given),
        TEST(relative_names_are_resolved_at_once),
        TEST(plugins_lie_beside_the_program),
        TEST(a_name_without_slash_means_the_running_program),
        TEST(a_bare_qmail_host_is_served_as_qmail_would),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
