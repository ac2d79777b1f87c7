#include "late.h"

#include <stdio.h>

#include <qpsmtpd/host.h>

static bool
ask(const struct http_request *r, struct reply *out, char why[256])
{
    struct http_answer answer;
    const char *wrong;

    if (!http_exchange(r, &answer)) {
        snprintf(why, 256, "%s", answer.error);
        return false;
    }
    if (answer.status != 200) {
        snprintf(why, 256, "HTTP status %ld", answer.status);
        http_answer_close(&answer);
        return false;
    }
    wrong = reply_parse(answer.body, answer.n, out);
    http_answer_close(&answer);
    snprintf(why, 256, "%s", wrong ? wrong : "");
    return !wrong;
}

QP_LATE_PART(struct rspamd_late, .ask = ask, .close = reply_close);
