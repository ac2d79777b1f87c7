/*
 * mail/message - the message as it arrives, split into header and body, spooled
 *
 * Owns   the header text (bounded), the body (in memory up to a threshold, then in an unlinked
 *        file), the counts that DATA's limits need; process-wide: whether the spool directory's
 *        mode was complained about already
 * Uses   mail/header, base. Does not know the protocol: line ends are LF when bytes get here.
 * Keep   constant memory for any size; a full disk is remembered, the rest of the message is
 *        counted and dropped, and message_trouble() tells; a spool file has no name from its first
 *        moment (O_TMPFILE, else unlinked at once), so nothing is left behind however the process
 *        ends Change MESSAGE_BLOCK
 */
#ifndef QPSMTPD_MAIL_MESSAGE_H
#define QPSMTPD_MAIL_MESSAGE_H

#include "base/arena.h"
#include "base/err.h"
#include "mail/header.h"

#define MESSAGE_HEADER_MAX (1UL << 18) /* bytes; a larger header is no mail */
#define MESSAGE_BLOCK      (64UL << 10) /* bytes of body collected before a write to the spool file */

struct message_limits {
    uint64_t max_bytes;    /* databytes; 0: none */
    size_t size_threshold; /* bytes of body kept in memory before a file is made */
    const char *spool_dir; /* borrowed; asked for when the first file is made. Made when it is
                              missing, its parent is not */
    unsigned spool_perms;  /* mode it is made with; group and other bits beyond are warned of */
};

enum message_trouble {
    MESSAGE_FINE,
    MESSAGE_TOO_BIG,        /* more than max_bytes; the spool has been given up */
    MESSAGE_HEADER_TOO_BIG, /* fields of more than MESSAGE_HEADER_MAX before the empty line */
    MESSAGE_DISK,           /* the body could not be stored; message_error() says why */
};

struct message;

/* message_new - empty; allocates no buffers yet. limits is copied. Its descriptor and its buffers
 * go with the arena. */
struct message *message_new(struct arena *a, const struct message_limits *limits);

/*
 * message_put - the next bytes, line ends already LF
 *
 * Cheap in blocks: the bytes are looked at only until the header has ended.
 * returns  true when, in this call, the header became complete: header fields can be asked for now
 *          and the rest of the bytes has been taken too
 */
bool message_put(struct message *m, struct str bytes);

/*
 * message_end - no more bytes come. Once.
 *
 * A message without an empty line is all header: it ends here, and gets the LF that its last line
 * may lack (BDAT need not send one), because other fields may be put below it.
 *
 * returns  true when, in this call, the header became complete
 */
bool message_end(struct message *m);

/* message_trouble - the first that happened; from then on the message has no body and cannot be
 * written */
enum message_trouble message_trouble(const struct message *m);
const char *message_error(const struct message *m); /* "" unless MESSAGE_DISK */

uint64_t message_received(const struct message *m); /* bytes put, also those dropped */
uint64_t message_body_size(const struct message *m);

/* message_header - its fields; before the header is complete it has none */
struct header *message_header(struct message *m);

/* message_spool_dir - spool_dir, opened with O_PATH, made when it is missing; the caller closes it */
bool message_spool_dir(const struct message *m, int *out, struct err *e);

/* message_read - bytes of the body from offset, maybe fewer than n; 0 at the end, -1 with errno */
ptrdiff_t message_read(const struct message *m, uint64_t offset, void *out, size_t n);

/*
 * message_draft - another body for m in the making: message_put() takes its bytes, the separator line
 * first
 *
 * The limits are those of m. It has no header, and its descriptor and buffers go with the arena.
 */
struct message *message_draft(const struct message *m, struct arena *a);

/* message_take_body - the body of draft is m's from now on, all of it at once; draft is empty then.
 * Neither may be in trouble. */
void message_take_body(struct message *m, struct message *draft);

/* message_write - header, then body, to fd (blocking); handles short writes; false with errno. EIO:
 * trouble */
bool message_write(const struct message *m, int fd);

#endif
