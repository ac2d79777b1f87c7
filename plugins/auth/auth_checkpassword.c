/*
 * auth/auth_checkpassword - ask a program that speaks DJB's checkpassword interface
 *
 *   plugins file: auth/auth_checkpassword [checkpw PATH] [true PATH] [sudo PATH] [timeout DURATION]
 *     checkpw    the program; absolute. Without it the file says both
 *     true       what it runs when the password is right. Default: second word of the file, else
 *                /bin/true
 *     sudo       run it by sudo(8): -n -C4, and -u vpopmail for a program called vchkpw
 *     timeout    1s..300s, default 10s
 *   file:         smtpauth-checkpassword: "PATH [PATH]"
 *   hooks auth-plain, auth-login:
 *     exit 0            QP_OK, and the connection note authuser is the user
 *     exit 1 (or 3)     QP_DECLINED "auth_checkpassword - wrong password"; what is longer than the
 *                       interface allows is wrong without a question
 *     everything else   QP_DENYSOFT: 2 and 111, another exit, a signal, too long, cannot be started,
 *                       or it ended without having read what it was asked
 *
 * Descriptor 3 of the program is a pipe with "user\0password\0timestamp\0"; 0 and 1 are /dev/null, 2 is
 * the log. The environment has the variables of tcp-environ(5).
 *
 * Source: 1.00; cr.yp.to/checkpwd/interface.html; 3 is what vpopmail's vchkpw says for a wrong
 * password. 1.00 took sudo without being told to, and let everybody in whom a program let in that had
 * never looked at descriptor 3.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/process.h>

#define CONFIG       "smtpauth-checkpassword"
#define QUESTION_MAX 512       /* bytes: the interface promises no more */
#define TIMESTAMP    "Y123456" /* for challenges of APOP: here there is none */
#define TIMEOUT_MS   10000
#define WORDS_MAX    8

struct conf {
    const char *checkpw, *run, *sudo; /* sudo NULL: without */
    int64_t timeout_ms;
};

/* ---- init ---- */

/* "PATH [PATH]" where the arguments did not say it */
static bool
read_file(struct qp *q, struct conf *c)
{
    struct qp_lines lines = qp_config_lines(q, CONFIG);
    char *first, *second, *more;

    if (c->checkpw)
        return true;
    if (lines.n == 0)
        return qp_fail(q, "no program: write checkpw PATH here, or PATH into the file " CONFIG);
    first = qp_strdup(q, QP_INSTANCE, lines.line[0].text);
    second = first + strcspn(first, " \t");
    if (*second)
        *second++ = '\0';
    second += strspn(second, " \t");
    more = second + strcspn(second, " \t");
    if (*more || lines.n > 1)
        return qp_fail_at(q, &lines.line[lines.n > 1],
            "want one line: PATH of the program, and PATH "
            "of what it runs");
    c->checkpw = first;
    if (!c->run && *second)
        c->run = second;
    return true;
}

static bool
check_program(struct qp *q, const char *name, const char *path)
{
    struct stat st;

    if (path[0] != '/')
        return qp_fail(q, "%s: %s: want an absolute path", name, path);
    if (stat(path, &st) < 0)
        return qp_fail(q, "%s: %s: %s", name, path, strerror(errno));
    if (!S_ISREG(st.st_mode) || !(st.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)))
        return qp_fail(q, "%s: %s: no program: chmod +x", name, path);
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    c->timeout_ms = TIMEOUT_MS;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "checkpw", .text = &c->checkpw},
                {.name = "true", .text = &c->run}, {.name = "sudo", .text = &c->sudo},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 300}, {0}}) ||
        !read_file(q, c))
        return false;
    if (!c->run)
        c->run = "/bin/true";
    return check_program(q, "checkpw", c->checkpw) && check_program(q, "true", c->run) &&
           (!c->sudo || check_program(q, "sudo", c->sudo));
}

/* ---- asking ---- */

static void
make_command(const struct conf *c, const char *argv[WORDS_MAX])
{
    const char *name = strrchr(c->checkpw, '/') + 1;
    size_t n = 0;

    if (c->sudo) {
        argv[n++] = c->sudo;
        argv[n++] = "-n";
        argv[n++] = "-C4"; /* or it would close descriptor 3 */
    }
    if (c->sudo && strcmp(name, "vchkpw") == 0) {
        argv[n++] = "-u";
        argv[n++] = "vpopmail";
    }
    argv[n++] = c->checkpw;
    argv[n++] = c->run;
    argv[n] = NULL;
}

/* A pipe that holds the question: it is smaller than any pipe, so writing waits for nobody. Gives its
 * read end, -1 with errno. */
static int
question_open(const char *question, size_t n)
{
    int ends[2];
    ssize_t done;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    done = write(ends[1], question, n);
    close(ends[1]);
    if (done == (ssize_t)n)
        return ends[0];
    close(ends[0]);
    errno = EIO;
    return -1;
}

/* Its exit code; -1: it gave none, and *why tells it. */
static int
run(struct qp *q, const struct conf *c, int question, const char **why)
{
    const char *argv[WORDS_MAX];
    int status, unread = 0;
    pid_t pid;

    make_command(c, argv);
    pid = qp_process_start(q, argv, &(const struct qp_fd_map){question, 3}, 1, NULL);
    status = pid < 0 ? -1 : qp_process_wait(q, pid, c->timeout_ms);
    if (pid < 0 || status < 0) {
        *why = strerror(errno);
        return -1;
    }
    if (!WIFEXITED(status)) {
        *why = "killed by a signal";
        return -1;
    }
    if (ioctl(question, FIONREAD, &unread) < 0 || unread > 0) {
        *why = "it has not read descriptor 3";
        return -1;
    }
    return WEXITSTATUS(status);
}

static int
ask(struct qp *q, const struct conf *c, const char *question, size_t n, const char **why)
{
    int fd = question_open(question, n), code = -1;

    if (fd < 0) {
        *why = strerror(errno);
        return -1;
    }
    code = run(q, c, fd, why);
    close(fd);
    return code;
}

/* ---- deciding ---- */

static enum qp_rc
judge(struct qp *q, const struct conf *c, const char *user, int code, const char *why)
{
    switch (code) {
    case 0:
        qp_note_set(q, QP_CONNECTION, "authuser", user);
        return qp_ok(q, "auth_checkpassword");
    case 1:
    case 3:
        return qp_declined(q, "auth_checkpassword - wrong password");
    default:
        qp_log(
            q, QP_LOG_ERROR, "no verdict: program=%s exit=%d reason=\"%s\"", c->checkpw, code, why);
        return QP_DENYSOFT;
    }
}

static enum qp_rc
on_auth(struct qp *q, const struct qp_auth *a)
{
    const struct conf *c = qp_instance(q);
    const char *why = "it has trouble";
    char question[QUESTION_MAX + 1];
    int n = snprintf(question, sizeof question, "%s%c%s%c" TIMESTAMP, a->user, 0, a->password, 0);
    int code;

    if (n < 0 || n >= QUESTION_MAX) { /* the last NUL is not counted yet */
        explicit_bzero(question, sizeof question);
        qp_log(q, QP_LOG_INFO, "not asked: longer than the interface allows");
        return qp_declined(q, "auth_checkpassword - wrong password");
    }
    code = ask(q, c, question, (size_t)n + 1, &why);
    explicit_bzero(question, sizeof question);
    return judge(q, c, a->user, code, why);
}

QP_PLUGIN(.name = "auth/auth_checkpassword", .init = on_init, .auth_plain = on_auth,
    .auth_login = on_auth);
