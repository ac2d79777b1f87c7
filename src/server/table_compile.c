#include "server/table_compile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/mph.h"
#include "conf/mph_build.h"
#include "plugin/badlist_table.h"
#include "plugin/regex.h"

#define PIECE        ((size_t)1 << 20)
#define LONGEST      (2 * (size_t)MPH_TEXT_MAX)
#define ATTEMPTS_MAX 16 /* one in some hundred thousand lists of ten million lines needs a second */

/* A text that is read piece by piece; whole lines only are handed out. */
struct reader {
    const char *path;
    int fd;
    struct stat st;
    char *room;
    size_t n;        /* bytes in room */
    struct str rest; /* of the whole lines among them */
    bool at_end;
    unsigned int number;
};

static bool
open_reader(struct reader *r, struct arena *a, const char *path, struct err *e)
{
    *r = (struct reader){.path = path,
        .room = arena_alloc(a, LONGEST + PIECE),
        .fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)};
    if (r->fd < 0)
        return err_sys(e, "%s", path);
    if (fstat(r->fd, &r->st) < 0)
        return err_sys(e, "%s", path);
    return S_ISREG(r->st.st_mode) || err_set(e, "%s: not a regular file", path);
}

static bool
rewind_reader(struct reader *r, struct err *e)
{
    r->n = 0;
    r->rest = (struct str){r->room, 0};
    r->at_end = false;
    r->number = 0;
    return lseek(r->fd, 0, SEEK_SET) == 0 || err_sys(e, "%s", r->path);
}

/* More whole lines behind the half one that is left. */
static bool
fill(struct reader *r, struct err *e)
{
    const char *end;
    ssize_t got;

    if (r->n > LONGEST)
        return err_set(e, "%s:%u: longer than %zu bytes", r->path, r->number + 1, LONGEST);
    do
        got = read(r->fd, r->room + r->n, PIECE);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return err_sys(e, "%s", r->path);
    r->at_end = got == 0;
    r->n += (size_t)got;
    end = r->at_end ? r->room + r->n : memrchr(r->room, '\n', r->n);
    r->rest = (struct str){r->room, end ? (size_t)(end - r->room) : 0};
    if (end && !r->at_end)
        r->rest.n++;
    return true;
}

enum step { STEP_LINE, STEP_END, STEP_FAILED };

static enum step
next_line(struct reader *r, struct str *line, struct err *e)
{
    for (;;) {
        if (config_next_line(&r->rest, &r->number, line))
            return STEP_LINE;
        if (r->at_end)
            return STEP_END;
        /* rest.p is behind the last whole line */
        r->n -= (size_t)(r->rest.p - r->room);
        memmove(r->room, r->rest.p, r->n);
        if (!fill(r, e))
            return STEP_FAILED;
    }
}

/* At least as many as there are: that is how the work is divided. */
static bool
count_lines(struct reader *r, uint64_t *out, struct err *e)
{
    ssize_t got;

    *out = 1;
    while ((got = read(r->fd, r->room, PIECE)) > 0)
        for (ssize_t i = 0; i < got; i++)
            *out += r->room[i] == '\n';
    return got == 0 || err_sys(e, "%s", r->path);
}

/* ---- lines ---- */

static bool
at_line(const struct reader *r, struct err *e)
{
    struct err why = *e;

    return err_set(e, "%s:%u: %s", r->path, r->number, why.text);
}

/* What is done with each entry of the list: it is written, or looked up. */
struct task {
    enum table_match kind;
    struct arena *arena; /* of one line */
    struct mph_build *build;
    struct mph_header *about;
    const struct mph *written;
    uint64_t at;       /* in what was written */
    size_t n_patterns; /* up to here */
    bool (*entry)(struct task *t, const struct table_entry *entry, struct err *e);
};

static bool
do_pattern(struct task *t, struct str line, struct err *e)
{
    struct str rest = line;
    const char *word = arena_dup(t->arena, str_word(&rest)); /* as it is: \S is not \s */
    char room[BADLIST_KEY];
    struct table_entry pattern = {badlist_pattern_key(t->n_patterns++, room), line, -1};
    const char *error;

    if (!regex_new(t->arena, word, true, &error))
        return err_set(e, "\"%s\" is no pattern: %s", word, error);
    return t->entry(t, &pattern, e);
}

/* An address, a pattern, or both. */
static bool
do_bad_line(struct task *t, const struct reader *r, const struct table_entry *entry,
    struct str line, struct err *e)
{
    bool is_address = str_find(entry->key, '@') < entry->key.n;
    bool is_pattern = badlist_is_pattern(entry->key);

    if (!is_address && !is_pattern && !t->written)
        log_write(LOG_LEVEL_WARN,
            "%s:%u: \"%.*s\" is ignored: write user@host, @host for a whole domain, or a pattern",
            r->path, r->number, STR_ARG(entry->key));
    if (is_address && !t->entry(t, entry, e))
        return false;
    return !is_pattern || do_pattern(t, line, e);
}

static bool
do_line(struct task *t, const struct reader *r, struct str line, struct err *e)
{
    struct table_entry entry;
    struct str rest = line;

    if (str_ieq(str_word(&rest), STR("$Include")))
        return err_set(e, "$Include cannot be compiled: compile a list that has all lines");
    if (!table_entry(t->kind, line, arena_alloc(t->arena, TABLE_ROOM(line)), &entry, e))
        return false;
    return t->kind == TABLE_BAD ? do_bad_line(t, r, &entry, line, e) : t->entry(t, &entry, e);
}

