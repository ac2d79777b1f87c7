/*
 * server/fault - the last words of a process that cannot go on
 *
 * Owns   the handlers of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGABRT, what happens when memory is
 *        exhausted, and the one process-wide record of which client is being served
 * Uses   base/mapping: a SIGBUS while somebody looks into a mapped file costs that look only
 * Keep   only what is async-signal-safe runs in a handler; it never waits; the signal kills in the
 *        end, so whoever waits for the process sees its number
 */
#ifndef QPSMTPD_SERVER_FAULT_H
#define QPSMTPD_SERVER_FAULT_H

#include "plugin/activity.h"

/* fault_install - from now on, on a stack of its own. activity is borrowed for ever; it names the
 * session, plugin and hook in the log line. */
void fault_install(const struct activity *activity);

/* fault_client - descriptor on which a client waits for replies, and gets a 421; -1: nobody does */
void fault_client(int fd);

#endif
