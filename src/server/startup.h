/*
 * server/startup - make the process fit to serve strangers
 *
 * Owns   what a process inherits: descriptors, environment, umask, signals
 * Keep   afterwards 0, 1 and 2 are open, nothing above them is, and no variable of the caller
 *        steers programs that plugins start
 */
#ifndef QPSMTPD_SERVER_STARTUP_H
#define QPSMTPD_SERVER_STARTUP_H

#include "server/options.h"

/* startup_process - once, before anything is opened */
void startup_process(enum options_program program);

/*
 * startup_options - read the command line, and answer --help, --version and a wrong one
 *
 * returns  -1: go on; else the program's exit status: 0 (stdout was written), 2 (one line on
 * stderr)
 */
int startup_options(enum options_program program, int argc, char *argv[], struct options *out);

/* startup_complain - "PROGRAM: TEXT" on descriptor 2; for those who cannot start */
void startup_complain(enum options_program program, const char *text);

#endif
