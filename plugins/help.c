/*
 * help - what HELP says
 *
 *   plugins file: help [not_implemented 0|1] [help_dir DIR] [COMMAND FILE ...]
 *     help_dir    a file for each command, named as it, in small letters; default help
 *     COMMAND FILE  this one for that command instead; a path, or a name in help_dir
 *   hook help:    not_implemented 1: 502 `Not implemented.`; HELP alone: 214 `Try 'HELP COMMAND' for
 *                 getting help on COMMAND`; with what is no word: 502 `Invalid command name`; else 214
 *                 and the lines of the file, or `No help available for SMTP command: COMMAND`
 *
 * From 1.00; files are read at start.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <qpsmtpd/plugin.h>

#define TOPICS_MAX  100
#define TEXT_MAX    8000 /* bytes of a file */
#define COMMAND_MAX 40

struct topic {
    const char *command, *text;
};

struct conf {
    bool not_implemented;
    const char *dir;
    struct topic topic[TOPICS_MAX];
    size_t topics;
};

static bool
is_word(const char *text)
{
    size_t n = 0;

    while (isalnum((unsigned char)text[n]) || text[n] == '_')
        n++;
    return n > 0 && n <= COMMAND_MAX && text[n] == '\0';
}

static const struct topic *
find(const struct conf *c, const char *command)
{
    for (size_t i = 0; i < c->topics; i++)
        if (strcasecmp(c->topic[i].command, command) == 0)
            return &c->topic[i];
    return NULL;
}

/* The text of a regular file, without the last line end; NULL with errno. */
static const char *
read_text(struct qp *q, const char *path)
{
    char *text = qp_alloc(q, QP_INSTANCE, TEXT_MAX + 2);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    ssize_t n = -1;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
        errno = EINVAL;
    else
        n = read(fd, text, TEXT_MAX + 1);
    if (n > TEXT_MAX) {
        errno = EFBIG;
        n = -1;
    }
    close(fd);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    return n < 0 ? NULL : text;
}

static bool
add(struct qp *q, struct conf *c, const char *command, const char *file)
{
    const char *path = strchr(file, '/') ? file : qp_printf(q, QP_INSTANCE, "%s/%s", c->dir, file);
    const char *text = read_text(q, path);

    if (!text)
        return qp_fail(
            q, "%s: %s (a text of at most %d bytes is wanted)", path, strerror(errno), TEXT_MAX);
    if (c->topics == TOPICS_MAX)
        return qp_fail(q, "more than %d commands", TOPICS_MAX);
    c->topic[c->topics++] = (struct topic){qp_strdup(q, QP_INSTANCE, command), text};
    return true;
}

static bool
add_directory(struct qp *q, struct conf *c)
{
    DIR *dir = opendir(c->dir);
    bool ok = true;

    if (!dir)
        return errno == ENOENT || qp_fail(q, "%s: %s", c->dir, strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(dir));)
        if (is_word(entry->d_name) && !find(c, entry->d_name))
            ok = add(q, c, entry->d_name, entry->d_name);
    closedir(dir);
    return ok;
}

/* First the options, wherever they stand: help_dir is needed for the files. */
static bool
read_arguments(struct qp *q, struct conf *c, int argc, const char *const argv[])
{
    if (argc % 2 == 0)
        return qp_fail(q, "%s: behind each name stands a value", argv[argc - 1]);
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "help_dir") == 0)
            c->dir = argv[i + 1];
        else if (strcmp(argv[i], "not_implemented") == 0 &&
                 !qp_arg_bool(q, argv[i + 1], &c->not_implemented))
            return false;
    }
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "help_dir") == 0 || strcmp(argv[i], "not_implemented") == 0)
            continue;
        if (!is_word(argv[i]))
            return qp_fail(q, "%s is no command", argv[i]);
        if (!add(q, c, argv[i], argv[i + 1]))
            return false;
    }
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    c->dir = "help";
    qp_instance_set(q, c);
    return read_arguments(q, c, argc, argv) && add_directory(q, c);
}

static enum qp_rc
answer(struct qp *q, int code, const char *text)
{
    qp_respond(q, code, "%s", text);
    return QP_DONE;
}

static enum qp_rc
on_help(struct qp *q, const char *args)
{
    const struct conf *c = qp_instance(q);
    const struct topic *t;

    if (c->not_implemented)
        return answer(q, 502, "Not implemented.");
    if (*args == '\0')
        return answer(q, 214, "Try 'HELP COMMAND' for getting help on COMMAND");
    if (!is_word(args))
        return answer(q, 502, "Invalid command name");
    t = find(c, args);
    if (t && *t->text)
        return answer(q, 214, t->text);
    return answer(
        q, 214, qp_printf(q, QP_TRANSACTION, "No help available for SMTP command: %s", args));
}

QP_PLUGIN(.name = "help", .init = on_init, .help = on_help);
