/*
 * postfix-queue records - type, length, bytes: how Postfix's programs hand messages on
 *
 * Owns   the form of a record, the cutting of lines into records
 * Uses   nothing of qpsmtpd
 * Keep   constant memory; no record is longer than RECORDS_LINE, whatever the line; NUL bytes go, as
 *        Postfix would read no further (t/unit/postfix_records)
 */
#ifndef POSTFIX_RECORDS_H
#define POSTFIX_RECORDS_H

#include <stdbool.h>
#include <stddef.h>

#define RECORDS_LINE 1024

struct records {
    bool (*put)(void *data, const char *bytes, size_t n);
    void *data;
    bool good; /* put() has always said so */
    size_t n, line_n;
    bool in_line;            /* the message so far does not end with a line end */
    char line[RECORDS_LINE]; /* a line, or a part of one, whose end is not known yet */
    char out[16384];
};

/* records_begin - put is called with what is to be sent, in order, until it says false */
void records_begin(
    struct records *r, bool (*put)(void *data, const char *bytes, size_t n), void *data);

void records_raw(struct records *r, const char *bytes, size_t n);

/* records_text - one record */
void records_text(struct records *r, char type, const char *text);

/* records_lines - the next n bytes of the message: an N for each line, L for the parts of a longer one
 * that goes on. records_lines_end - that was all of it. */
void records_lines(struct records *r, const char *bytes, size_t n);
void records_lines_end(struct records *r);

/* records_end - what is still here is sent; was everything? */
bool records_end(struct records *r);

#endif
