#include "http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* One exchange, as the callbacks see it. */
struct exchange {
    const struct http_request *request;
    struct http_answer *answer;
    uint64_t sent;
    size_t room;
    bool too_large, unreadable;
};

/* ---- callbacks ---- */

static size_t
on_body(char *bytes, size_t size, size_t n, void *data)
{
    struct exchange *x = data;
    struct http_answer *a = x->answer;

    n *= size;
    if (n > x->request->max - a->n) {
        x->too_large = true;
        return 0; /* which ends the exchange */
    }
    if (a->n + n + 1 > x->room) {
        size_t room = 2 * (a->n + n) + 1024;
        char *more = realloc(a->body, room);

        if (!more)
            return 0;
        a->body = more;
        x->room = room;
    }
    memcpy(a->body + a->n, bytes, n);
    a->n += n;
    return n;
}

static size_t
on_send(char *out, size_t size, size_t n, void *data)
{
    struct exchange *x = data;
    uint64_t left = x->request->size - x->sent;
    ptrdiff_t got;

    n *= size;
    if (n > left)
        n = (size_t)left;
    if (n == 0)
        return 0;
    got = x->request->read(x->request->data, x->sent, out, n);
    if (got <= 0) {
        x->unreadable = true;
        return CURL_READFUNC_ABORT;
    }
    x->sent += (uint64_t)got;
    return (size_t)got;
}

/* libcurl wants to send again from the start, when a server asks for that. */
static int
on_seek(void *data, curl_off_t offset, int origin)
{
    struct exchange *x = data;

    if (origin != SEEK_SET || offset < 0)
        return CURL_SEEKFUNC_FAIL;
    x->sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- what is asked of libcurl ---- */

static struct curl_slist *
header_list(const struct http_request *r)
{
    /* Expect: empty, or a silent server costs a second before the body is sent */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");

    if (list && !curl_slist_append(list, "Connection: close"))
        goto fail;
    for (const char *const *header = r->headers; list && header && *header; header++)
        if (!curl_slist_append(list, *header))
            goto fail;
    return list;
fail:
    curl_slist_free_all(list);
    return NULL;
}

static bool
set_limits(CURL *c, const struct http_request *r)
{
    return curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)r->connect_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)r->total_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_QUICK_EXIT, r->hurried ? 1L : 0L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->max) == CURLE_OK;
}

static bool
set_peer(CURL *c, const struct http_request *r)
{
    /* The environment is the client's in part (tcprules), and not to choose a proxy. */
    return curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_URL, r->url) == CURLE_OK &&
           (!r->socket || curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, r->socket) == CURLE_OK) &&
           (!r->ca_file || (curl_easy_setopt(c, CURLOPT_CAINFO, r->ca_file) == CURLE_OK &&
                               curl_easy_setopt(c, CURLOPT_CAPATH, NULL) == CURLE_OK));
}

static bool
set_transfer(CURL *c, struct exchange *x, struct curl_slist *headers)
{
    if (curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK ||
        curl_easy_setopt(c, CURLOPT_WRITEDATA, x) != CURLE_OK)
        return false;
    if (!x->request->read)
        return true;
    return curl_easy_setopt(c, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->request->size) ==
               CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_READDATA, x) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SEEKDATA, x) == CURLE_OK;
}

/* ---- the exchange ---- */

static void
explain(const struct exchange *x, CURLcode code, const char *detail)
{
    const char *why = *detail ? detail : curl_easy_strerror(code);

    if (x->too_large || code == CURLE_FILESIZE_EXCEEDED)
        why = "the answer is too large";
    else if (x->unreadable)
        why = "the message cannot be read";
    snprintf(x->answer->error, sizeof x->answer->error, "%s", why);
}

static void
judge(CURL *c, struct http_answer *a)
{
    const char *type = NULL;

    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_getinfo(c, CURLINFO_CONTENT_TYPE, &type);
    a->html = type && strncasecmp(type, "text/html", 9) == 0;
}

static bool
perform(CURL *c, struct exchange *x, struct curl_slist *headers)
{
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code = CURLE_FAILED_INIT;

    if (curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail) == CURLE_OK && set_limits(c, x->request) &&
        set_peer(c, x->request) && set_transfer(c, x, headers))
        code = curl_easy_perform(c);
    if (code != CURLE_OK) {
        explain(x, code, detail);
        return false;
    }
    judge(c, x->answer);
    x->answer->body[x->answer->n] = '\0'; /* there is room: on_body and http_exchange see to it */
    return true;
}

bool
http_exchange(const struct http_request *r, struct http_answer *out)
{
    struct exchange x = {.request = r, .answer = out, .room = 1024};
    struct curl_slist *headers = header_list(r);
    CURL *c = curl_easy_init();
    bool ok = false;

    *out = (struct http_answer){.body = malloc(x.room), .error = "out of memory"};
    if (c && headers && out->body)
        ok = perform(c, &x, headers);
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    if (!ok)
        http_answer_close(out);
    return ok;
}

void
http_answer_close(struct http_answer *a)
{
    free(a->body);
    a->body = NULL;
    a->n = 0;
}
