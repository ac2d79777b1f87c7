/*
 * plugin/message_read - qp_message_read() of <qpsmtpd/body.h>
 */
#include <qpsmtpd/body.h>

#include <errno.h>

#include "plugin/instance.h"

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
    struct message *m = q->context->txn ? q->context->txn->message : NULL;
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
