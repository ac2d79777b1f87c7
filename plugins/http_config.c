/*
 * http_config - configuration files from web servers
 *
 *   plugins file: http_config PREFIX [PREFIX ...] [option value ...]
 *     PREFIX        the name of the file is appended to it: https://conf.example.org/mx1/. At most 8.
 *                   Plain http to this machine only, unless insecure
 *     only NAMES    the files to ask for, separated by commas; default: all
 *     ttl TIME      1s..1d, how long an answer is used; default 5m
 *     timeout TIME  1s..1m for one answer, default 5s; 2s of them for the connection
 *     max SIZE      1..16M, a larger answer is an error; default 64k
 *     ca FILE       certificates that https is verified against; default: the system's
 *     insecure 0|1  1: plain http to other machines is allowed; default 0
 *   hook config:  QP_OK with the lines of the first server that has any. Nobody has: QP_DECLINED, the
 *                 local file. A server that fails is logged and passed over: what it said last is used
 *                 further; if it never said anything, the local file. It is asked again after 30s or
 *                 ttl, whichever is less.
 *
 * Never asked for: plugins, logging, plugin_dirs, me. Source: r356; there every lookup waited for the
 * server. Here it costs an answer per name, process and ttl.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <qpsmtpd/clock.h>
#include <qpsmtpd/host.h>
#include <qpsmtpd/plugin.h>

#include "http.parts/http.h"
#include "http.parts/url.h"

#define SERVERS_MAX 8
#define ENTRIES_MAX 256 /* names remembered; they may come from outside (a domain) */
#define NAME_BYTES  200
#define CONNECT_MS  2000
#define PAUSE_MS    30000

struct server {
    const char *prefix;
    int64_t pause_until; /* not asked before; of qp_clock_ms() */
    int64_t period;      /* began then, and so much of it was spent waiting */
    int64_t waited;
};

struct entry {
    char name[NAME_BYTES + 1];
    char *text;   /* the lines, each with a NUL behind it; allocated */
    size_t lines; /* 0: nobody has that file */
    int64_t expires;
};

/* Each process has its own after the fork, and begins with what the listener has read. */
struct cache {
    struct server server[SERVERS_MAX];
    struct entry entry[ENTRIES_MAX];
    size_t servers, entries, oldest;
};

struct conf {
    struct cache *cache;
    const char *only, *ca;
    int64_t ttl_ms, timeout_ms, pause_ms;
    uint64_t max;
    bool insecure;
    bool forks; /* before a session: no thread may be left, which a child would miss */
};

/* ---- which names ---- */

/* One of the names in a list with commas? */
static bool
is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (;;) {
        size_t word = strcspn(list, ",");

        if (word == n && strncmp(list, name, n) == 0)
            return true;
        if (list[word] == '\0')
            return false;
        list += word + 1;
    }
}

/* Names that are the same in a URL, and that lead nowhere else. */
static bool
is_wanted(const struct conf *c, const char *name)
{
    if (is_listed("plugins,logging,plugin_dirs,me", name) || (c->only && !is_listed(c->only, name)))
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_./", *p))
            return false;
    return isalnum((unsigned char)*name) && strlen(name) <= NAME_BYTES && !strstr(name, "..");
}

/* ---- lines ---- */

/*
 * pack - make the lines that say something stand one behind the other, each with a NUL
 *
 * text     split at CR and LF, changed in place
 * returns  how many lines there are
 */
static size_t
pack(char *text)
{
    char *to = text;
    size_t lines = 0;

    while (*text) {
        char *line = text + strspn(text, " \t\r\n\v\f");
        size_t n = strcspn(line, "\r\n");

        text = line + n;
        text += *text != '\0';
        while (n > 0 && isspace((unsigned char)line[n - 1]))
            n--;
        if (n == 0 || *line == '#')
            continue;
        memmove(to, line, n);
        to[n] = '\0'; /* not beyond what ended the line */
        to += n + 1;
        lines++;
    }
    return lines;
}

