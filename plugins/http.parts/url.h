/*
 * http.parts/url - what a URL in a configuration file says, as far as it has to be judged
 *
 * Owns   which forms of http and https URLs an administrator may write
 * Keep   stricter than the library that will use the URL: what is accepted here cannot mean another
 *        host there (t/plugin/http_config)
 */
#ifndef HTTP_PARTS_URL_H
#define HTTP_PARTS_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX 2000 /* bytes */

struct url {
    bool secure;   /* https */
    bool loopback; /* its host is 127.0.0.0/8, ::1 or localhost */
};

/* url_parse - false: not http:// or https:// with [USER:PASSWORD@]HOST[:PORT], printable, not too long */
bool url_parse(const char *text, struct url *out);

/* url_public - without user and password, for the log; cut to fit; gives out */
const char *url_public(const char *url, char *out, size_t room);

#endif
