/*
 * What spamd says: the SPAMD protocol's answers to HEADERS and SYMBOLS, line by line. No I/O.
 *
 * Keep   whatever comes, the texts are printable ASCII, NUL-terminated and within their bounds
 */
#ifndef SPAMASSASSIN_ANSWER_H
#define SPAMASSASSIN_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPAMD_LINE_MAX   998   /* bytes of a line that are looked at (RFC 5322, 2.1.1) */
#define SPAMD_FIELDS_MAX 32    /* X-Spam-* fields that are kept */
#define SPAMD_TEXT_MAX   16384 /* bytes of them, all together */
#define SPAMD_TESTS_MAX  4096

/* A score in thousandths; spamd tells one decimal. */
#define SPAMD_UNIT      1000
#define SPAMD_SCORE_MAX (1000000LL * SPAMD_UNIT)

/* "15.1", "-0.25", "+7": at most six digits before and any number behind the point; false: no score */
bool spamd_score_parse(const char *text, int64_t *out);

/* A header field as it is to be added; folds are LF and a blank. */
struct spamd_field {
    const char *name;  /* X-Spam-..., a good field name */
    const char *value; /* into text */
};

enum spamd_step { SPAMD_STATUS, SPAMD_HEADER, SPAMD_PAYLOAD, SPAMD_END };

struct spamd_answer {
    enum spamd_step step; /* what the next line is */
    int code;             /* of the status line; not 0: it could not, and nothing follows */
    bool verdict;         /* there was a line "Spam:", so these are known: */
    bool spam;
    int64_t score, required;
    struct spamd_field field[SPAMD_FIELDS_MAX];
    size_t fields;
    bool folds; /* the last line belongs to a field that is kept */
    size_t used;
    char text[SPAMD_TEXT_MAX];
};

/*
 * spamd_answer_line - the next line, without its line end; begin with {0}
 *
 * The payload is a header: X-Spam-* fields are kept (the bounds above drop what is too much), the empty
 * line behind it is SPAMD_END.
 * returns  false: that is no answer of spamd
 */
bool spamd_answer_line(struct spamd_answer *a, const char *line);

/* What X-Spam-Status tells. */
struct spamd_status {
    bool spam;
    char score[16], required[16]; /* numbers; "" when not told */
    char autolearn[32], version[32];
    char tests[SPAMD_TESTS_MAX]; /* names between commas */
};

/* spamd_status_parse - "Yes, score=18.3 required=5.0 tests=A,B autolearn=spam version=4.0.1", hits= as
 * well as score=; false: it begins neither with Yes nor with No */
bool spamd_status_parse(const char *value, struct spamd_status *out);

/*
 * spamd_tests_fold - a list of tests as the end of a header field: "tests=A,B," LF TAB "C"
 *
 * Lines get at most about 76 bytes; names longer than that stay whole.
 * out      always NUL-terminated, cut to room
 */
void spamd_tests_fold(const char *tests, char *out, size_t room);

#endif
