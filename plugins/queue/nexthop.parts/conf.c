#include "conf.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOPS_MAX  20
#define WORDS_MAX 64
#define PORT_SMTP 25
#define PORT_LMTP 24 /* there is none by law: RFC 2033, 5, only says that it is not 25 */
#define DAY       86400
#define BLANKS    " \t"

/* ---- the next hops ---- */

static bool
read_hops(struct qp *q, struct nexthop_conf *c, const char *list, int port)
{
    const char *p = list;

    c->hop = qp_alloc(q, QP_INSTANCE, HOPS_MAX * sizeof *c->hop);
    for (;; p++) {
        size_t n = strcspn(p, ",");

        if (c->hops == HOPS_MAX)
            return qp_fail(q, "more than %d next hops", HOPS_MAX);
        if (!hop_parse(p, n, port, &c->hop[c->hops++]))
            return qp_fail(q,
                "\"%.*s\" is no next hop: want host, host:port, [IPv6 address]:port or /path of a "
                "socket",
                (int)n, p);
        p += n;
        if (*p == '\0')
            return true;
    }
}

/* ---- passwords: "HOP USER PASSWORD" or "* USER PASSWORD" in a file that nobody else can read ---- */

static bool
file_is_private(struct qp *q, const struct qp_line *line)
{
    struct stat st;

    if (stat(line->file, &st) < 0) /* from a config hook */
        return true;
    return !(st.st_mode & S_IROTH) ||
           qp_fail_at(
               q, line, "everybody can read the passwords in here: chmod o-r %s", line->file);
}

static char *
next_word(char **p)
{
    char *word = *p + strspn(*p, BLANKS);
    size_t n = strcspn(word, BLANKS);

    *p = word + n;
    if (**p)
        *(*p)++ = '\0';
    return word;
}

static bool
read_login(struct qp *q, struct nexthop_conf *c, const struct qp_line *line)
{
    char *p = qp_strdup(q, QP_INSTANCE, line->text);
    const char *who = next_word(&p), *user = next_word(&p);
    bool known = strcmp(who, "*") == 0;

    p += strspn(p, BLANKS);
    if (!*user || !*p)
        return qp_fail_at(q, line, "want a next hop or *, a user and a password");
    for (size_t i = 0; i < c->hops; i++) {
        bool match = strcmp(who, "*") == 0 || strcasecmp(who, c->hop[i].text) == 0 ||
                     strcasecmp(who, c->hop[i].host) == 0;

        known = known || match;
        if (match && !c->login[i].user)
            c->login[i] = (struct sasl_credentials){user, p};
    }
    if (!known)
        qp_log(q, QP_LOG_NOTICE, "%s:%u: no next hop of this line is called %s", line->file,
            line->number, who);
    return true;
}

static bool
read_logins(struct qp *q, struct nexthop_conf *c, const char *name)
{
    struct qp_lines lines = qp_config_lines(q, name);

    if (lines.n == 0)
        return qp_fail(q, "auth: there is no configuration file %s, or nothing in it", name);
    for (size_t i = 0; i < lines.n; i++)
        if (!file_is_private(q, &lines.line[i]) || !read_login(q, c, &lines.line[i]))
            return false;
    return true;
}

/* ---- all of it ---- */

static void
set_defaults(struct nexthop_conf *c)
{
    c->time = (struct nexthop_times){
        .connect = 30000,
        .greeting = 300000,
        .command = 300000,
        .data = 120000,
        .block = 180000,
        .end = 600000,
        .total = 600000,
        .idle = 60000,
        .down = 60000,
    };
    c->tls = NEXTHOP_TLS_MAY;
    c->reuse = 100;
}

/* 1.00 has `HOST PORT xclient`, a word without a value. */
static int
complete(int argc, const char *const argv[], const char *words[WORDS_MAX + 2])
{
    int n = argc < WORDS_MAX ? argc : WORDS_MAX;

    memcpy(words, argv, (size_t)n * sizeof *words);
    if (n > 1 && strcasecmp(words[n - 1], "xclient") == 0)
        words[n++] = "must";
    words[n] = NULL;
    return n;
}

static bool
read_args(struct qp *q, struct nexthop_conf *c, int argc, const char *const argv[],
    const char **hops, int *port, const char **auth)
{
    struct nexthop_times *t = &c->time;

    return qp_args(q, argc, argv,
        (const struct qp_arg[]){
            {.name = "hops", .positional = true, .required = true, .text = hops},
            {.name = "port", .positional = true, .number = port, .min = 1, .max = UINT16_MAX},
            {.name = "tls", .choice = &c->tls, .choices = "off may must verify"},
            {.name = "tls_ca", .text = &c->tls_ca},
            {.name = "tls_name", .text = &c->tls_name},
            {.name = "auth", .text = auth},
            {.name = "xclient", .choice = &c->xclient, .choices = "off may must"},
            {.name = "xforward", .flag = &c->xforward},
            {.name = "no8bit", .choice = &c->no8bit, .choices = "send refuse"},
            {.name = "fallback", .flag = &c->fallback},
            {.name = "reuse", .number = &c->reuse, .min = 1, .max = 100000},
            {.name = "timeout_connect", .duration_ms = &t->connect, .min = 1, .max = DAY},
            {.name = "timeout_greeting", .duration_ms = &t->greeting, .min = 1, .max = DAY},
            {.name = "timeout_command", .duration_ms = &t->command, .min = 1, .max = DAY},
            {.name = "timeout_data", .duration_ms = &t->data, .min = 1, .max = DAY},
            {.name = "timeout_block", .duration_ms = &t->block, .min = 1, .max = DAY},
            {.name = "timeout_end", .duration_ms = &t->end, .min = 1, .max = DAY},
            {.name = "timeout_total", .duration_ms = &t->total, .min = 1, .max = DAY},
            {.name = "idle", .duration_ms = &t->idle, .max = DAY},
            {.name = "retry", .duration_ms = &t->down, .max = DAY},
            {0},
        });
}

bool
conf_read(struct qp *q, struct nexthop_conf *c, int argc, const char *const argv[])
{
    const char *words[WORDS_MAX + 2], *hops = NULL, *auth = NULL;
    int port = c->protocol == NEXTHOP_SMTP ? PORT_SMTP : PORT_LMTP;

    set_defaults(c);
    if (argc > WORDS_MAX)
        return qp_fail(q, "more than %d words", WORDS_MAX - 1);
    argc = complete(argc, argv, words);
    if (!read_args(q, c, argc, words, &hops, &port, &auth) || !read_hops(q, c, hops, port))
        return false;
    c->login = qp_alloc(q, QP_INSTANCE, c->hops * sizeof *c->login);
    if (auth && !read_logins(q, c, auth))
        return false;
    if (c->tls_ca && access(c->tls_ca, R_OK) < 0)
        return qp_fail(q, "tls_ca %s: %s", c->tls_ca, strerror(errno));
    if (c->tls_ca && c->tls != NEXTHOP_TLS_VERIFY)
        return qp_fail(q, "tls_ca needs `tls verify`: nothing else looks at certificates");
    return true;
}
