#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pwd.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "server/privileges.h"

static void
nobody_can_be_a_user_that_does_not_exist(void **state)
{
    struct identity id;
    struct err e;

    (void)state;
    assert_false(privileges_choose("no such user", &id, &e));
    assert_string_equal(e.text, "--user no such user: there is no such user");
}

/* check changes the user for good: in a process of its own. It returns 0 when all is well. */
static void
assert_in_child(int (*check)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(check());
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Whoever we are: become somebody without rights first. */
static int
change_without_right(void)
{
    struct identity id;
    struct err e;

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
        return 1;
    if (privileges_choose("root", &id, &e))
        return 2;
    if (!privileges_choose(NULL, &id, &e) || id.uid != geteuid())
        return 3;
    return privileges_drop(&id, &e) ? 0 : 4;
}

static void
only_root_changes_the_user(void **state)
{
    (void)state;
    assert_in_child(change_without_right);
}

static void
our_own_user_may_be_named(void **state)
{
    const struct passwd *pw = getpwuid(geteuid());
    struct identity id;
    struct err e;

    (void)state;
    assert_true(privileges_choose(pw ? pw->pw_name : NULL, &id, &e));
    assert_int_equal(id.uid, geteuid());
    assert_true(privileges_drop(&id, &e));
}

static int
come_back(void)
{
    struct identity id;
    struct err e;

    if (!privileges_choose("nobody", &id, &e) || !privileges_drop(&id, &e))
        return 1;
    return getuid() == 0 || geteuid() == 0 || setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0;
}

static void
root_is_gone_for_good(void **state)
{
    (void)state;
    if (geteuid() == 0 && getpwnam("nobody")) /* others have nothing to lose */
        assert_in_child(come_back);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_can_be_a_user_that_does_not_exist),
        cmocka_unit_test(only_root_changes_the_user),
        cmocka_unit_test(our_own_user_may_be_named),
        cmocka_unit_test(root_is_gone_for_good),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
