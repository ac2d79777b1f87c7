/*
 * net/stream - the client's bytes, in and out, with deadlines
 *
 * Owns   the input buffer, the output that is gathered until somebody would have to wait, and poll
 * Keep   input is bounded by the buffer; output leaves in order, before any wait; a peer that does
 *        not read, or does not write, ends at a deadline; SIGPIPE never happens; whatever has to
 *        read or write the descriptors happens here, or in the layer that was pushed between them
 *        and the buffers (TLS); once there is one, no byte passes it by
 * Change buffer sizes
 */
#ifndef QPSMTPD_NET_STREAM_H
#define QPSMTPD_NET_STREAM_H

#include <signal.h>
#include <sys/types.h>

#include "base/str.h"

#define STREAM_IN                                                                                  \
    262144 /* bytes of buffer, and the most that one read takes; only what was used is memory */
#define STREAM_OUT 2048 /* the replies to a batch of 50 commands; who waits is told before */

enum stream_status {
    STREAM_OK,
    STREAM_EOF,
    STREAM_TIMEOUT,
    STREAM_INTERRUPTED, /* stream_line: the flag of stream_interruptible() was up, nothing was read
                         */
    STREAM_TOO_LONG, /* stream_line: the line exceeded its bound; it was read to its end and dropped
                      */
    STREAM_ERROR,    /* read or write failed; errno is in stream_error() */
};

struct stream;
struct dns;

/* stream_open - fds are borrowed: stream_close() does not close them. One stream can serve many
 * connections in turn: stream_reset(). Ends with the process or stream_close(). */
struct stream *stream_open(void);

/* stream_open_in - the same, but all that is not input lies in STREAM_SIZE bytes of memory, which is borrowed
 * until stream_close() and aligned for any type */
#define STREAM_SIZE (STREAM_OUT + 256)
struct stream *stream_open_in(void *memory);
void stream_close(struct stream **s);

/* stream_reset - a new peer; everything buffered is wiped. timeout_ms bounds each wait for output.
 */
void stream_reset(struct stream *s, int in, int out, int64_t timeout_ms);
void stream_timeout_set(struct stream *s, int64_t timeout_ms);

/* stream_interruptible - while *flag is not 0, stream_line() does not wait for a line to begin. For
 * servers that drain; flag is borrowed, NULL: never. wake: -1, or a descriptor that can be read from then
 * on, for a process that does not hold its signals back. */
void stream_interruptible(struct stream *s, const volatile sig_atomic_t *flag, int wake);

/*
 * stream_direct - until stream_reset(): a read of `in` ends by itself after that long (SO_RCVTIMEO), so
 * waits of that length need no poll(2). 0: it does not
 *
 * Who interrupts such a stream sets the flag and calls stream_interrupt(): async-signal-safe, for the one
 * stream of this process that is being read.
 */
void stream_direct(struct stream *s, int64_t receive_timeout_ms);
void stream_interrupt(void);

/* stream_dns - whose answers are read while the stream waits for its peer; until stream_reset().
 * Borrowed, NULL: nobody's. */
void stream_dns(struct stream *s, struct dns *d);

/*
 * stream_line - one line, without its LF or CR LF
 *
 * max       longest line accepted, in bytes without the line end; at most STREAM_IN / 2
 * deadline  clock_ms() when waiting ends, for the whole line and not for each read
 * line      a view into the buffer, valid until the next call that reads
 * returns   STREAM_EOF: the peer closed; a last line without LF is dropped
 */
enum stream_status stream_line(struct stream *s, size_t max, int64_t deadline, struct str *line);

/*
 * stream_fill - make sure that at least one byte is buffered; output that is due is sent before
 * waiting
 *
 * data     NULL, or all that is buffered; valid until the next call that reads
 */
enum stream_status stream_fill(struct stream *s, int64_t deadline, struct str *data);

/* stream_take - the first n buffered bytes have been dealt with */
void stream_take(struct stream *s, size_t n);

/* stream_wipe - nothing of what was taken out stays in the buffer: a password was there */
void stream_wipe(struct stream *s);

/* stream_buffered - all that is buffered, without reading; writable, because data.c removes dots in
 * place */
char *stream_buffered(struct stream *s, size_t *n);

/* stream_put - gather output; sent by stream_flush(), by a wait for input, or when the buffer is
 * full. A failure is remembered: later calls do nothing, stream_flush and stream_fill report it. */
void stream_put(struct stream *s, struct str text);
enum stream_status stream_flush(struct stream *s);

/* stream_wait - flush, then wait until input is there; nothing is read.
 * returns STREAM_OK: bytes wait; STREAM_EOF: it hung up; STREAM_TIMEOUT: silence until the deadline
 */
enum stream_status stream_wait(struct stream *s, int64_t deadline);

/*
 * What may stand between the buffers and the descriptors. Nothing here waits: -1 with EAGAIN, and
 * *events is what has to be waited for; any other error ends the stream.
 */
struct stream_layer {
    int (*handshake)(void *data, short *events);                       /* 1: done */
    ssize_t (*read)(void *data, char *to, size_t room, short *events); /* 0: its proper end */
    ssize_t (*write)(void *data, const char *from, size_t n, short *events);
    void (*end)(void *data);
    const char *(*error)(void *data);
};

/*
 * stream_layer_push - send what is due, throw away what is buffered, then let the layer shake hands
 *
 * layer, data  borrowed until stream_reset(); from now on every byte goes through them, even when
 *              the handshake fails
 */
enum stream_status stream_layer_push(
    struct stream *s, const struct stream_layer *layer, void *data, int64_t deadline);

/* stream_unread - is there anything from the peer that nobody has read yet, buffered or arrived? */
bool stream_unread(struct stream *s);

/* stream_error - why STREAM_ERROR; valid until the next call */
const char *stream_error(const struct stream *s);

/* stream_end - flush, and say that nothing follows: for a peer that has said so itself, and of whom
 * nothing is left to read. true: that was all; false: stream_finish() is needed */
bool stream_end(struct stream *s);

/*
 * stream_finish - end politely: flush, half close, and read away up to 64 KiB during at most
 * max_ms, so that the last reply reaches a client that still sends, instead of a TCP reset
 */
void stream_finish(struct stream *s, int64_t max_ms);

#endif
