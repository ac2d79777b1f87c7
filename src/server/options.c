#include "server/options.h"

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/pool.h"

enum { CHILDREN_MAX = 65535, NICE_RANGE = 39, FROM_IP_MAX = 65535, LIFETIME_MAX = 1000000000 };

/* What getopt_long answers for options without a short form. */
enum {
    OPT_CHECK = 256,
    OPT_VERSION,
    OPT_SYSLOG,
    OPT_IDLE,
    OPT_PID_FILE,
    OPT_RENICE,
    OPT_FOREGROUND,
    OPT_PRETTY,
    OPT_DEBUG,
    OPT_QUIET,
    OPT_LIFETIME,
    OPT_TCPRULES,
    OPT_TLS_PORT,
    OPT_POOL,
};

#define COMMON_OPTIONS                                                                             \
    {"config-dir", required_argument, NULL, 'C'}, {"plugin-dir", required_argument, NULL, 'P'},    \
        {"check", no_argument, NULL, OPT_CHECK}, {"version", no_argument, NULL, OPT_VERSION},      \
        {"help", no_argument, NULL, 'h'}, {"pool", required_argument, NULL, OPT_POOL},             \
    {                                                                                              \
        "syslog", no_argument, NULL, OPT_SYSLOG                                                    \
    }

static const struct option qpsmtpd_options[] = {COMMON_OPTIONS, {NULL, 0, NULL, 0}};

static const struct option prefork_options[] = {
    COMMON_OPTIONS,
    {"listen-address", required_argument, NULL, 'l'},
    {"interface", required_argument, NULL, 'l'},
    {"port", required_argument, NULL, 'p'},
    {"tls-port", required_argument, NULL, OPT_TLS_PORT},
    {"user", required_argument, NULL, 'u'},
    {"children", required_argument, NULL, 'c'},
    {"limit-connections", required_argument, NULL, 'c'},
    {"idle-children", required_argument, NULL, OPT_IDLE},
    {"max-from-ip", required_argument, NULL, 'm'},
    {"child-lifetime", required_argument, NULL, OPT_LIFETIME},
    {"max-requests", required_argument, NULL, OPT_LIFETIME},
    {"pid-file", required_argument, NULL, OPT_PID_FILE},
    {"renice-parent", required_argument, NULL, OPT_RENICE},
    {"detach", no_argument, NULL, 'd'},
    {"foreground", no_argument, NULL, OPT_FOREGROUND},
    {"pretty-child", no_argument, NULL, OPT_PRETTY},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"no-rdns", no_argument, NULL, 'H'},
    {"tcprules", required_argument, NULL, OPT_TCPRULES},
    {NULL, 0, NULL, 0},
};

static const struct program {
    const struct option *options;
    const char *letters; /* '+': stop at the first word that is no option; ':': tell what lacks */
    const char *help;
} programs[] = {
    [OPTIONS_QPSMTPD] = {qpsmtpd_options, "+:C:P:h",
        "usage: qpsmtpd [option ...]\n"
        "Serve one SMTP client on descriptors 0 and 1; for tcpserver, inetd, systemd.\n"
        "\n"
        "  -C, --config-dir DIR    read the configuration there and in qmail's control directory\n"
        "  -P, --plugin-dir DIR    look for plugins there; may be repeated\n"
        "      --check             load everything, say whether it is right, exit 0 or 1\n"
        "      --pool SOCKET       let a qpsmtpd-prefork serve, when one waits there\n"
        "      --syslog            log to syslog, facility mail, instead of descriptor 2\n"
        "      --version           print the version\n"
        "  -h, --help              print this\n"},
    [OPTIONS_PREFORK] = {prefork_options, "+:C:P:hl:p:u:c:m:dH",
        "usage: qpsmtpd-prefork [option ...]\n"
        "Serve SMTP with a pool of processes.\n"
        "\n"
        "  -C, --config-dir DIR    read the configuration there and in qmail's control directory\n"
        "  -P, --plugin-dir DIR    look for plugins there; may be repeated\n"
        "  -l, --listen-address ADDR[:PORT]\n"
        "                          listen there; IPv6 as [ADDR]:PORT; may be repeated; default: "
        "all\n"
        "      --interface ADDR[:PORT]\n"
        "                          the same\n"
        "  -p, --port N            for each address without a port; may be repeated; default 25\n"
        "      --tls-port N        the same, beginning with TLS; also for addresses with this "
        "port\n"
        "      --pool SOCKET       serve what `qpsmtpd --pool SOCKET` hands over; without an "
        "address or\n"
        "                          a port, nothing else\n"
        "  -u, --user USER         serve as this user; default smtpd when started by root\n"
        "  -c, --children N, --limit-connections N\n"
        "                          at most N clients at once; default 15\n"
        "      --idle-children N   keep N processes waiting; default 5; 0: all\n"
        "  -m, --max-from-ip N     at most N clients of one address; default 10; 0: no limit\n"
        "      --child-lifetime N, --max-requests N\n"
        "                          a process ends after N connections; default 100; 0: never\n"
        "  -H, --no-rdns           do not ask DNS for the client's name\n"
        "      --tcprules FILE     apply these rules of tcprules(1) to each client\n"
        "      --pid-file FILE     write the process id there; absolute path\n"
        "      --renice-parent N   priority of the listening process over the others; default 5\n"
        "  -d, --detach            leave the terminal and run in the background\n"
        "      --foreground        do not; this is the default\n"
        "      --pretty-child      name the serving processes \"qpsmtpd child\"\n"
        "      --debug             log everything, whatever config loglevel says\n"
        "      --quiet             log errors only, whatever config loglevel says\n"
        "      --check             load everything, say whether it is right, exit 0 or 1\n"
        "      --syslog            log to syslog, facility mail, instead of descriptor 2\n"
        "      --version           print the version\n"
        "  -h, --help              print this\n"},
};

