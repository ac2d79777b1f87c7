/*
 * t/unit/scratch - a directory of the test's own, and files in it
 *
 * For cmocka programs, which end when something here fails.
 */
#ifndef QPSMTPD_T_UNIT_SCRATCH_H
#define QPSMTPD_T_UNIT_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"

struct scratch {
    char dir[PATH_MAX / 4];
    char path[PATH_MAX]; /* of the last scratch_path */
};

static inline void
scratch_open(struct scratch *s)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(s->dir, sizeof s->dir, "%s/qpsmtpd-unit.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(s->dir) == NULL) {
        perror(s->dir);
        _exit(1);
    }
}

static inline int
scratch_remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static inline void
scratch_close(struct scratch *s)
{
    nftw(s->dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* scratch_path - valid until the next call */
static inline const char *
scratch_path(struct scratch *s, const char *name)
{
    snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name);
    return s->path;
}

static inline const char *
scratch_mkdir(struct scratch *s, const char *name)
{
    if (mkdir(scratch_path(s, name), 0700) < 0) {
        perror(s->path);
        _exit(1);
    }
    return s->path;
}

static inline const char *
scratch_write(struct scratch *s, const char *name, struct str text)
{
    int fd = open(scratch_path(s, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    if (fd < 0 || write(fd, text.p, text.n) != (ssize_t)text.n || close(fd) < 0) {
        perror(s->path);
        _exit(1);
    }
    return s->path;
}

/* scratch_cdb - let cdb(1) write NAME from records as it reads them: "+klen,dlen:key->data\n", "\n"
 */
static inline const char *
scratch_cdb(struct scratch *s, const char *name, struct str records)
{
    char source[PATH_MAX];
    int status = 0;
    pid_t pid;

    scratch_write(s, "cdb-source", records);
    snprintf(source, sizeof source, "%s/cdb-source", s->dir);
    scratch_path(s, name);
    pid = fork();
    if (pid == 0) {
        execlp("cdb", "cdb", "-c", s->path, source, (char *)NULL);
        perror("cdb");
        _exit(1);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        _exit(1);
    return s->path;
}

#endif
