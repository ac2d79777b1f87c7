/*
 * ident/p0f - which operating system does the client run? p0f(1) has seen its first packets
 *
 *   plugins file:   ident/p0f SOCKET [option value ...]
 *     SOCKET             where p0f listens (p0f -s SOCKET), an absolute path
 *     smite_os REGEX     a genre that matches, in any case, costs one karma
 *     add_headers BOOL   default true
 *     version 3, local_ip IP     understood for 1.00's sake; the protocol of p0f 3 needs neither
 *   file:           p0f_blocked_operating_systems, one a line: a genre, or /regex/; in any case
 *   hook connect:   sets the connection notes below; always QP_DECLINED
 *   hook rcpt:      DENY "OS Blocked" when the file has the genre and the client is not immune
 *   hook data_post: with add_headers, replaces X-P0F-Genre and X-P0F-Link-Type; always QP_DECLINED
 *
 * Notes: p0f and p0f_genre (os_name, blank, os_flavor), p0f_link, p0f_uptime, and p0f_FIELD for each
 * field of struct p0f_api_response; what p0f does not know is not set.
 *
 * Source: 1.00; the API of p0f 3 (api.h, README chapter 4). p0f 1 and 2 are not spoken. The question
 * is sent once, an IPv6 address as 16 bytes (1.00 sent it twice, and IPv6 padded wrongly). All of it
 * has one second; whatever fails, the client is served, without notes. p0f is not asked about clients
 * on the loopback, and fields of their mail stay: our own first pass wrote them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <qpsmtpd/clock.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/regex.h>

#define LIMIT_MS 1000

#define QUERY_MAGIC  0x50304601
#define QUERY_SIZE   21
#define ANSWER_MAGIC 0x50304602
#define ANSWER_SIZE  232
#define TEXT_SIZE    32 /* of each text, filled up with NUL */

enum answer_status { BAD_QUERY = 0x00, KNOWN = 0x10, NO_MATCH = 0x20 };

/* One line of the file: either a pattern or, NULL, the text itself. */
struct blocked {
    const char *text;
    const struct qp_regex *pattern;
};

struct conf {
    const char *socket;
    const struct qp_regex *smite; /* NULL: nobody */
    bool add_headers;
    size_t n;
    struct blocked *blocked;
};

/* struct p0f_api_response, packed, in this machine's byte order; magic and status are before it */
static const struct field {
    const char *note;
    enum kind { UINT32, INT16, UINT8, TEXT } kind;
    size_t offset;
    int64_t unknown; /* the number that says so */
} fields[] = {
    {"p0f_first_seen", UINT32, 8, 0},
    {"p0f_last_seen", UINT32, 12, 0},
    {"p0f_total_conn", UINT32, 16, 0},
    {"p0f_uptime_min", UINT32, 20, 0},
    {"p0f_uptime", UINT32, 20, 0},
    {"p0f_up_mod_days", UINT32, 24, 0},
    {"p0f_last_nat", UINT32, 28, 0},
    {"p0f_last_chg", UINT32, 32, 0},
    {"p0f_distance", INT16, 36, -1},
    {"p0f_bad_sw", UINT8, 38, -1},
    {"p0f_os_match_q", UINT8, 39, -1},
    {"p0f_os_name", TEXT, 40, 0},
    {"p0f_os_flavor", TEXT, 72, 0},
    {"p0f_http_name", TEXT, 104, 0},
    {"p0f_http_flavor", TEXT, 136, 0},
    {"p0f_link_type", TEXT, 168, 0},
    {"p0f_link", TEXT, 168, 0},
    {"p0f_language", TEXT, 200, 0},
};

/* ---- init ---- */

