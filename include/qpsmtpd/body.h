/*
 * qpsmtpd/body.h - the message as it will be queued
 *
 * The header (header.h) and the body together are the message; the body begins with the empty line
 * that separates them, unless the message ended before it. Lines end in LF, dots are un-stuffed,
 * any other byte is as it came, NUL included. The body lies in memory or in an unlinked file: ask
 * for pieces, never for the whole.
 */
#ifndef QPSMTPD_BODY_H
#define QPSMTPD_BODY_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

uint64_t qp_body_size(struct qp *q);    /* bytes of the body, separator line included */
uint64_t qp_message_size(struct qp *q); /* bytes that qp_message_write() will write */

/*
 * qp_body_read - copy up to n bytes of the body from offset on
 *
 * returns  bytes copied, 0 at the end; -1 with errno when the spool cannot be read
 */
ptrdiff_t qp_body_read(struct qp *q, uint64_t offset, void *out, size_t n);

/* A place in the body for qp_body_line(). Begin with {0}. */
struct qp_body_cursor {
    uint64_t offset; /* of the next line */
};

/*
 * qp_body_line - the next line
 *
 * line     room for `room` bytes: the line without its LF, NUL-terminated, cut to fit
 * returns  false at the end of the body, or when the spool cannot be read
 */
bool qp_body_line(struct qp *q, struct qp_body_cursor *c, char *line, size_t room, size_t *length);

/* ---- another body ---- */

struct qp_body_draft;

/* qp_body_draft - begin one, empty but for the separator line; NULL: there is no message. Nobody sees
 * it before qp_body_replace(); it is forgotten with the transaction. */
struct qp_body_draft *qp_body_draft(struct qp *q);

/* qp_body_put - the next bytes, LF line ends; false: too big (databytes) or the disk is full, logged;
 * the draft is good for nothing then */
bool qp_body_put(struct qp_body_draft *draft, const void *bytes, size_t n);

/* qp_body_replace - the draft is the body from now on, all of it at once, and the draft is empty.
 * false: it was spoilt, or the message was; nothing has changed. */
bool qp_body_replace(struct qp *q, struct qp_body_draft *draft);

/*
 * qp_message_write - write the header as it is now, then the body, to fd; LF line ends
 *
 * returns  false with errno; how much was written is then unknown
 */
bool qp_message_write(struct qp *q, int fd);

/*
 * qp_message_read - copy up to n bytes of what qp_message_write() would write, from offset on
 *
 * For a peer that must not make us wait for ever (a pipe, a socket), and for who looks at whole
 * lines.
 *
 * returns  bytes copied, often fewer than n; 0 at the end; -1 with errno when the spool cannot be
 * read
 */
ptrdiff_t qp_message_read(struct qp *q, uint64_t offset, void *out, size_t n);

/*
 * qp_message_file - a copy of the message, as qp_message_write() writes it, for a program that wants a file
 *
 * dir      where; NULL: config spool_dir
 * mode     0600, or more where another user's daemon has to read it
 * path     NULL: the file has no name, and nothing can be left behind: a program that inherits the
 *          descriptor as N opens /dev/fd/N. Otherwise set to its absolute name, which goes with the
 *          transaction (and stays when this process is killed): for who hands the name on to a daemon
 * returns  the descriptor, at the beginning of the file, closed with the transaction; -1 with errno
 */
int qp_message_file(struct qp *q, const char *dir, unsigned mode, const char **path);

/* qp_message_id - first Message-Id field: one line, in angle brackets, printable; "" when there is
 * none */
const char *qp_message_id(struct qp *q);

#endif
