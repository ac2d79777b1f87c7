/*
 * The words behind a plugin's name: <qpsmtpd/args.h>.
 */
#include <qpsmtpd/plugin.h>

#include <limits.h>
#include <stdio.h>
#include <strings.h>

#include "base/buf.h"
#include "plugin/instance.h"

/* ---- words to values; each says what would have been right ---- */

static bool
number_parse(const char *word, int64_t *out)
{
    struct str s = str_of(word);
    bool negative = s.n && s.p[0] == '-';
    uint64_t n;

    if (!str_number(str_from(s, negative), INT64_MAX, &n))
        return false;
    *out = negative ? -(int64_t)n : (int64_t)n;
    return true;
}

/* Digits and one unit out of `units`; the unit's factor is in the same place of factors. */
static bool
with_unit(const char *word, const char *units, const int64_t factors[], int64_t *out)
{
    struct str s = str_of(word);
    int64_t factor = 1;
    uint64_t n;

    if (s.n && !ascii_digit(s.p[s.n - 1])) {
        const char *unit = strchr(units, ascii_lower(s.p[s.n - 1]));

        if (!unit)
            return false;
        factor = factors[unit - units];
        s.n--;
    }
    if (!str_number(s, (uint64_t)(INT64_MAX / 1000 / factor), &n))
        return false;
    *out = (int64_t)n * factor;
    return true;
}

static bool
seconds_parse(const char *word, int64_t *out)
{
    return with_unit(word, "smhd", (const int64_t[]){1, 60, 3600, 86400}, out);
}

static bool
bytes_parse(const char *word, int64_t *out)
{
    return with_unit(word, "kmg", (const int64_t[]){1 << 10, 1 << 20, 1 << 30}, out);
}

static bool
bool_parse(const char *word, bool *out)
{
    static const char *const words[][2] = {
        {"0", "1"}, {"no", "yes"}, {"off", "on"}, {"false", "true"}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int value = 0; value < 2; value++)
            if (strcasecmp(word, words[i][value]) == 0) {
                *out = value;
                return true;
            }
    return false;
}

static bool
choice_parse(const char *word, const char *choices, int *out)
{
    struct str rest = str_of(choices);

    for (int i = 0; rest.n; i++)
        if (str_ieq(str_word(&rest), str_of(word))) {
            *out = i;
            return true;
        }
    return false;
}

static bool
reject_type_parse(const char *word, enum qp_rc *out)
{
    static const enum qp_rc results[] = {
        QP_DENY, QP_DENY, QP_DENYSOFT, QP_DENYSOFT, QP_DENY_DISCONNECT, QP_DENYSOFT_DISCONNECT};
    int i;

    if (!choice_parse(word, "perm hard temp soft disconnect temp_disconnect", &i))
        return false;
    *out = results[i];
    return true;
}

bool
qp_reject_type_given(struct qp *q)
{
    return q->instance->reject_type_given;
}

bool
qp_rc_parse(const char *word, enum qp_rc *out)
{
    static const enum qp_rc results[] = {QP_OK, QP_DENY, QP_DENYSOFT, QP_DENY_DISCONNECT,
        QP_DENYHARD, QP_DENYSOFT_DISCONNECT, QP_DECLINED, QP_DONE};
    int i;

    if (!choice_parse(word,
            "OK DENY DENYSOFT DENY_DISCONNECT DENYHARD DENYSOFT_DISCONNECT DECLINED DONE", &i))
        return false;
    *out = results[i];
    return true;
}

/* ---- the public forms ---- */

static bool
in_range(struct qp *q, const char *name, const char *word, int64_t n, int64_t min, int64_t max)
{
    if (n >= min && (max == 0 || n <= max))
        return true;
    if (max == 0)
        return qp_fail(q, "%s%s\"%s\" is too small: %lld or more", name, *name ? ": " : "", word,
            (long long)min);
    return qp_fail(q, "%s%s\"%s\" is out of range: %lld to %lld", name, *name ? ": " : "", word,
        (long long)min, (long long)max);
}

bool
qp_arg_int(struct qp *q, const char *word, int min, int max, int *out)
{
    int64_t n;

    if (!number_parse(word, &n))
        return qp_fail(q, "\"%s\" is no number", word);
    if (!in_range(q, "", word, n, min, max))
        return false;
    *out = (int)n;
    return true;
}

bool
qp_arg_bool(struct qp *q, const char *word, bool *out)
{
    return bool_parse(word, out) || qp_fail(q, "\"%s\" is neither 0 nor 1 (no, yes)", word);
}

bool
qp_arg_enum(struct qp *q, const char *word, const char *choices, int *out)
{
    return choice_parse(word, choices, out) || qp_fail(q, "\"%s\" is none of: %s", word, choices);
}

bool
qp_arg_duration(struct qp *q, const char *word, int64_t *out_ms)
{
    int64_t seconds;

    if (!seconds_parse(word, &seconds))
        return qp_fail(q, "\"%s\" is no duration: seconds, or a number with s, m, h or d", word);
    *out_ms = seconds * 1000;
    return true;
}

bool
qp_arg_size(struct qp *q, const char *word, uint64_t *out)
{
    int64_t bytes;

    if (!bytes_parse(word, &bytes))
        return qp_fail(q, "\"%s\" is no size: bytes, or a number with k, M or G", word);
    *out = (uint64_t)bytes;
    return true;
}

/* ---- the table ---- */

static bool
set_number(struct qp *q, const struct qp_arg *a, const char *word)
{
    int64_t n;

    if (!number_parse(word, &n))
        return qp_fail(q, "%s: \"%s\" is no number", a->name, word);
    if (!in_range(q, a->name, word, n, a->min, a->max ? a->max : INT_MAX))
        return false;
    *a->number = (int)n;
    return true;
}