/* The option as the user knows it, for messages: the first long name of that value. */
static const char *
option_name(const struct option *o, int value)
{
    while (o->name && o->val != value)
        o++;
    return o->name ? o->name : "?";
}

/* What getopt_long could not take: it stands before optind, or in a cluster of letters. */
static bool
unknown_option(char *argv[], struct err *e)
{
    const char *word = argv[optind - 1];

    if (optopt == 0)
        return err_set(e, "unknown or ambiguous option %s", word);
    if (str_starts(str_of(word), STR("--")))
        return err_set(e, "option %s: it takes no value", word);
    return err_set(e, "unknown option -%c", optopt);
}

static bool
parse_int(const struct option *o, int value, int min, int max, int *out, struct err *e)
{
    struct str text = str_of(optarg);
    uint64_t n;

    if (!str_number(text, (uint64_t)max, &n) || (int)n < min)
        return err_set(
            e, "--%s %s: not a number from %d to %d", option_name(o, value), optarg, min, max);
    *out = (int)n;
    return true;
}

static bool
is_host(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_alnum(s.p[i]) && !strchr("._:%-", s.p[i]))
            return false;
    return s.n > 0;
}

/* ADDR, ADDR:PORT, [ADDR], [ADDR]:PORT; more than one colon without brackets: an IPv6 address. */
static bool
split_address(struct str text, struct str *host, struct str *port)
{
    size_t colon = str_find(text, ':');

    *port = (struct str){NULL, 0};
    if (text.n > 0 && text.p[0] == '[') {
        struct str rest = str_from(text, 1);
        size_t end = str_find(rest, ']');

        if (end == rest.n)
            return false;
        *host = (struct str){rest.p, end};
        rest = str_from(rest, end + 1);
        if (rest.n == 0)
            return true;
        *port = str_from(rest, 1);
        return rest.p[0] == ':' && port->n > 0;
    }
    *host = text;
    if (colon == text.n || str_find(str_from(text, colon + 1), ':') < text.n - colon - 1)
        return true;
    *host = (struct str){text.p, colon};
    *port = str_from(text, colon + 1);
    return port->n > 0;
}

static bool
parse_listen(struct options *o, struct err *e)
{
    struct str host, port;
    struct listen_address *a = &o->listen[o->listen_n];
    uint64_t n;

    if (o->listen_n == OPTIONS_LIST_MAX)
        return err_set(e, "--listen-address: more than %d of them", OPTIONS_LIST_MAX);
    if (!split_address(str_of(optarg), &host, &port) || !is_host(host) || host.n >= sizeof a->host)
        return err_set(e, "--listen-address %s: not ADDR, ADDR:PORT or [ADDR]:PORT", optarg);
    a->port = -1;
    if (port.p) {
        if (!str_number(port, 65535, &n))
            return err_set(
                e, "--listen-address %s: the port is not a number from 0 to 65535", optarg);
        a->port = (int)n;
    }
    memcpy(a->host, host.p, host.n);
    a->host[host.n] = '\0';
    o->listen_n++;
    return true;
}

static bool
parse_port(const struct option *names, int value, int ports[], size_t *n, struct err *e)
{
    if (*n == OPTIONS_LIST_MAX)
        return err_set(
            e, "--%s: more than %d of them", option_name(names, value), OPTIONS_LIST_MAX);
    if (!parse_int(names, value, 0, 65535, &ports[*n], e))
        return false;
    ++*n;
    return true;
}

static bool
parse_plugin_dir(struct options *o, size_t *n, struct err *e)
{
    if (*n == OPTIONS_LIST_MAX)
        return err_set(e, "--plugin-dir: more than %d of them", OPTIONS_LIST_MAX);
    o->plugin_dirs[(*n)++] = optarg;
    return true;
}

/* 0, more than there can be, and every negative number but -1, which was never a choice: all of
 * them */
