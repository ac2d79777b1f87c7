/*
 * server/obituary - the log line for a child that did not leave of its own will
 *
 * Owns   its words: CRIT for a signal, ERROR for an exit status other than 0
 * Uses   plugin/activity, base
 * Keep   it says what an administrator needs to find the culprit: session, plugin, hook and how
 *        long
 */
#ifndef QPSMTPD_SERVER_OBITUARY_H
#define QPSMTPD_SERVER_OBITUARY_H

#include <sys/types.h>

#include "plugin/activity.h"

/* obituary_log - status is waitpid's. a: what the child was doing; it may have died while writing that,
 * so its texts may lack their NUL. */
void obituary_log(pid_t pid, int status, const struct activity *a);

#endif