static enum qp_rc
answer(struct qp *q, const struct entry *e)
{
    const char *line = e->text;

    if (e->lines == 0)
        return QP_DECLINED;
    for (size_t i = 0; i < e->lines; i++) {
        qp_config_answer(q, line);
        line += strlen(line) + 1;
    }
    return QP_OK;
}

/* ---- what is remembered ---- */

static struct entry *
find(struct cache *cache, const char *name)
{
    for (size_t i = 0; i < cache->entries; i++)
        if (strcmp(cache->entry[i].name, name) == 0)
            return &cache->entry[i];
    return NULL;
}

/* Room for one more; the oldest one goes when there is none. */
static struct entry *
add(struct cache *cache, const char *name)
{
    struct entry *e;

    if (cache->entries < ENTRIES_MAX) {
        e = &cache->entry[cache->entries++];
    } else {
        e = &cache->entry[cache->oldest];
        cache->oldest = (cache->oldest + 1) % ENTRIES_MAX;
        free(e->text);
    }
    *e = (struct entry){0};
    snprintf(e->name, sizeof e->name, "%s", name);
    return e;
}

static void
free_cache(void *data)
{
    struct cache *cache = data;

    for (size_t i = 0; i < cache->entries; i++)
        free(cache->entry[i].text);
    free(cache);
}

/* ---- the servers ---- */

static void
set_aside(struct qp *q, const struct conf *c, struct server *s, const char *name, const char *why)
{
    char where[200];

    s->pause_until = qp_clock_ms() + c->pause_ms;
    s->waited = 0;
    qp_log(q, QP_LOG_WARN, "server failed, not asked for %d s server=%s name=%s error=\"%s\"",
        (int)(c->pause_ms / 1000), url_public(s->prefix, where, sizeof where), name, why);
}

/* One that answers, but so slowly that a session with many files would wait for ever. */
static void
count_waiting(struct qp *q, const struct conf *c, struct server *s, const char *name, int64_t began)
{
    int64_t end = qp_clock_ms();

    if (end - s->period > PAUSE_MS) {
        s->period = end;
        s->waited = 0;
    }
    s->waited += end - began;
    if (s->waited > 2 * c->timeout_ms)
        set_aside(q, c, s, name, "too slow");
}

/* Why the answer is none that can be used; NULL: it can. */
static const char *
judge(struct qp *q, const struct http_answer *a)
{
    if (a->status == 404 || a->status == 410)
        return NULL;
    if (a->status != 200)
        return qp_printf(q, QP_TRANSACTION, "HTTP status %ld", a->status);
    if (a->html) /* a page about some trouble; a list of domains it is not */
        return "it is a page of HTML";
    return strlen(a->body) == a->n ? NULL : "it is no text";
}

enum found { LINES, NOTHING, TROUBLE };

/* Ask one server; LINES: *text and *lines are set, and text is the caller's. */
static enum found
ask(struct qp *q, const struct conf *c, struct server *s, const char *name, struct entry *out)
{
    char url[URL_MAX + NAME_BYTES + 1];
    struct http_answer a;
    int64_t began = qp_clock_ms();
    enum found found = NOTHING;
    const char *why;
    bool done;

    snprintf(url, sizeof url, "%s%s", s->prefix, name);
    done = http_exchange(
        &(struct http_request){
            .url = url,
            .ca_file = c->ca,
            .connect_ms = c->timeout_ms < CONNECT_MS ? c->timeout_ms : CONNECT_MS,
            .total_ms = c->timeout_ms,
            .max = (size_t)c->max,
            .hurried = !c->forks || *qp_session_id(q) != '\0',
        },
        &a);
    why = done ? judge(q, &a) : a.error;
    count_waiting(q, c, s, name, began);
    if (why) {
        set_aside(q, c, s, name, why);
        found = TROUBLE;
    } else if (a.status == 200 && (out->lines = pack(a.body)) > 0) {
        out->text = a.body;
        a.body = NULL;
        found = LINES;
    }
    http_answer_close(&a);
    return found;
}

