/*
 * plugin/regex - the functions behind <qpsmtpd/regex.h>
 *
 * Owns   libpcre2 in this process: opened by the first pattern and never closed, so a server
 *        without patterns neither needs nor pays for it: 0.1 ms, under tcpserver for each connection
 * Uses   the public API, base/library
 * Keep   limits on every match; patterns and subjects are bytes, never UTF-8 that must be valid
 */
#include "plugin/regex.h"

#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/regex.h>

#include "base/library.h"
#include "plugin/instance.h"

/*
 * A subject is a line of SMTP or of a header, a few hundred bytes. An honest pattern takes some
 * hundred steps for it, (a+)+$ on forty bytes takes 2^40.
 */
#define MATCH_LIMIT    200000 /* calls of the matcher: about 5 ms */
#define DEPTH_LIMIT    20000  /* nested backtracking points */
#define HEAP_LIMIT_KIB 4096

#define PCRE2_LIBRARY "libpcre2-8.so.0"

/* The functions needed of the library; the only state of this module. */
static struct pcre2 {
    bool loaded;
    __typeof__(&pcre2_compile_8) compile;
    __typeof__(&pcre2_code_free_8) code_free;
    __typeof__(&pcre2_get_error_message_8) error_message;
    __typeof__(&pcre2_match_8) match;
    __typeof__(&pcre2_match_context_create_8) context_create;
    __typeof__(&pcre2_match_context_free_8) context_free;
    __typeof__(&pcre2_match_data_create_8) data_create;
    __typeof__(&pcre2_match_data_free_8) data_free;
    __typeof__(&pcre2_set_depth_limit_8) depth_limit;
    __typeof__(&pcre2_set_heap_limit_8) heap_limit;
    __typeof__(&pcre2_set_match_limit_8) match_limit;
} pcre2;

struct qp_regex {
    pcre2_code *code;
    pcre2_match_data *data; /* working memory of a match */
    pcre2_match_context *context;
    const char *pattern; /* for the log */
};

/* Find all functions, or none. Gives what is wrong, or NULL. */
static const char *
load_library(void)
{
    static const struct library_symbol wanted[] = {
        {"pcre2_compile_8", &pcre2.compile},
        {"pcre2_code_free_8", &pcre2.code_free},
        {"pcre2_get_error_message_8", &pcre2.error_message},
        {"pcre2_match_8", &pcre2.match},
        {"pcre2_match_context_create_8", &pcre2.context_create},
        {"pcre2_match_context_free_8", &pcre2.context_free},
        {"pcre2_match_data_create_8", &pcre2.data_create},
        {"pcre2_match_data_free_8", &pcre2.data_free},
        {"pcre2_set_depth_limit_8", &pcre2.depth_limit},
        {"pcre2_set_heap_limit_8", &pcre2.heap_limit},
        {"pcre2_set_match_limit_8", &pcre2.match_limit},
    };

    if (!pcre2.loaded)
        pcre2.loaded = library_open(PCRE2_LIBRARY, wanted, sizeof wanted / sizeof *wanted);
    return pcre2.loaded ? NULL
                        : "patterns need PCRE2 (package libpcre2-8-0), and " PCRE2_LIBRARY
                          " cannot be loaded";
}

/* All three are NULL-safe. */
static void
regex_free(void *data)
{
    struct qp_regex *re = data;

    pcre2.context_free(re->context);
    pcre2.data_free(re->data);
    pcre2.code_free(re->code);
}

static const char *
error_text(struct arena *a, int number, size_t offset)
{
    PCRE2_UCHAR text[REGEX_WHY];

    pcre2.error_message(number, text, sizeof text);
    return arena_printf(a, "%s, at character %zu", (const char *)text, offset + 1);
}

const struct qp_regex *
regex_new(struct arena *a, const char *pattern, bool nocase, const char **error)
{
    uint32_t options = PCRE2_NEVER_UTF | (nocase ? PCRE2_CASELESS : 0);
    struct qp_regex *re;
    size_t offset = 0;
    int number = 0;

    *error = load_library();
    if (*error)
        return NULL;
    re = arena_alloc(a, sizeof *re);
    re->pattern = arena_dup(a, str_of(pattern));
    arena_at_reset(a, regex_free, re);
    re->code =
        pcre2.compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &number, &offset, NULL);
    if (!re->code) {
        *error = error_text(a, number, offset);
        return NULL;
    }
    re->data = pcre2.data_create(1, NULL); /* one pair: nobody asks what the groups caught */
    re->context = pcre2.context_create(NULL);
    if (!re->data || !re->context) {
        *error = "out of memory";
        return NULL;
    }
    pcre2.match_limit(re->context, MATCH_LIMIT);
    pcre2.depth_limit(re->context, DEPTH_LIMIT);
    pcre2.heap_limit(re->context, HEAP_LIMIT_KIB);
    return re;
}

enum regex_result
regex_match(const struct qp_regex *re, const char *text, char why[REGEX_WHY])
{
    int result = pcre2.match(re->code, (PCRE2_SPTR)text, strlen(text), 0, 0, re->data, re->context);

    if (result >= 0) /* 0: more groups than pairs, which is a match too */
        return REGEX_YES;
    if (result == PCRE2_ERROR_NOMATCH)
        return REGEX_NO;
    pcre2.error_message(result, (PCRE2_UCHAR *)why, REGEX_WHY);
    return REGEX_GIVEN_UP;
}

const struct qp_regex *
qp_regex_new(struct qp *q, const char *pattern, bool nocase, const char **error)
{
    return regex_new(scope_arena(q, QP_INSTANCE), pattern, nocase, error);
}

bool
qp_regex_match(struct qp *q, const struct qp_regex *re, const char *text)
{
    char why[REGEX_WHY];
    enum regex_result result = regex_match(re, text, why);

    if (result == REGEX_GIVEN_UP)
        qp_log(q, QP_LOG_WARN, "pattern given up: pattern=%s error=\"%s\"", re->pattern, why);
    return result == REGEX_YES;
}
