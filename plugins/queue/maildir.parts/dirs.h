/*
 * maildir dirs - directories that are on disk when they are said to be there
 *
 * Owns   how a maildir is made, and how the name of a file is made safe
 * Uses   nothing of qpsmtpd
 * Keep   what was made is synchronised in the directory above it before true is returned
 */
#ifndef MAILDIR_DIRS_H
#define MAILDIR_DIRS_H

#include <stdbool.h>
#include <sys/types.h>

/* dirs_sync - a name is safe only when the directory that has it is on disk, too (fsync(2)). false with
 * errno. */
bool dirs_sync(const char *path);

/* dirs_make - path, absolute, and what is missing above it; mode is kept from the umask. false with
 * errno; what was made stays */
bool dirs_make(const char *path, mode_t mode);

/* dirs_make_maildir - the same with tmp, new and cur below it */
bool dirs_make_maildir(const char *path, mode_t mode);

#endif
