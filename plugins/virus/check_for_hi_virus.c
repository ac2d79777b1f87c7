/*
 * virus/check_for_hi_virus - a message whose attachment goes by two names
 *
 *   plugins file:   virus/check_for_hi_virus
 *   hook data_post: 554 "Probably the 'Hi' virus" when, in the first 41 lines of the body, the name
 * of a Content-Type line and the filename of a Content-Disposition line differ; else QP_DECLINED
 * (r356). Case matters and folded lines are not joined, as there.
 */
#include <string.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/plugin.h>

#define LINES_SEEN 41
#define LINE_ROOM  1000 /* RFC 5322, 2.1.1: 998; longer ones are cut */

/* What stands between key (`name="`) and the last quote of a line that begins with field. */
static bool
quoted_after(const char *line, const char *field, const char *key, char out[LINE_ROOM])
{
    const char *start, *end;

    if (strncmp(line, field, strlen(field)) != 0 || !(start = strstr(line, key)))
        return false;
    start += strlen(key);
    end = strrchr(start, '"');
    if (!end)
        return false;
    memcpy(out, start, (size_t)(end - start));
    out[end - start] = '\0';
    return true;
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
    char line[LINE_ROOM], type[LINE_ROOM] = "", disposition[LINE_ROOM] = "";
    size_t length;

    for (int i = 0; i < LINES_SEEN && qp_body_line(q, &at, line, sizeof line, &length); i++) {
        quoted_after(line, "Content-Type: ", "name=\"", type);
        quoted_after(line, "Content-Disposition: ", "filename=\"", disposition);
    }
    if (type[0] && disposition[0] && strcmp(type, disposition) != 0)
        return qp_deny(q, "Probably the 'Hi' virus");
    return QP_DECLINED;
}

QP_PLUGIN(.name = "virus/check_for_hi_virus", .init = on_init, .data_post = on_data_post);