static bool
parse_idle(struct options *o, struct err *e)
{
    struct str text = str_of(optarg);
    bool negative = str_starts(text, STR("-"));
    uint64_t n;

    if (!str_number(negative ? str_from(text, 1) : text, CHILDREN_MAX, &n) || (negative && n < 2))
        return err_set(e, "--idle-children %s: not a number from 0 to %d", optarg, CHILDREN_MAX);
    o->idle_children = negative ? 0 : (int)n;
    return true;
}

static bool
parse_text(const struct option *names, int value, const char **out, struct err *e)
{
    if (*optarg == '\0')
        return err_set(e, "--%s: its value is empty", option_name(names, value));
    *out = optarg;
    return true;
}

static bool
parse_pool(struct options *o, const struct option *names, struct err *e)
{
    if (!parse_text(names, OPT_POOL, &o->pool, e))
        return false;
    return strlen(optarg) <= POOL_PATH_MAX ||
           err_set(e, "--pool %.40s...: longer than %d bytes", optarg, POOL_PATH_MAX);
}

static bool
parse_pid_file(struct options *o, const struct option *names, struct err *e)
{
    if (!parse_text(names, OPT_PID_FILE, &o->pid_file, e))
        return false;
    return *optarg == '/' || err_set(e, "--pid-file %s: not an absolute path", optarg);
}

static bool
parse_one(const struct option *names, int c, struct options *o, size_t *plugin_dirs, struct err *e)
{
    switch (c) {
    case 'C':
        return parse_text(names, c, &o->config_dir, e);
    case 'P':
        return parse_plugin_dir(o, plugin_dirs, e);
    case 'l':
        return parse_listen(o, e);
    case 'p':
        return parse_port(names, c, o->ports, &o->ports_n, e);
    case OPT_TLS_PORT:
        return parse_port(names, c, o->tls_ports, &o->tls_ports_n, e);
    case 'u':
        return parse_text(names, c, &o->user, e);
    case 'c':
        return parse_int(names, c, 1, CHILDREN_MAX, &o->children, e);
    case 'm':
        return parse_int(names, c, 0, FROM_IP_MAX, &o->max_from_ip, e);
    case OPT_IDLE:
        return parse_idle(o, e);
    case OPT_LIFETIME:
        return parse_int(names, c, 0, LIFETIME_MAX, &o->child_lifetime, e);
    case OPT_RENICE:
        return parse_int(names, c, 0, NICE_RANGE, &o->renice_parent, e);
    case OPT_PID_FILE:
        return parse_pid_file(o, names, e);
    case OPT_POOL:
        return parse_pool(o, names, e);
    case OPT_TCPRULES:
        return parse_text(names, c, &o->tcprules, e);
    case 'd':
    case OPT_FOREGROUND:
        o->detach = c == 'd';
        return true;
    case OPT_PRETTY:
        return o->pretty_child = true;
    case OPT_DEBUG:
        return o->debug = true;
    case OPT_QUIET:
        return o->quiet = true;
    case 'H':
        return o->no_rdns = true;
    case OPT_CHECK:
        return o->check = true;
    case OPT_SYSLOG:
        return o->syslog = true;
    }
    assert(false); /* an option of the table has no case here */
    return false;
}

static bool
finish(struct options *o, struct err *e)
{
    if (o->debug && o->quiet)
        return err_set(e, "--debug and --quiet: only one of them");
    if (o->ports_n == 0 && (!o->pool || o->listen_n > 0 || o->tls_ports_n > 0))
        o->ports[o->ports_n++] = 25;
    if (o->idle_children == 0 || o->idle_children > o->children)
        o->idle_children = o->children;
    return true;
}

enum options_result
options_parse(
    enum options_program program, int argc, char *argv[], struct options *out, struct err *e)
{
    const struct program *p = &programs[program];
    size_t plugin_dirs = 0;
    int c;

    *out = (struct options){.children = 15,
        .idle_children = 5,
        .max_from_ip = 10,
        .child_lifetime = 100,
        .renice_parent = 5};
    optind = 0; /* glibc: begin anew, also after an earlier call */
    opterr = 0;
    while ((c = getopt_long(argc, argv, p->letters, p->options, NULL)) != -1) {
        if (c == 'h')
            return OPTIONS_HELP;
        if (c == OPT_VERSION)
            return OPTIONS_VERSION;
        if (c == '?') {
            unknown_option(argv, e);
            return OPTIONS_WRONG;
        }
        if (c == ':') {
            err_set(e, "%s: its value is missing", argv[optind - 1]);
            return OPTIONS_WRONG;
        }
        if (!parse_one(p->options, c, out, &plugin_dirs, e))
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        err_set(e, "%s: not an option; this program takes nothing else", argv[optind]);
        return OPTIONS_WRONG;
    }
    return finish(out, e) ? OPTIONS_RUN : OPTIONS_WRONG;
}

const char *
options_help(enum options_program program)
{
    return programs[program].help;
}
