#include "server/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#define DEFAULT_USER "smtpd"

static bool
is_root(void)
{
    return getuid() == 0 || geteuid() == 0;
}

static const struct passwd *
user_entry(const char *user)
{
    if (user)
        return getpwnam(user);
    return is_root() ? getpwnam(DEFAULT_USER) : getpwuid(geteuid());
}

static bool
no_entry(const char *user, struct err *e)
{
    if (user)
        return err_set(e, "--user %s: there is no such user", user);
    return err_set(e, "started by root: --user is needed, because there is no user " DEFAULT_USER);
}

/* A process id without a name, as containers have them. */
static void
own_numbers(struct identity *out)
{
    out->uid = geteuid();
    out->gid = getegid();
    snprintf(out->user, sizeof out->user, "%lu", (unsigned long)out->uid);
    snprintf(out->group, sizeof out->group, "%lu", (unsigned long)out->gid);
}

bool
privileges_choose(const char *user, struct identity *out, struct err *e)
{
    const struct passwd *pw = user_entry(user);
    const struct group *gr;

    if (!pw && (user || is_root()))
        return no_entry(user, e);
    own_numbers(out);
    if (pw) {
        if (!is_root() && pw->pw_uid != geteuid())
            return err_set(e, "--user %s: only root can change the user", user);
        out->uid = pw->pw_uid;
        out->gid = is_root() ? pw->pw_gid : getegid();
        snprintf(out->user, sizeof out->user, "%s", pw->pw_name);
    }
    gr = getgrgid(out->gid);
    if (gr)
        snprintf(out->group, sizeof out->group, "%s", gr->gr_name);
    else
        snprintf(out->group, sizeof out->group, "%lu", (unsigned long)out->gid);
    return true;
}

/* Trust none of the calls: look, and try to come back. */
static bool
is_dropped(const struct identity *id)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;

    if (getresuid(&ruid, &euid, &suid) < 0 || getresgid(&rgid, &egid, &sgid) < 0)
        return false;
    if (ruid != id->uid || euid != id->uid || suid != id->uid)
        return false;
    if (rgid != id->gid || egid != id->gid || sgid != id->gid)
        return false;
    return id->uid == 0 || (setuid(0) < 0 && seteuid(0) < 0);
}

bool
privileges_drop(const struct identity *id, struct err *e)
{
    if (is_root()) {
        if (initgroups(id->user, id->gid) < 0)
            return err_sys(e, "supplementary groups of user %s", id->user);
        if (setresgid(id->gid, id->gid, id->gid) < 0)
            return err_sys(e, "change to group %s", id->group);
        if (setresuid(id->uid, id->uid, id->uid) < 0)
            return err_sys(e, "change to user %s", id->user);
    }
    if (!is_dropped(id))
        return err_set(e, "changing to user %s had no lasting effect", id->user);
    return true;
}
