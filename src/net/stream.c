#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/wait.h"

struct stream {
    int in, out;
    int error;      /* errno of the first failure; from then on nothing is written */
    bool timed_out; /* the peer did not read within timeout_ms */
    bool no_socket; /* `out` is a pipe or a terminal */
    const struct stream_layer *layer; /* NULL: bytes go as they are */
    void *layer_data;
    int64_t timeout_ms;
    const volatile sig_atomic_t *interrupt;
    int wake;          /* -1: none */
    int64_t direct_ms; /* SO_RCVTIMEO of `in`; 0: not set */
    struct dns *dns;
    size_t start, end; /* what is buffered of the input */
    size_t in_high;    /* how far the buffer was ever filled by this peer */
    size_t out_start, out_end, out_high;
    bool borrowed;   /* *this is somebody's memory */
    char *in_buffer; /* STREAM_IN bytes; pages that nobody has filled cost nothing */
    char out_buffer[STREAM_OUT];
};

static_assert(sizeof(struct stream) <= STREAM_SIZE, "its memory is too small");

static struct stream *
prepare(struct stream *s, bool borrowed)
{
    if (!s)
        return NULL;
    *s = (struct stream){.borrowed = borrowed, .in_buffer = malloc(STREAM_IN)};
    if (!s->in_buffer) {
        stream_close(&s);
        return NULL;
    }
    stream_reset(s, -1, -1, 0);
    return s;
}

struct stream *
stream_open(void)
{
    return prepare(malloc(sizeof(struct stream)), false);
}

struct stream *
stream_open_in(void *memory)
{
    return prepare(memory, true);
}

void
stream_close(struct stream **s)
{
    free((*s)->in_buffer);
    if (!(*s)->borrowed)
        free(*s);
    *s = NULL;
}

void
stream_reset(struct stream *s, int in, int out, int64_t timeout_ms)
{
    /* None of one peer's bytes may be seen by the next. */
    explicit_bzero(s->in_buffer, s->in_high);
    explicit_bzero(s->out_buffer, s->out_high);
    s->in_high = s->out_high = 0;
    s->in = in;
    s->out = out;
    s->error = 0;
    s->timed_out = false;
    s->no_socket = false;
    s->layer = NULL;
    s->timeout_ms = timeout_ms;
    s->interrupt = NULL;
    s->wake = -1;
    s->direct_ms = 0;
    s->dns = NULL;
    s->start = s->end = s->out_start = s->out_end = 0;
}

void
stream_timeout_set(struct stream *s, int64_t timeout_ms)
{
    s->timeout_ms = timeout_ms;
}

void
stream_interruptible(struct stream *s, const volatile sig_atomic_t *flag, int wake)
{
    s->interrupt = flag;
    s->wake = wake;
}

/* The socket that this process may be waiting in, without poll(2); for the signal handler. */
static volatile sig_atomic_t direct_in = -1;

void
stream_direct(struct stream *s, int64_t receive_timeout_ms)
{
    s->direct_ms = receive_timeout_ms;
}

/* It may be about to wait: then it finds that it cannot. */
void
stream_interrupt(void)
{
    int error = errno, in = direct_in, flags = in < 0 ? -1 : fcntl(in, F_GETFL);

    if (flags >= 0)
        fcntl(in, F_SETFL, flags | O_NONBLOCK);
    errno = error;
}

void
stream_dns(struct stream *s, struct dns *d)
{
    s->dns = d;
}

const char *
stream_error(const struct stream *s)
{
    return s->layer ? s->layer->error(s->layer_data) : strerror(s->error);
}

/* ---- output ---- */

/* A pipe that poll(2) calls writable takes PIPE_BUF bytes without blocking, and no more than that
 * is safe. */
