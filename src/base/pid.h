/*
 * base/pid - the id of this process, without a system call for each line of the log
 *
 * Owns   the one number that is process-wide; a fork forgets it
 */
#ifndef QPSMTPD_BASE_PID_H
#define QPSMTPD_BASE_PID_H

#include <sys/types.h>

pid_t pid_self(void);

#endif
