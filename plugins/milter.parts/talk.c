#include "talk.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <qpsmtpd/clock.h>
#include <qpsmtpd/peer.h>
#include <qpsmtpd/plugin.h>

void
talk_close(struct milter_talk *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

bool
talk_fail(struct milter_talk *t, const char *why)
{
    if (!t->error)
        t->error = why;
    talk_close(t);
    return false;
}

/* ---- bytes ---- */

/* Why the socket cannot be read or written any more. */
static const char *
reason(int error)
{
    switch (error) {
    case 0:
        return "it has closed the connection";
    case ETIMEDOUT:
        return "it was silent too long";
    case EPIPE:
    case ECONNRESET:
        return "the connection broke";
    default:
        return "the socket cannot be used";
    }
}

static bool
await(const struct milter_talk *t, short events, int64_t deadline)
{
    struct pollfd p = {.fd = t->fd, .events = events};

    for (;;) {
        int64_t left = deadline - qp_clock_ms();
        int ready = left > 0 ? poll(&p, 1, left < 3600000 ? (int)left : 3600000) : 0;

        if (ready > 0)
            return true;
        if (ready < 0 && errno == EINTR)
            continue;
        if (left <= 0)
            errno = ETIMEDOUT;
        if (left <= 0 || ready < 0)
            return false;
    }
}

/* The end of a wait of that length, or the deadline before it. */
static int64_t
end_of(const struct milter_talk *t, int64_t wait_ms)
{
    int64_t end = qp_clock_ms() + wait_ms;

    return t->deadline && t->deadline < end ? t->deadline : end;
}

static bool
write_all(struct milter_talk *t, const uint8_t *p, size_t n)
{
    int64_t deadline = end_of(t, t->write_ms);

    while (n > 0) {
        ssize_t done = send(t->fd, p, n, MSG_NOSIGNAL);

        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN ? !await(t, POLLOUT, deadline) : errno != EINTR) {
            return talk_fail(t, reason(errno));
        }
    }
    return true;
}

static bool
read_all(struct milter_talk *t, uint8_t *p, size_t n, int64_t deadline)
{
    while (n > 0) {
        ssize_t got = recv(t->fd, p, n, 0);

        if (got > 0) {
            p += got;
            n -= (size_t)got;
        } else if (got == 0) {
            return talk_fail(t, reason(0));
        } else if (errno == EAGAIN ? !await(t, POLLIN, deadline) : errno != EINTR) {
            return talk_fail(t, reason(errno));
        }
    }
    return true;
}

/* ---- packets ---- */

void
talk_begin(struct milter_talk *t, char letter)
{
    milter_begin(&t->out, t->buffer, MILTER_FRAME + MILTER_DATA_MAX, letter);
}

bool
talk_send(struct milter_talk *t)
{
    if (t->fd < 0)
        return false;
    if (t->out.overflow)
        return talk_fail(t, "what it has to be told does not fit into a packet");
    return write_all(t, t->buffer, milter_end(&t->out));
}

bool
talk_word(struct milter_talk *t, char letter)
{
    talk_begin(t, letter);
    return talk_send(t);
}

bool
talk_read(struct milter_talk *t, int64_t wait_ms, struct milter_packet *out)
{
    uint8_t *in = t->buffer + MILTER_FRAME + MILTER_DATA_MAX;
    int64_t deadline = end_of(t, wait_ms);
    const char *wrong;
    size_t n;

    if (t->fd < 0 || !read_all(t, in, 4, deadline))
        return false;
    n = (size_t)in[0] << 24 | (size_t)in[1] << 16 | (size_t)in[2] << 8 | in[3];
    if (n == 0 || n > 1 + MILTER_DATA_MAX)
        return talk_fail(t, "an answer of an impossible length");
    if (!read_all(t, in, n, deadline))
        return false;
    wrong = milter_packet_parse(in, n, out);
    return !wrong || talk_fail(t, wrong);
}

bool
talk_is_quiet(const struct milter_talk *t)
{
    struct pollfd p = {.fd = t->fd, .events = POLLIN};

    return t->fd >= 0 && poll(&p, 1, 0) == 0;
}

/* ---- what is agreed on ---- */

static bool
keep_list(struct milter_talk *t, uint32_t stage, const char *names)
{
    if (stage >= MILTER_STAGES)
        return talk_fail(t, "macros for a stage that there is not");
    if (strlen(names) > MILTER_LIST_MAX)
        return talk_fail(t, "a list of macros that is too long");
    t->agreed.own_list[stage] = true;
    snprintf(t->agreed.list[stage], sizeof t->agreed.list[stage], "%s", names);
    return true;
}

static bool
accept_offer(struct milter_talk *t, const struct milter_packet *p)
{
    const uint8_t *lists = p->bytes;
    size_t left = p->n;

    if (p->offer.version < MILTER_VERSION_MIN || p->offer.version > MILTER_VERSION)
        return talk_fail(t, "it speaks another version of the protocol");
    if (p->offer.actions & ~MILTER_ACTIONS)
        return talk_fail(t, "it wants to edit what nobody can edit");
    t->agreed.offer = p->offer;
    t->agreed.offer.steps &= MILTER_STEPS; /* what nobody has offered binds nobody */
    if (p->offer.version < 4)              /* commands that came later */
        t->agreed.offer.steps |= MILTER_NO_DATA;
    if (p->offer.version < 3)
        t->agreed.offer.steps |= MILTER_NO_UNKNOWN;
    while (left > 0) {
        const char *names;
        uint32_t stage;

        if (!milter_macro_list(&lists, &left, &stage, &names))
            return talk_fail(t, "lists of macros that end early");
        if (!keep_list(t, stage, names))
            return false;
    }
    return true;
}

/* Its offer, and before it maybe lists of macros in packets of their own. */
static bool
agree(struct milter_talk *t, int64_t deadline)
{
    struct milter_packet p;

    talk_begin(t, MILTER_OFFER);
    milter_put_number(&t->out, MILTER_VERSION, 4);
    milter_put_number(&t->out, MILTER_ACTIONS, 4);
    milter_put_number(&t->out, MILTER_STEPS, 4);
    if (!talk_send(t))
        return false;
    for (int lists = 0; lists <= MILTER_STAGES; lists++) {
        if (!talk_read(t, deadline - qp_clock_ms(), &p))
            return false;
        if (p.letter == MILTER_OFFER)
            return accept_offer(t, &p);
        if (p.letter != MILTER_MACRO_LIST || !keep_list(t, p.index, p.name))
            break;
    }
    return talk_fail(t, "no offer where one is due");
}

bool
talk_open(struct qp *q, struct milter_talk *t, const struct qp_peer_at *p, int64_t connect_ms)
{
    int64_t deadline = qp_clock_ms() + connect_ms;
    struct qp_peer *peer = qp_peer_open(q, p->where, p->port, connect_ms);

    t->error = NULL;
    t->agreed = (struct milter_agreed){.offer.version = 0};
    if (qp_peer_error(peer))
        t->error = qp_strdup(q, QP_CONNECTION, qp_peer_error(peer));
    t->fd = qp_peer_detach(&peer);
    return t->fd >= 0 && agree(t, deadline);
}
