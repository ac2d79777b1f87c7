/*
 * virus/klez_filter - the Klez worm by the first bytes of its program in base64
 *
 *   plugins file:   virus/klez_filter
 *   hook data_post: 554 "Klez Virus Detected" when the body has 60000 bytes or more and, in its
 * first 41 lines, the signature follows a Content-type line that says audio or application; else
 * QP_DECLINED (r356)
 */
#include <string.h>
#include <strings.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>

#define LINES_SEEN 41
#define LINE_ROOM  1000 /* RFC 5322, 2.1.1: 998; longer ones are cut */
#define BODY_MIN   60000

static const char signature[] = "TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQA";

static bool
starts_attachment(const char *line)
{
    return strncasecmp(line, "Content-type:", 13) == 0 &&
           (strcasestr(line, "audio") || strcasestr(line, "application"));
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    return qp_args(q, argc, argv, (const struct qp_arg[]){{0}});
}

static enum qp_rc
on_data_post(struct qp *q)
{
    struct qp_body_cursor at = {0};
    char line[LINE_ROOM];
    bool attachment = false;
    size_t length;

    if (qp_body_size(q) < BODY_MIN)
        return QP_DECLINED;
    for (int i = 0; i < LINES_SEEN && qp_body_line(q, &at, line, sizeof line, &length); i++) {
        if (starts_attachment(line))
            attachment = true;
        else if (attachment && strstr(line, signature))
            return qp_deny(q, "Klez Virus Detected");
    }
    return QP_DECLINED;
}

QP_PLUGIN(.name = "virus/klez_filter", .init = on_init, .data_post = on_data_post);