static bool
set_duration(struct qp *q, const struct qp_arg *a, const char *word)
{
    int64_t seconds;

    if (!seconds_parse(word, &seconds))
        return qp_fail(
            q, "%s: \"%s\" is no duration: seconds, or a number with s, m, h or d", a->name, word);
    if (!in_range(q, a->name, word, seconds, a->min, a->max))
        return false;
    *a->duration_ms = seconds * 1000;
    return true;
}

static bool
set_size(struct qp *q, const struct qp_arg *a, const char *word)
{
    int64_t bytes;

    if (!bytes_parse(word, &bytes))
        return qp_fail(
            q, "%s: \"%s\" is no size: bytes, or a number with k, M or G", a->name, word);
    if (!in_range(q, a->name, word, bytes, a->min, a->max))
        return false;
    *a->size = (uint64_t)bytes;
    return true;
}

static bool
set(struct qp *q, const struct qp_arg *a, const char *word)
{
    if (a->number)
        return set_number(q, a, word);
    if (a->duration_ms)
        return set_duration(q, a, word);
    if (a->size)
        return set_size(q, a, word);
    if (a->flag)
        return bool_parse(word, a->flag) ||
               qp_fail(q, "%s: \"%s\" is neither 0 nor 1 (no, yes)", a->name, word);
    if (a->choice)
        return choice_parse(word, a->choices, a->choice) ||
               qp_fail(q, "%s: \"%s\" is none of: %s", a->name, word, a->choices);
    if (a->reject_type) {
        q->instance->reject_type_given = true;
        return reject_type_parse(word, a->reject_type) ||
               qp_fail(q, "%s: \"%s\" is none of: perm hard temp soft disconnect temp_disconnect",
                   a->name, word);
    }
    *a->text = qp_strdup(q, QP_INSTANCE, word);
    return true;
}

/* `loglevel 3` fixes the level of all lines of this plugin, `loglevel +1` shifts it (1.00). */
static bool
set_loglevel(struct qp *q, const char *word)
{
    bool relative = word[0] == '+' || word[0] == '-';
    struct str digits = str_from(str_of(word), relative);
    enum log_level level;
    uint64_t n;

    if (relative && str_number(digits, 7, &n)) {
        q->instance->log_shift = word[0] == '-' ? -(int)n : (int)n;
        return true;
    }
    if (relative || !log_level_parse(digits, &level))
        return qp_fail(q, "loglevel: \"%s\" is no level: 0 to 7, +N or -N", word);
    q->instance->log_absolute = (int)level;
    return true;
}

static bool
is_loglevel(const char *word)
{
    return strcasecmp(word, "loglevel") == 0;
}

static const struct qp_arg *
find_named(const struct qp_arg args[], const char *word)
{
    for (; args->name; args++)
        if (!args->positional && strcasecmp(args->name, word) == 0)
            return args;
    return NULL;
}

static const struct qp_arg *
next_positional(const struct qp_arg args[], size_t taken)
{
    for (; args->name; args++)
        if (args->positional && taken-- == 0)
            return args;
    return NULL;
}

static bool
fail_unknown(struct qp *q, const struct qp_arg args[], const char *word)
{
    struct buf known;

    buf_init(&known, q->context->host->arena, 300);
    for (; args->name; args++)
        buf_printf(&known, args->positional ? "<%s> " : "%s ", args->name);
    buf_puts(&known, "loglevel");
    return qp_fail(q, "unknown argument \"%s\" (it knows: %s)", word, buf_text(&known));
}

/* One past the words that were used; 0: qp_fail() was called. */
static int
read_one(struct qp *q, int argc, const char *const argv[], int i, const struct qp_arg args[],
    size_t *positionals)
{
    const struct qp_arg *a = find_named(args, argv[i]);

    if (a || is_loglevel(argv[i])) {
        if (i + 1 >= argc)
            return qp_fail(q, "%s: its value is missing", argv[i]);
        return (a ? set(q, a, argv[i + 1]) : set_loglevel(q, argv[i + 1])) ? i + 2 : 0;
    }
    a = next_positional(args, *positionals);
    if (!a)
        return fail_unknown(q, args, argv[i]);
    ++*positionals;
    return set(q, a, argv[i]) ? i + 1 : 0;
}

static bool
was_given(const struct qp_arg args[], const struct qp_arg *a, int argc, const char *const argv[],
    size_t positionals)
{
    if (!a->positional) {
        for (int i = 1; i < argc; i++)
            if (strcasecmp(argv[i], a->name) == 0)
                return true;
        return false;
    }
    for (; args != a; args++)
        if (args->positional && positionals)
            positionals--;
    return positionals > 0;
}

int
qp_args_leading(struct qp *q, int argc, const char *const argv[], const struct qp_arg args[])
{
    size_t others = 0;
    int i = 1;

    while (i < argc) {
        if (find_named(args, argv[i]) || is_loglevel(argv[i]))
            i += 2;
        else if (next_positional(args, others++))
            i++;
        else
            break;
    }
    if (i >= argc)
        return argc;
    qp_log(q, QP_LOG_WARN, "arguments ignored, from \"%s\" on", argv[i]);
    return i;
}

bool
qp_args(struct qp *q, int argc, const char *const argv[], const struct qp_arg args[])
{
    size_t positionals = 0;

    for (int i = 1; i < argc;)
        if ((i = read_one(q, argc, argv, i, args, &positionals)) == 0)
            return false;
    for (const struct qp_arg *a = args; a->name; a++)
        if (a->required && !was_given(args, a, argc, argv, positionals))
            return qp_fail(q,
                a->positional ? "its argument <%s> is missing" : "its argument \"%s\" is missing",
                a->name);
    return true;
}