static bool
each_line(struct reader *r, struct task *t, struct err *e)
{
    enum step step;
    struct str line;

    if (!rewind_reader(r, e))
        return false;
    t->n_patterns = 0;
    while ((step = next_line(r, &line, e)) == STEP_LINE) {
        if (!do_line(t, r, line, e))
            return at_line(r, e);
        arena_reset(t->arena);
    }
    return step == STEP_END;
}

static bool
add_entry(struct task *t, const struct table_entry *entry, struct err *e)
{
    if (entry->bits >= 0)
        t->about->lengths[entry->bits / 64] |= UINT64_C(1) << entry->bits % 64;
    return mph_build_add(t->build, entry->key, entry->value, e);
}

/* Is it there, and is it this line's or an earlier one's? */
static bool
check_entry(struct task *t, const struct table_entry *entry, struct err *e)
{
    struct mph_entry own, found;

    if (mph_next(t->written, &t->at, &own) == MPH_FOUND && str_eq(own.key, entry->key) &&
        str_eq(own.value, entry->value) && mph_find(t->written, entry->key, &found) == MPH_FOUND &&
        found.at <= own.at)
        return true;
    return err_set(e, "was not written rightly");
}

/* ---- compiling ---- */

static void
describe(const struct reader *r, enum table_match kind, struct mph_header *h)
{
    *h = (struct mph_header){
        .kind = (uint32_t)kind,
        .text_seconds = r->st.st_mtim.tv_sec,
        .text_nanoseconds = (uint32_t)r->st.st_mtim.tv_nsec,
        .text_size = (uint64_t)r->st.st_size,
        .built = time(NULL),
    };
}

/* Nobody may have written into the text meanwhile: half of it would be of then, half of now. */
static bool
is_unchanged(const struct reader *r, struct err *e)
{
    struct stat now;

    if (stat(r->path, &now) < 0)
        return err_sys(e, "%s", r->path);
    if (now.st_ino != r->st.st_ino || now.st_dev != r->st.st_dev || now.st_size != r->st.st_size ||
        now.st_mtim.tv_sec != r->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != r->st.st_mtim.tv_nsec)
        return err_set(e, "%s: has changed while it was read: run it again", r->path);
    return true;
}

static bool
check(struct reader *r, struct task *t, struct err *e)
{
    struct arena *a = arena_open("written list");
    struct mph written;
    bool ok = mph_open(&written, a, mph_build_temporary(t->build), e);

    if (ok) {
        t->entry = check_entry;
        t->written = &written;
        ok = each_line(r, t, e) && (mph_check(&written) || err_set(e, "was not written rightly"));
        t->written = NULL;
        mph_close(&written);
    }
    arena_close(&a);
    return ok;
}

static enum mph_build_status
build(struct reader *r, struct task *t, struct table_report *out, struct err *e)
{
    enum mph_build_status status;
    struct rusage usage;

    describe(r, t->kind, &out->header);
    t->written = NULL;
    t->about = &out->header;
    t->entry = add_entry;
    if (!each_line(r, t, e))
        return MPH_BUILD_FAILED;
    status = mph_build_finish(t->build, &out->header, &r->st, e);
    getrusage(RUSAGE_SELF, &usage);
    out->memory_kib = usage.ru_maxrss;
    if (status != MPH_BUILD_DONE)
        return status;
    if (!check(r, t, e) || !is_unchanged(r, e) || !mph_build_rename(t->build, e))
        return MPH_BUILD_FAILED;
    return MPH_BUILD_DONE;
}

static bool
compile(struct reader *r, const char *mph, enum table_match kind, struct table_report *out,
    struct err *e)
{
    struct task task = {.kind = kind, .arena = arena_open("line")};
    enum mph_build_status status = MPH_BUILD_AGAIN;
    uint64_t lines;

    if (!count_lines(r, &lines, e))
        status = MPH_BUILD_FAILED;
    if (kind == TABLE_BAD)
        lines *= 2; /* a word may be an address and a pattern */
    for (unsigned int i = 0; i < ATTEMPTS_MAX && status == MPH_BUILD_AGAIN; i++) {
        task.build = mph_build_open(mph, lines, i, e);
        status = task.build ? build(r, &task, out, e) : MPH_BUILD_FAILED;
        mph_build_close(&task.build);
    }
    if (status == MPH_BUILD_AGAIN)
        err_set(e, "%s: no function was found for these keys", r->path);
    arena_close(&task.arena);
    return status == MPH_BUILD_DONE;
}

bool
table_compile(const char *text, const char *mph, enum table_match kind, struct table_report *out,
    struct err *e)
{
    int64_t start = clock_ms();
    struct arena *a = arena_open("text");
    struct reader r;
    bool ok;

    *out = (struct table_report){.memory_kib = 0};
    ok = open_reader(&r, a, text, e) && compile(&r, mph, kind, out, e);
    if (r.fd >= 0)
        close(r.fd);
    arena_close(&a);
    out->ms = clock_ms() - start;
    return ok;
}
