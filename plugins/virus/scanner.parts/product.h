/*
 * The products that virus/scanner knows: how each is run, and what its exit codes and its words mean.
 *
 * Owns   the table, and how output is read; no I/O
 */
#ifndef SCANNER_PRODUCT_H
#define SCANNER_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERNS_MAX 2

/* A set of exit codes, 0..255. */
struct codes {
    uint64_t bit[4];
};

/* codes_parse - "2,3,8"; "" is none. false: that is no list of numbers from 0 to 255 */
bool codes_parse(const char *text, struct codes *out);
bool codes_has(const struct codes *codes, int code);

struct product {
    const char *name;                         /* virus/scanner NAME */
    const char *title;                        /* X-Virus-Checked: Checked by TITLE on ME */
    const char *bin;                          /* NULL: must be told */
    const char *args;                         /* words; %f is the file, %s the socket */
    const char *socket;                       /* of its daemon; "": it needs none */
    const char *clean, *infected, *encrypted; /* exit codes; all others: it could not scan */
    const char *pattern[PATTERNS_MAX];        /* of a line with a name, at the '*'; NULL: fewer */
    const char *locked; /* a word of the output: there was something that it could not open */
    bool by_output;     /* an exit code of 0 does not say that there is nothing */
    bool lines;         /* all lines but the first are names */
    bool opens_links; /* it looks into /dev/fd/3, too; others pass over links and call them clean */
    bool needs_name;  /* seen to pass over it, or it hands the name on to a daemon */
    bool talks;       /* no program: the daemon is told the name on its socket */
};

/* product_find - NULL: no such product */
const struct product *product_find(const char *name);

/* product_names - "uvscan, kav4, ..." for people; into out, which it fits */
void product_names(char *out, size_t room);

/* What one run says. */
struct report {
    int code;           /* exit code */
    const char *output; /* NUL-terminated */
};

enum verdict { CLEAN, FOUND, LOCKED, FAILED };

/* How the words of this instance read; patterns and codes may be the administrator's own. */
struct reading {
    struct codes clean, infected, encrypted;
    const char *pattern[PATTERNS_MAX];
    const char *locked;
    bool by_output, lines;
};

/*
 * report_read - the verdict of a run that ended by itself
 *
 * names    with FOUND the names, between ", ", cut to room; "" when it tells none
 */
enum verdict report_read(
    const struct reading *how, const struct report *report, char *names, size_t room);

/* answer_read - the same of sophie's answer: "0", "1:NAME", "-1:ERROR" */
enum verdict answer_read(const char *answer, char *names, size_t room);

#endif
