#include "smtp/path.h"

static bool
has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (ascii_control(s.p[i]))
            return true;
    return false;
}

static struct str
skip_spaces(struct str s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = str_from(s, 1);
    return s;
}

/* Behind the route "@a,@b:" that may stand in front of the mailbox; its literals may hold colons.
 */
static size_t
skip_route(struct str s, size_t i)
{
    size_t at = i;
    bool literal = false;

    if (i == s.n || s.p[i] != '@')
        return i;
    for (; at < s.n && s.p[at] != '>'; at++) {
        if (s.p[at] == '[' || s.p[at] == ']')
            literal = s.p[at] == '[';
        else if (s.p[at] == ':' && !literal)
            return at + 1;
    }
    return i;
}

/* Length of "<…>"; 0: it does not end. A '>' in a quoted local part does not end it. */
static size_t
bracketed_length(struct str s)
{
    size_t i = skip_route(s, 1);

    if (i < s.n && s.p[i] == '"')
        for (i++; i < s.n && s.p[i] != '"'; i++)
            if (s.p[i] == '\\')
                i++;
    while (i < s.n && s.p[i] != '>')
        i++;
    return i < s.n ? i + 1 : 0;
}

static bool
is_keyword(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_alnum(s.p[i]) && (s.p[i] != '-' || i == 0))
            return false;
    return s.n > 0;
}

static bool
is_value(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == '=')
            return false;
    return s.n > 0;
}

static bool
param_parse(struct arena *a, struct str word, struct qp_param *out)
{
    size_t equals = str_find(word, '=');
    struct str name = {word.p, equals}, value = {"", 0};
    char *upper;

    if (equals < word.n) {
        value = str_from(word, equals + 1);
        if (!is_value(value))
            return false;
    }
    if (!is_keyword(name))
        return false;
    upper = arena_dup(a, name);
    for (char *p = upper; *p; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 32);
    *out = (struct qp_param){upper, arena_dup(a, value)};
    return true;
}

/* s is empty or begins with a space. */
static bool
params_parse(struct arena *a, struct str s, struct path *path)
{
    struct qp_param found[PATH_PARAMS_MAX];
    struct qp_param *params;
    size_t n = 0;

    for (s = skip_spaces(s); s.n > 0; s = skip_spaces(s)) {
        struct str word = {s.p, str_find(s, ' ')};

        if (n == PATH_PARAMS_MAX || !param_parse(a, word, &found[n]))
            return false;
        for (size_t i = 0; i < n; i++)
            if (strcmp(found[i].name, found[n].name) == 0)
                return false;
        n++;
        s = str_from(s, word.n);
    }
    params = arena_alloc(a, n * sizeof *params);
    if (n > 0)
        memcpy(params, found, n * sizeof *params);
    path->params = params;
    path->n_params = n;
    return true;
}

enum path_status
path_parse(struct arena *a, struct str args, struct str keyword, struct path *out)
{
    struct path path = {0};
    size_t n;

    args = skip_spaces(args);
    if (has_control(args) || !str_istarts(args, keyword))
        return PATH_SYNTAX;
    args = skip_spaces(str_from(args, keyword.n));
    if (args.n == 0)
        return PATH_SYNTAX;
    path.bracketed = args.p[0] == '<';
    n = path.bracketed ? bracketed_length(args) : str_find(args, ' ');
    if (n == 0)
        return PATH_BAD_ADDRESS;
    if (n < args.n && args.p[n] != ' ')
        return PATH_BAD_PARAM;
    if (!params_parse(a, str_from(args, n), &path))
        return PATH_BAD_PARAM;
    path.text = arena_dup(a, (struct str){args.p, n});
    *out = path;
    return PATH_OK;
}

bool
path_size(const char *value, uint64_t *out)
{
    uint64_t size = 0;
    size_t n = strlen(value);

    if (n < 1 || n > 20)
        return false;
    for (const char *p = value; *p; p++) {
        uint64_t digit = (uint64_t)(*p - '0');

        if (!ascii_digit(*p))
            return false;
        size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
    }
    *out = size;
    return true;
}
