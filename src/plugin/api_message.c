/*
 * The message as plugins see it: <qpsmtpd/header.h>, <qpsmtpd/body.h>.
 */
#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>

#include <errno.h>

#include "mail/message.h"
#include "plugin/instance.h"

static struct message *
message_of(struct qp *q)
{
    return q->context->txn ? q->context->txn->message : NULL;
}

static struct header *
header_of(struct qp *q)
{
    return message_of(q) ? message_header(message_of(q)) : NULL;
}

const char *
qp_header_get(struct qp *q, const char *name, size_t i)
{
    const struct header *h = header_of(q);
    const struct header_field *f = h ? header_find(h, str_of(name), i, NULL) : NULL;

    return f ? header_value(h, f) : NULL;
}

size_t
qp_header_count(struct qp *q, const char *name)
{
    const struct header *h = header_of(q);

    return h ? header_count_of(h, str_of(name)) : 0;
}

bool
qp_header_field(struct qp *q, size_t i, const char **name, const char **value)
{
    const struct header *h = header_of(q);

    for (size_t at = 0; h && at < header_count(h); at++) {
        const struct header_field *f = header_at(h, at);

        if (f->name.n && i-- == 0) { /* lines that are no fields do not count */
            *name = arena_dup(q->context->txn->arena, f->name);
            *value = header_value(h, f);
            return true;
        }
    }
    return false;
}

static bool
insert(struct qp *q, size_t at, const char *name, const char *value)
{
    struct header *h = header_of(q);

    return h && header_insert(h, at, str_of(name), str_of(value));
}

bool
qp_header_add(struct qp *q, const char *name, const char *value)
{
    return insert(q, SIZE_MAX, name, value);
}

bool
qp_header_prepend(struct qp *q, const char *name, const char *value)
{
    return insert(q, 0, name, value);
}

bool
qp_header_replace(struct qp *q, const char *name, size_t i, const char *value)
{
    struct header *h = header_of(q);
    size_t index;

    return h && header_find(h, str_of(name), i, &index) && header_replace(h, index, str_of(value));
}

bool
qp_header_delete(struct qp *q, const char *name, size_t i)
{
    struct header *h = header_of(q);
    size_t index;

    return h && header_find(h, str_of(name), i, &index) && header_remove(h, index);
}

size_t
qp_header_delete_all(struct qp *q, const char *name)
{
    struct header *h = header_of(q);

    return h ? header_remove_all(h, str_of(name)) : 0;
}

bool
qp_header_line(struct qp *q, size_t i, struct qp_header_line *out)
{
    const struct header *h = header_of(q);
    const struct header_field *f = h ? header_at(h, i) : NULL;
    struct str value;

    if (!f)
        return false;
    value = header_text(f);
    if (value.n > 0 && value.p[value.n - 1] == '\n')
        value.n--;
    *out = (struct qp_header_line){
        arena_dup(q->context->command, f->name), arena_dup(q->context->command, value), value.n};
    return true;
}

size_t
qp_header_line_find(struct qp *q, const char *name, size_t i)
{
    const struct header *h = header_of(q);
    size_t index;

    return h && header_find(h, str_of(name), i, &index) ? index : SIZE_MAX;
}

bool
qp_header_line_insert(struct qp *q, size_t i, const char *name, const char *value)
{
    struct header *h = header_of(q);

    return h && header_insert_exact(h, i, str_of(name), str_of(value));
}

bool
qp_header_line_replace(struct qp *q, size_t i, const char *value)
{
    struct header *h = header_of(q);

    return h && header_replace_exact(h, i, str_of(value));
}

bool
qp_header_line_delete(struct qp *q, size_t i)
{
    struct header *h = header_of(q);

    return h && header_remove(h, i);
}

size_t
qp_header_delete_begin(struct qp *q, const char *begin)
{
    struct header *h = header_of(q);

    return h ? header_remove_begin(h, str_of(begin)) : 0;
}

uint64_t
qp_body_size(struct qp *q)
{
    return message_of(q) ? message_body_size(message_of(q)) : 0;
}

uint64_t
qp_message_size(struct qp *q)
{
    return message_of(q) ? header_size(header_of(q)) + message_body_size(message_of(q)) : 0;
}

