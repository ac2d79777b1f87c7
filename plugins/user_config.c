/*
 * user_config - configuration files of single recipients
 *
 *   plugins file:     user_config [PATTERN]     default /home/%u/.qpsmtpd: the directory of a user; %u
 *                                               local part, %h domain, %a whole address, %% a %
 *   hook user_config: QP_OK with the lines of the file NAME there; no such file, an address that could
 *                     lead elsewhere, or a file that cannot be used: QP_DECLINED, the file of all
 *
 * From 1.00. Addresses come from the client: lower case, without / or a leading dot, and no link is
 * followed to the file. The directories above it are the administrator's, or the user's.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <qpsmtpd/plugin.h>

#define FILE_MAX 65536

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    const char *pattern = "/home/%u/.qpsmtpd";

    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "pattern", .positional = true, .text = &pattern}, {0}}))
        return false;
    for (const char *p = pattern; (p = strchr(p, '%')); p += 2)
        if (!p[1] || !strchr("uha%", p[1]))
            return qp_fail(q, "%s: behind %% stands u, h, a or another %%", pattern);
    if (*pattern != '/')
        return qp_fail(q, "%s: write the whole path, from / on", pattern);
    qp_instance_set(q, qp_strdup(q, QP_INSTANCE, pattern));
    return true;
}

/* ---- the path ---- */

struct path {
    char text[PATH_MAX];
    size_t n;
    bool bad;
};

static void
put(struct path *p, char c)
{
    if (p->n + 1 < sizeof p->text)
        p->text[p->n++] = c;
    else
        p->bad = true;
}

/* A part that the client has chosen. */
static void
put_word(struct path *p, const char *word)
{
    p->bad = p->bad || *word == '\0' || *word == '.' || strchr(word, '/');
    for (; *word; word++)
        put(p, (char)tolower((unsigned char)*word));
}

static bool
make_path(struct path *p, const char *pattern, const struct qp_address *user, const char *name)
{
    for (; *pattern; pattern++) {
        if (*pattern != '%')
            put(p, *pattern);
        else if (*++pattern == '%')
            put(p, '%');
        else
            put_word(p, *pattern == 'u'   ? user->user
                        : *pattern == 'h' ? user->host
                                          : user->address);
    }
    put(p, '/');
    put_word(p, name);
    p->text[p->n] = '\0';
    return !p->bad;
}

/* ---- the file ---- */

/* All of an open file; NULL with errno. */
static char *
read_all(struct qp *q, int fd)
{
    struct stat st;
    size_t n = 0;
    char *text;

    if (fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        return NULL;
    }
    text = qp_alloc(q, QP_TRANSACTION, (size_t)st.st_size + 1);
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, text + n, (size_t)st.st_size - n);

        if (got < 0 && errno != EINTR)
            return NULL;
        if (got == 0) /* became shorter meanwhile */
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    return text;
}

static char *
read_file(struct qp *q, const char *path)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), error;
    char *text;

    if (fd < 0)
        return NULL;
    text = read_all(q, fd);
    error = errno;
    close(fd);
    errno = error;
    return text;
}

static void
answer_lines(struct qp *q, char *text)
{
    for (char *line; (line = strsep(&text, "\n"));) {
        line += strspn(line, " \t\r");
        if (*line && *line != '#')
            qp_config_answer(q, line); /* trimmed at its end there */
    }
}

static enum qp_rc
on_user_config(struct qp *q, const struct qp_address *user, const char *name)
{
    struct path path = {.n = 0};
    char *text;

    if (!make_path(&path, qp_instance(q), user, name))
        return QP_DECLINED;
    text = read_file(q, path.text);
    if (!text) {
        if (errno != ENOENT && errno != ENOTDIR)
            qp_log(q, QP_LOG_WARN, "not used file=%s error=\"%s\"", path.text, strerror(errno));
        return QP_DECLINED;
    }
    answer_lines(q, text);
    return QP_OK;
}

QP_PLUGIN(.name = "user_config", .init = on_init, .user_config = on_user_config);
