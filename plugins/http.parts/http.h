/*
 * http.parts/http - one HTTP exchange, with an end to everything
 *
 * Owns   what we ask of libcurl: no proxy, no redirect, no netrc, HTTP/1.1, no protocol but http and
 *        https, certificates verified, a connection of its own for each exchange
 * Uses   libcurl; knows nothing of mail
 * Keep   an exchange ends at its deadline whatever the server does; no more than `max` bytes of the
 *        answer are kept; what is not a complete answer is no answer (t/plugin/rspamd,
 *        t/plugin/http_config)
 *
 * Linked by the plugins that speak HTTP. libcurl, because it is what Debian keeps safe: chunked and
 * other encodings, TLS and time limits of a client of our own would be the larger risk.
 */
#ifndef HTTP_PARTS_HTTP_H
#define HTTP_PARTS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct http_request {
    const char *url;     /* http:// or https:// */
    const char *socket;  /* path of a unix socket to connect to; NULL: what url names */
    const char *ca_file; /* certificates that https is verified against; NULL: the system's */
    const char *const *headers; /* "Name: value" without line end, NULL ends; NULL: none */
    int64_t connect_ms, total_ms;
    size_t max;   /* bytes of the answer's body; a larger one is an error */
    bool hurried; /* do not wait for a name server beyond the deadline (costs a thread meanwhile) */

    /* What to send: with read a POST of exactly `size` bytes, else a GET. read copies at most n bytes
     * from offset on, as qp_message_read does. */
    ptrdiff_t (*read)(void *data, uint64_t offset, void *out, size_t n);
    void *data;
    uint64_t size;
};

struct http_answer {
    long status; /* 100..999 */
    char *body;  /* n bytes and a NUL behind them; never NULL after a success */
    size_t n;
    bool html;       /* the server calls it text/html */
    char error[256]; /* why there is no answer; printable */
};

/*
 * http_exchange - ask, and wait for the whole answer
 *
 * returns  false: there is none, out->error says why. Else http_answer_close() after use
 */
bool http_exchange(const struct http_request *r, struct http_answer *out);

void http_answer_close(struct http_answer *a);

#endif
