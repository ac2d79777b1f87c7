/*
 * server/options - the command line of both programs
 *
 * Owns   names, ranges and defaults of the options, and the text of --help
 * Uses   base
 * Keep   no option is accepted and then ignored; each wrong one gives one sentence that names it
 *        and says what is right (t/unit/options)
 * Change the tables in options.c together with the manual pages
 */
#ifndef QPSMTPD_SERVER_OPTIONS_H
#define QPSMTPD_SERVER_OPTIONS_H

#include "base/err.h"
#include "base/str.h"

#define OPTIONS_LIST_MAX 64 /* of each option that may be repeated */

enum options_program { OPTIONS_QPSMTPD, OPTIONS_PREFORK };

struct listen_address {
    char host[64]; /* numeric address or name, no brackets */
    int port;      /* -1: each --port */
};

struct options {
    const char *config_dir; /* NULL: not given */
    const char
        *plugin_dirs[OPTIONS_LIST_MAX + 1]; /* NULL ends the list; [0] is NULL when not given */
    bool check;
    bool syslog;
    const char *pool; /* NULL: not given; a name that fits into a socket's address */

    /* qpsmtpd-prefork only */
    struct listen_address listen[OPTIONS_LIST_MAX]; /* none: every address of the host */
    size_t listen_n;
    int ports[OPTIONS_LIST_MAX];
    size_t ports_n;                  /* after options_parse 0 only with --pool alone */
    int tls_ports[OPTIONS_LIST_MAX]; /* as ports, but they begin with a TLS handshake */
    size_t tls_ports_n;
    const char *user;     /* NULL: not given */
    int children;         /* 1..65535 */
    int idle_children;    /* 1..children */
    int max_from_ip;      /* 0: no limit */
    int child_lifetime;   /* connections; 0: no limit */
    int renice_parent;    /* 0..39 */
    const char *pid_file; /* absolute; NULL: none */
    const char *tcprules;
    bool detach;
    bool pretty_child;
    bool debug, quiet;
    bool no_rdns;
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION, OPTIONS_WRONG };

/*
 * options_parse - read argv
 *
 * out      texts are borrowed from argv
 * returns  OPTIONS_WRONG: see e
 */
enum options_result options_parse(
    enum options_program program, int argc, char *argv[], struct options *out, struct err *e);

/* options_help - the text of --help, NUL-terminated, several lines */
const char *options_help(enum options_program program);

#endif
