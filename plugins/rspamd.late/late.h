/*
 * rspamd.late/late - the part of rspamd that is loaded with the first message
 *
 * libcurl, jansson and what they link cost more than the rest of a session: several milliseconds, which
 * a process that serves one client and gets no message from it does not pay.
 */
#ifndef RSPAMD_LATE_LATE_H
#define RSPAMD_LATE_LATE_H

#include "../http.parts/http.h"
#include "reply.h"

struct rspamd_late {
    /* Send the request, understand the answer. false: why says what went wrong. Else close(out). */
    bool (*ask)(const struct http_request *r, struct reply *out, char why[256]);
    void (*close)(struct reply *r);
};

#endif