static bool
read_blocked(struct qp *q, struct conf *c)
{
    struct qp_lines lines = qp_config_lines(q, "p0f_blocked_operating_systems");
    const char *error;

    c->blocked = qp_alloc(q, QP_INSTANCE, (lines.n + 1) * sizeof *c->blocked);
    for (; c->n < lines.n; c->n++) {
        struct blocked *b = &c->blocked[c->n];
        size_t n = strlen(lines.line[c->n].text);

        b->text = lines.line[c->n].text;
        if (n < 3 || b->text[0] != '/' || b->text[n - 1] != '/')
            continue;
        b->pattern = qp_regex_new(
            q, qp_printf(q, QP_INSTANCE, "%.*s", (int)n - 2, b->text + 1), true, &error);
        if (!b->pattern)
            return qp_fail_at(q, &lines.line[c->n], "%s: %s", b->text, error);
    }
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *smite = NULL, *local_ip = NULL, *error;
    int version = 3;

    c->add_headers = true;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "socket", .positional = true, .required = true, .text = &c->socket},
                {.name = "smite_os", .text = &smite},
                {.name = "add_headers", .flag = &c->add_headers},
                {.name = "version", .number = &version, .min = 3, .max = 3},
                {.name = "local_ip", .text = &local_ip},
                {0},
            }))
        return false;
    if (c->socket[0] != '/' || strlen(c->socket) >= sizeof((struct sockaddr_un){0}).sun_path)
        return qp_fail(q, "socket: %s is no absolute path of at most %zu bytes", c->socket,
            sizeof((struct sockaddr_un){0}).sun_path - 1);
    if (smite && !(c->smite = qp_regex_new(q, smite, true, &error)))
        return qp_fail(q, "smite_os: %s: %s", smite, error);
    return read_blocked(q, c);
}

/* ---- the daemon ---- */

static bool
is_loopback(const char *ip)
{
    return strncmp(ip, "127.", 4) == 0 || strcmp(ip, "::1") == 0;
}

/* false: ip is no address */
static bool
make_query(const char *ip, uint8_t out[QUERY_SIZE])
{
    const uint32_t magic = QUERY_MAGIC;

    memset(out, 0, QUERY_SIZE);
    memcpy(out, &magic, sizeof magic);
    if (inet_pton(AF_INET, ip, out + 5) == 1)
        out[4] = 4;
    else if (inet_pton(AF_INET6, ip, out + 5) == 1)
        out[4] = 6;
    return out[4] != 0;
}

/* Exactly ANSWER_SIZE bytes, or what is missing; NULL: all is well. */
static const char *
exchange(int fd, const char *path, const uint8_t query[QUERY_SIZE], uint8_t answer[ANSWER_SIZE])
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t end = qp_clock_ms() + LIMIT_MS;
    ssize_t got;

    strncpy(sun.sun_path, path, sizeof sun.sun_path - 1);
    /* Of a local socket neither waits: a full backlog is EAGAIN, 21 bytes fit into any buffer. */
    if (connect(fd, (const struct sockaddr *)&sun, sizeof sun) < 0 ||
        send(fd, query, QUERY_SIZE, MSG_NOSIGNAL) != QUERY_SIZE)
        return strerror(errno);
    for (size_t n = 0; n < ANSWER_SIZE; n += (size_t)got) {
        int64_t left = end - qp_clock_ms();

        if (left <= 0 || poll(&p, 1, (int)left) < 1)
            return "no answer in time";
        got = recv(fd, answer + n, ANSWER_SIZE - n, 0);
        if (got < 0)
            return strerror(errno);
        if (got == 0)
            return "the answer ends early";
    }
    return NULL;
}

static const char *
ask(const char *path, const uint8_t query[QUERY_SIZE], uint8_t answer[ANSWER_SIZE])
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const char *error;

    if (fd < 0)
        return strerror(errno);
    error = exchange(fd, path, query, answer);
    close(fd);
    return error;
}

/* ---- its answer ---- */

static int64_t
read_number(const struct field *f, const uint8_t *answer)
{
    uint32_t u;
    int16_t i;

    switch (f->kind) {
    case UINT32:
        memcpy(&u, answer + f->offset, sizeof u);
        return u;
    case INT16:
        memcpy(&i, answer + f->offset, sizeof i);
        return i;
    default:
        return answer[f->offset];
    }
}

/* Printable: a text may be what the client has put into an HTTP request. */
static const char *
read_text(struct qp *q, const uint8_t *at)
{
    char *text = qp_alloc(q, QP_CONNECTION, TEXT_SIZE + 1);

    for (size_t i = 0; i < TEXT_SIZE && at[i]; i++)
        text[i] = at[i] >= ' ' && at[i] <= '~' ? (char)at[i] : '?';
    return text;
}