ptrdiff_t
qp_body_read(struct qp *q, uint64_t offset, void *out, size_t n)
{
    return message_of(q) ? message_read(message_of(q), offset, out, n) : 0;
}

/* As many bytes of the header as there are from offset on, at most n. */
static size_t
header_read(const struct header *h, uint64_t offset, char *out, size_t n)
{
    size_t done = 0;

    for (size_t i = 0; done < n && i < header_count(h); i++) {
        struct str raw = header_at(h, i)->raw;

        if (offset >= raw.n) {
            offset -= raw.n;
            continue;
        }
        raw = str_from(raw, (size_t)offset);
        offset = 0;
        if (raw.n > n - done)
            raw.n = n - done;
        memcpy(out + done, raw.p, raw.n);
        done += raw.n;
    }
    return done;
}

ptrdiff_t
qp_message_read(struct qp *q, uint64_t offset, void *out, size_t n)
{
    struct message *m = message_of(q);
    uint64_t header;

    if (!m)
        return 0;
    if (message_trouble(m) != MESSAGE_FINE) {
        errno = EIO;
        return -1;
    }
    header = header_size(message_header(m));
    if (offset < header)
        return (ptrdiff_t)header_read(message_header(m), offset, out, n);
    return message_read(m, offset - header, out, n);
}

/* Read on until an LF: what does not fit into `line` is passed over. */
bool
qp_body_line(struct qp *q, struct qp_body_cursor *c, char *line, size_t room, size_t *length)
{
    char block[512];
    size_t n = 0;
    bool any = false;

    for (;;) {
        ptrdiff_t got = qp_body_read(q, c->offset, block, sizeof block);
        const char *lf;
        size_t take;

        if (got <= 0) {
            line[n] = '\0';
            *length = n;
            return any;
        }
        any = true;
        lf = memchr(block, '\n', (size_t)got);
        take = lf ? (size_t)(lf - block) : (size_t)got;
        c->offset += take + (lf != NULL);
        if (take > room - 1 - n)
            take = room - 1 - n;
        memcpy(line + n, block, take);
        n += take;
        if (lf) {
            line[n] = '\0';
            *length = n;
            return true;
        }
    }
}

struct qp_body_draft {
    struct message *message;
};

struct qp_body_draft *
qp_body_draft(struct qp *q)
{
    struct qp_body_draft *draft;

    if (!message_of(q))
        return NULL;
    draft = arena_alloc(q->context->txn->arena, sizeof *draft);
    draft->message = message_draft(message_of(q), q->context->txn->arena);
    message_put(draft->message, STR("\n"));
    return draft;
}

bool
qp_body_put(struct qp_body_draft *draft, const void *bytes, size_t n)
{
    bool fine = message_trouble(draft->message) == MESSAGE_FINE;

    message_put(draft->message, (struct str){bytes, n});
    if (fine && message_trouble(draft->message) != MESSAGE_FINE)
        log_at(LOG_LEVEL_ERROR, "the new body cannot be kept: %s",
            message_trouble(draft->message) == MESSAGE_TOO_BIG ? "it is larger than databytes"
                                                               : message_error(draft->message));
    return message_trouble(draft->message) == MESSAGE_FINE;
}

bool
qp_body_replace(struct qp *q, struct qp_body_draft *draft)
{
    struct message *m = message_of(q);

    if (!m || message_trouble(m) != MESSAGE_FINE || message_trouble(draft->message) != MESSAGE_FINE)
        return false;
    message_take_body(m, draft->message);
    return true;
}

bool
qp_message_write(struct qp *q, int fd)
{
    if (message_of(q))
        return message_write(message_of(q), fd);
    errno = EINVAL;
    return false;
}

const char *
qp_message_id(struct qp *q)
{
    const char *value = qp_header_get(q, "Message-Id", 0);
    struct str id;
    char *text;

    if (!value)
        return "";
    value += strspn(value, " \t\r\n"); /* Outlook folds before it */
    id = str_trim((struct str){value, strcspn(value, "\r\n")});
    if (!id.n)
        return "";
    if (id.n > 250)
        id.n = 250;
    text = id.p[0] == '<' ? arena_dup(q->context->command, id)
                          : arena_printf(q->context->command, "<%.*s>", STR_ARG(id));
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    return text;
}