/* The first server that has lines. NOTHING: all that could be asked, and one could, have none. */
static enum found
ask_all(struct qp *q, const struct conf *c, const char *name, struct entry *out)
{
    enum found worst = NOTHING;

    for (size_t i = 0; i < c->cache->servers; i++) {
        struct server *s = &c->cache->server[i];
        enum found found = qp_clock_ms() < s->pause_until ? TROUBLE : ask(q, c, s, name, out);

        if (found == LINES)
            return LINES;
        if (found == TROUBLE)
            worst = TROUBLE;
    }
    return worst;
}

/* ---- handlers ---- */

static enum qp_rc
on_config(struct qp *q, const char *name)
{
    const struct conf *c = qp_instance(q);
    struct entry *e, fresh = {0};
    enum found found;

    if (!is_wanted(c, name))
        return QP_DECLINED;
    e = find(c->cache, name);
    if (e && qp_clock_ms() < e->expires)
        return answer(q, e);
    found = ask_all(q, c, name, &fresh);
    if (!e)
        e = add(c->cache, name);
    if (found != TROUBLE) {
        free(e->text);
        e->text = fresh.text;
        e->lines = fresh.lines;
    } /* else it stays what it was */
    e->expires = qp_clock_ms() + (found == TROUBLE ? c->pause_ms : c->ttl_ms);
    return answer(q, e);
}

static bool
add_server(struct qp *q, struct conf *c, const char *prefix)
{
    struct url url;

    if (c->cache->servers == SERVERS_MAX)
        return qp_fail(q, "at most %d servers", SERVERS_MAX);
    if (!url_parse(prefix, &url))
        return qp_fail(q, "%s is no URL of http or https", prefix);
    if (!url.secure && !url.loopback && !c->insecure)
        return qp_fail(q,
            "%s: anybody on the way could change the configuration: write https://, or say that it "
            "does not matter with: insecure 1",
            prefix);
    c->cache->server[c->cache->servers++].prefix = qp_strdup(q, QP_INSTANCE, prefix);
    return true;
}

/* The words with :// are servers; what remains is for qp_args. */
static bool
read_arguments(struct qp *q, struct conf *c, int argc, const char *const argv[])
{
    const char **rest = qp_alloc(q, QP_INSTANCE, ((size_t)argc + 1) * sizeof *rest);
    int n = 0;

    for (int i = 0; i < argc; i++)
        if (i == 0 || !strstr(argv[i], "://"))
            rest[n++] = argv[i];
    if (!qp_args(q, n, rest,
            (const struct qp_arg[]){{.name = "only", .text = &c->only},
                {.name = "ttl", .duration_ms = &c->ttl_ms, .min = 1, .max = 86400},
                {.name = "timeout", .duration_ms = &c->timeout_ms, .min = 1, .max = 60},
                {.name = "max", .size = &c->max, .min = 1, .max = 16 << 20},
                {.name = "ca", .text = &c->ca}, {.name = "insecure", .flag = &c->insecure}, {0}}))
        return false;
    c->pause_ms = c->ttl_ms < PAUSE_MS ? c->ttl_ms : PAUSE_MS;
    for (int i = 1; i < argc; i++)
        if (strstr(argv[i], "://") && !add_server(q, c, argv[i]))
            return false;
    return c->cache->servers > 0 || qp_fail(q, "where from? Write a URL: https://HOST/PATH/");
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);

    *c = (struct conf){
        .ttl_ms = 300000, .timeout_ms = 5000, .max = 64 << 10, .forks = qp_serves_many(q)};
    c->cache = calloc(1, sizeof *c->cache);
    if (!c->cache)
        return qp_fail(q, "out of memory");
    qp_at_end(q, QP_INSTANCE, free_cache, c->cache);
    qp_instance_set(q, c);
    return read_arguments(q, c, argc, argv);
}

QP_PLUGIN(.name = "http_config", .init = on_init, .config = on_config);