static ssize_t
send_some(struct stream *s, short *events)
{
    const char *p = s->out_buffer + s->out_start;
    size_t n = s->out_end - s->out_start;

    *events = POLLOUT;
    if (s->layer)
        return s->layer->write(s->layer_data, p, n, events);
    if (!s->no_socket) {
        ssize_t sent = send(s->out, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent >= 0 || errno != ENOTSOCK)
            return sent;
        s->no_socket = true;
    }
    if (poll(&(struct pollfd){.fd = s->out, .events = POLLOUT}, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(s->out, p, n < PIPE_BUF ? n : PIPE_BUF);
}

static enum stream_status
output_status(const struct stream *s)
{
    return s->timed_out ? STREAM_TIMEOUT : s->error ? STREAM_ERROR : STREAM_OK;
}

/* poll(2), for what the bytes or the layer need: a layer may have to read before it can write. */
static int
wait_peer(struct stream *s, short events, int64_t deadline)
{
    return wait_fd(s->dns, events == POLLOUT ? s->out : s->in, events, deadline);
}

enum stream_status
stream_flush(struct stream *s)
{
    int64_t deadline = 0;
    short events;

    while (s->out_start < s->out_end && output_status(s) == STREAM_OK) {
        ssize_t n = send_some(s, &events);

        if (n >= 0) {
            s->out_start += (size_t)n;
            deadline = 0; /* it reads: the patience starts anew */
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!deadline)
                deadline = clock_ms() + s->timeout_ms;
            s->timed_out = wait_peer(s, events, deadline) == 0;
        } else if (errno != EINTR) {
            s->error = errno;
        }
    }
    s->out_start = s->out_end = 0;
    return output_status(s);
}

void
stream_put(struct stream *s, struct str text)
{
    while (text.n && output_status(s) == STREAM_OK) {
        size_t room = STREAM_OUT - s->out_end;
        size_t n = text.n < room ? text.n : room;

        memcpy(s->out_buffer + s->out_end, text.p, n);
        s->out_end += n;
        if (s->out_high < s->out_end)
            s->out_high = s->out_end;
        text = str_from(text, n);
        if (text.n)
            stream_flush(s);
    }
}

/* ---- input ---- */

static bool
is_interrupted(const struct stream *s, bool interruptible)
{
    return interruptible && s->interrupt && *s->interrupt;
}

/* Wait until it is worth to read again. POLLHUP and POLLERR count: the read tells what they mean. */
static enum stream_status
wait_input(struct stream *s, short events, int64_t deadline, bool interruptible)
{
    for (;;) {
        int n;

        if (is_interrupted(s, interruptible))
            return STREAM_INTERRUPTED;
        n = wait_fd_or(s->dns, events == POLLOUT ? s->out : s->in, events,
            interruptible ? s->wake : -1, deadline);
        if (n > 0)
            return STREAM_OK;
        if (n == 0)
            return STREAM_TIMEOUT;
        if (errno != EINTR) {
            s->error = errno;
            return STREAM_ERROR;
        }
    }
}

static ssize_t
receive_some(struct stream *s, short *events)
{
    char *to = s->in_buffer + s->end;
    size_t room = STREAM_IN - s->end;

    *events = POLLIN;
    return s->layer ? s->layer->read(s->layer_data, to, room, events) : read(s->in, to, room);
}

/* Is the socket's own time limit as good as the deadline? Not for the rest of a line that came slowly. */
static bool
can_wait_inside(const struct stream *s, int64_t deadline)
{
    return s->direct_ms && !s->layer && !dns_busy(s->dns) &&
           clock_left(deadline) >= s->direct_ms - s->direct_ms / 16;
}

/* Wait and read in one call. STREAM_INTERRUPTED: ask poll(2). */
static enum stream_status
receive_inside(struct stream *s, bool interruptible)
{
    ssize_t n = -1;
    int error = EAGAIN;

    direct_in = s->in;
    if (!is_interrupted(s, interruptible)) {
        n = recv(s->in, s->in_buffer + s->end, STREAM_IN - s->end, 0);
        error = errno;
    }
    direct_in = -1;
    if (n > 0) {
        s->end += (size_t)n;
        if (s->in_high < s->end)
            s->in_high = s->end;
        return STREAM_OK;
    }
    if (n == 0)
        return STREAM_EOF;
    s->direct_ms = 0; /* time is over, or it does not wait any more: poll(2) sorts it out */
    if (error == EINTR || error == EAGAIN)
        return STREAM_INTERRUPTED;
    s->error = error;
    return STREAM_ERROR;
}

/* Read once, behind what is buffered. The buffer has room. */
static enum stream_status
read_some(struct stream *s, int64_t deadline, bool interruptible)
{
    bool ready = s->layer; /* poll(2) does not see what a layer holds */
    short events = POLLIN;

    if (can_wait_inside(s, deadline) && stream_flush(s) == STREAM_OK) {
        enum stream_status status = receive_inside(s, interruptible);

        if (status != STREAM_INTERRUPTED)
            return status;
    }

    for (;;) {
        enum stream_status status = stream_flush(s);
        ssize_t n;

        if (status == STREAM_OK && !ready)
            status = wait_input(s, events, deadline, interruptible);
        if (status != STREAM_OK)
            return status;
        ready = false;
        n = receive_some(s, &events);
        if (n > 0) {
            s->end += (size_t)n;
            if (s->in_high < s->end)
                s->in_high = s->end;
            return STREAM_OK;
        }
        if (n == 0)
            return STREAM_EOF;
        if (errno != EINTR && errno != EAGAIN) {
            s->error = errno;
            return STREAM_ERROR;
        }
        if (clock_left(deadline) == 0) /* a layer may find nothing in all that its peer sends */
            return STREAM_TIMEOUT;
    }
}

static void
make_room(struct stream *s)
{
    if (s->start == s->end) {
        s->start = s->end = 0;
    } else if (s->start) {
        memmove(s->in_buffer, s->in_buffer + s->start, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
    }
}

char *
stream_buffered(struct stream *s, size_t *n)
{
    *n = s->end - s->start;
    return s->in_buffer + s->start;
}

void
stream_take(struct stream *s, size_t n)
{
    s->start += n;
}

void
stream_wipe(struct stream *s)
{
    explicit_bzero(s->in_buffer, s->start);
    explicit_bzero(s->in_buffer + s->end, s->in_high - s->end); /* from where it was moved */
}

enum stream_status
stream_fill(struct stream *s, int64_t deadline, struct str *data)
{
    enum stream_status status = STREAM_OK;

    if (s->start == s->end) {
        make_room(s);
        status = read_some(s, deadline, false);
    }
    if (data)
        *data = (struct str){s->in_buffer + s->start, s->end - s->start};
    return status;
}

/* The line is too long: drop it, up to its LF or to what ends the input. */
static enum stream_status
skip_line(struct stream *s, int64_t deadline)
{
    for (;;) {
        char *lf = memchr(s->in_buffer + s->start, '\n', s->end - s->start);
        enum stream_status status;

        if (lf) {
            s->start = (size_t)(lf - s->in_buffer) + 1;
            return STREAM_TOO_LONG;
        }
        s->start = s->end = 0;
        status = clock_left(deadline) ? read_some(s, deadline, false) : STREAM_TIMEOUT;
        if (status == STREAM_EOF)
            return STREAM_TOO_LONG; /* it can still be told; the next call gives STREAM_EOF */
        if (status != STREAM_OK)
            return status;
    }
}

enum stream_status
stream_line(struct stream *s, size_t max, int64_t deadline, struct str *line)
{
    size_t seen = 0; /* bytes that were searched already */

    if (output_status(s) != STREAM_OK) /* no dialogue with a peer that does not hear the answers */
        return output_status(s);
    for (;;) {
        char *p = s->in_buffer + s->start;
        size_t n = s->end - s->start;
        char *lf = memchr(p + seen, '\n', n - seen);
        enum stream_status status;

        if (lf) {
            n = (size_t)(lf - p);
            s->start += n + 1;
            n -= n && p[n - 1] == '\r';
            *line = (struct str){p, n};
            return n > max ? STREAM_TOO_LONG : STREAM_OK;
        }
        if (n > max + 1) /* one more, for a CR */
            return skip_line(s, deadline);
        seen = n;
        make_room(s);
        status = read_some(s, deadline, n == 0);
        if (status != STREAM_OK)
            return status;
    }
}

enum stream_status
stream_wait(struct stream *s, int64_t deadline)
{
    enum stream_status status = stream_flush(s);
    char peeked;
    ssize_t peeked_n;

    if (status != STREAM_OK || s->start < s->end)
        return status;
    if (s->layer) { /* what arrives there need not be anything that was said */
        make_room(s);
        return read_some(s, deadline, false);
    }
    status = wait_input(s, POLLIN, deadline, false);
    if (status != STREAM_OK)
        return status;
    peeked_n = recv(s->in, &peeked, 1, MSG_PEEK | MSG_DONTWAIT);
    if (peeked_n == 0)
        return STREAM_EOF;
    if (peeked_n < 0 &&
        errno == ENOTSOCK) { /* a pipe says POLLHUP alone when the other end is gone */
        struct pollfd p = {.fd = s->in, .events = POLLIN};

        return poll(&p, 1, 0) > 0 && !(p.revents & POLLIN) ? STREAM_EOF : STREAM_OK;
    }
    return STREAM_OK;
}

bool
stream_unread(struct stream *s)
{
    char peeked;

    ssize_t n;

    if (s->start < s->end)
        return true;
    n = recv(s->in, &peeked, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && errno == ENOTSOCK)
        return poll(&(struct pollfd){.fd = s->in, .events = POLLIN}, 1, 0) > 0;
    return n > 0;
}

enum stream_status
stream_layer_push(struct stream *s, const struct stream_layer *layer, void *data, int64_t deadline)
{
    enum stream_status status = stream_flush(s);
    short events = POLLIN;

    s->start = s->end = 0;
    explicit_bzero(s->in_buffer, s->in_high);
    s->layer = layer;
    s->layer_data = data;
    while (status == STREAM_OK && layer->handshake(data, &events) != 1) {
        if (errno == EAGAIN) {
            status = clock_left(deadline) ? wait_input(s, events, deadline, false) : STREAM_TIMEOUT;
        } else {
            s->error = errno;
            status = STREAM_ERROR;
        }
    }
    if (status == STREAM_TIMEOUT)
        s->timed_out = true; /* nothing may follow: the peer would read it as what it is not */
    return status;
}

bool
stream_end(struct stream *s)
{
    return stream_flush(s) == STREAM_OK && !s->layer && s->start == s->end;
}

void
stream_finish(struct stream *s, int64_t max_ms)
{
    int64_t deadline = clock_ms() + max_ms;
    size_t drained = 0;

    if (stream_flush(s) == STREAM_OK && s->layer)
        s->layer->end(s->layer_data);
    if ((output_status(s) != STREAM_OK && !s->layer) || shutdown(s->out, SHUT_WR) < 0)
        return;
    while (drained < 65536 && wait_input(s, POLLIN, deadline, false) == STREAM_OK) {
        ssize_t n = recv(s->in, s->in_buffer, STREAM_IN, MSG_DONTWAIT);

        if (n > 0) {
            drained += (size_t)n;
            if (s->in_high < (size_t)n)
                s->in_high = (size_t)n;
        } else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
            return;
        }
    }
}