static void
note(struct qp *q, const char *name, const char *text)
{
    qp_note_set(q, QP_CONNECTION, name, text);
    qp_log(q, QP_LOG_DEBUG, "%s=%s", name, text);
}

static void
note_field(struct qp *q, const struct field *f, const uint8_t *answer)
{
    const char *text = "";

    if (f->kind == TEXT)
        text = read_text(q, answer + f->offset);
    else if (read_number(f, answer) != f->unknown)
        text = qp_printf(q, QP_CONNECTION, "%lld", (long long)read_number(f, answer));
    if (*text)
        note(q, f->note, text);
}

static const char *
note_or_empty(struct qp *q, const char *name)
{
    const char *text = qp_note(q, QP_CONNECTION, name);

    return text ? text : "";
}

/* What 1.00 calls genre: "Windows 7 or 8" */
static void
note_genre(struct qp *q, const struct conf *c)
{
    const char *name = note_or_empty(q, "p0f_os_name");
    const char *flavor = note_or_empty(q, "p0f_os_flavor");
    const char *genre =
        qp_printf(q, QP_CONNECTION, "%s%s%s", name, *name && *flavor ? " " : "", flavor);

    if (!*genre)
        return;
    note(q, "p0f_genre", genre);
    note(q, "p0f", genre);
    qp_log(q, QP_LOG_INFO, "Results: %s link=\"%s\" distance=%s uptime=%s", genre,
        note_or_empty(q, "p0f_link"), note_or_empty(q, "p0f_distance"),
        note_or_empty(q, "p0f_uptime"));
    if (!c->smite || !qp_regex_match(q, c->smite, genre))
        return;
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    qp_log(q, QP_LOG_NOTICE, "smite_os genre=\"%s\"", genre);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    uint8_t query[QUERY_SIZE], answer[ANSWER_SIZE];
    uint32_t magic, status;
    const char *error;

    if (is_loopback(qp_remote_ip(q)) || !make_query(qp_remote_ip(q), query))
        return QP_DECLINED;
    error = ask(c->socket, query, answer);
    if (error) {
        qp_log(q, QP_LOG_ERROR, "cannot ask p0f socket=%s error=\"%s\"", c->socket, error);
        return QP_DECLINED;
    }
    memcpy(&magic, answer, sizeof magic);
    memcpy(&status, answer + 4, sizeof status);
    if (magic != ANSWER_MAGIC || (status != KNOWN && status != NO_MATCH)) {
        qp_log(q, QP_LOG_ERROR, "that is no answer of p0f 3 socket=%s magic=%#x status=%#x",
            c->socket, magic, status);
    } else if (status == NO_MATCH) {
        qp_log(q, QP_LOG_INFO, "p0f has not seen this client");
    } else {
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            note_field(q, &fields[i], answer);
        note_genre(q, c);
    }
    return QP_DECLINED;
}

/* ---- what is done with it ---- */

static bool
is_blocked(struct qp *q, const struct conf *c, const char *genre)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct blocked *b = &c->blocked[i];

        if (b->pattern ? qp_regex_match(q, b->pattern, genre) : strcasecmp(b->text, genre) == 0)
            return true;
    }
    return false;
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    const struct conf *c = qp_instance(q);
    const char *genre = qp_note(q, QP_CONNECTION, "p0f_genre");

    (void)to;
    if (!genre || qp_immune(q) || !is_blocked(q, c, genre))
        return QP_DECLINED;
    return qp_deny(q, "OS Blocked");
}

static void
set_header(struct qp *q, const char *name, const char *note)
{
    const char *text = qp_note(q, QP_CONNECTION, note);

    /* Even when nothing is known: or whoever says it first would be believed. */
    qp_header_delete_all(q, name);
    if (text)
        qp_header_prepend(q, name, text);
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!c->add_headers || is_loopback(qp_remote_ip(q)))
        return QP_DECLINED;
    set_header(q, "X-P0F-Genre", "p0f_genre");
    set_header(q, "X-P0F-Link-Type", "p0f_link");
    return QP_DECLINED;
}

QP_PLUGIN(.name = "ident/p0f", .init = on_init, .connect = on_connect, .rcpt = on_rcpt,
    .data_post = on_data_post);
