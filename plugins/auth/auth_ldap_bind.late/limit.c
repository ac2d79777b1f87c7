#include "limit.h"

#include <errno.h>
#include <poll.h>

#include <qpsmtpd/clock.h>

int64_t
limit_left(int64_t deadline)
{
    return deadline - qp_clock_ms();
}

/* false: not in time, with an errno that nobody takes for "try again" */
static bool
await(Sockbuf_IO_Desc *d, short events)
{
    const int64_t *deadline = d->sbiod_pvt;
    struct pollfd p = {.fd = -1, .events = events};

    if (ber_sockbuf_ctrl(d->sbiod_sb, LBER_SB_OPT_GET_FD, &p.fd) != 1)
        return false;
    for (int64_t left; (left = limit_left(*deadline)) > 0;) {
        int ready = poll(&p, 1, (int)left);

        if (ready > 0)
            return true;
        if (ready < 0 && errno != EINTR)
            return false;
    }
    errno = ETIMEDOUT;
    return false;
}

static bool
try_again(ber_slen_t n)
{
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

static ber_slen_t
on_read(Sockbuf_IO_Desc *d, void *buf, ber_len_t size)
{
    ber_slen_t n;

    do {
        if (!await(d, POLLIN))
            return -1;
        n = LBER_SBIOD_READ_NEXT(d, buf, size);
    } while (try_again(n));
    return n;
}

/* The socket may be one that waits: as much as it takes at once, and never more than that. */
static ber_slen_t
on_write(Sockbuf_IO_Desc *d, void *buf, ber_len_t size)
{
    const ber_len_t piece =
        1024; /* poll(2) does not say how much: a few, and a local one always has */
    ber_slen_t n;

    do {
        if (!await(d, POLLOUT))
            return -1;
        n = LBER_SBIOD_WRITE_NEXT(d, buf, size < piece ? size : piece);
    } while (try_again(n));
    return n;
}

static int
on_setup(Sockbuf_IO_Desc *d, void *deadline)
{
    d->sbiod_pvt = deadline;
    return 0;
}

static int
on_remove(Sockbuf_IO_Desc *d)
{
    d->sbiod_pvt = NULL;
    return 0;
}

static int
on_ctrl(Sockbuf_IO_Desc *d, int opt, void *arg)
{
    return LBER_SBIOD_CTRL_NEXT(d, opt, arg);
}

static int
on_close(Sockbuf_IO_Desc *d)
{
    (void)d;
    return 0;
}

bool
limit_add(Sockbuf *sb, int64_t *deadline)
{
    static Sockbuf_IO layer = {.sbi_setup = on_setup,
        .sbi_remove = on_remove,
        .sbi_ctrl = on_ctrl,
        .sbi_read = on_read,
        .sbi_write = on_write,
        .sbi_close = on_close};

    return ber_sockbuf_add_io(sb, &layer, LBER_SBIOD_LEVEL_PROVIDER + 1, deadline) == 0;
}
