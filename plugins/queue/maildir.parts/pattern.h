/*
 * maildir pattern - the directory of a recipient
 *
 * Owns   what %l, %d and %u stand for, and which bytes of outside text a directory's name may have
 * Uses   nothing of qpsmtpd
 * Keep   outside text names a directory, it never chooses one: no slash, no leading dot comes of it
 */
#ifndef MAILDIR_PATTERN_H
#define MAILDIR_PATTERN_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct pattern_text {
    char p[PATH_MAX]; /* NUL-terminated */
    size_t n;
};

/* pattern_expand - false: no safe name comes of it; *t is then undefined */
bool pattern_expand(
    struct pattern_text *t, const char *pattern, const char *user, const char *host);

#endif
