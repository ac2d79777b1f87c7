#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/stream.h"

/* A stream on one end of a socket pair or of two pipes; the test is the other end. */
struct ends {
    struct stream *s;
    int to, from; /* what the peer writes to and reads from */
    int in, out;
};

static int
open_socket(void **state)
{
    static struct ends e;
    int fd[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    e = (struct ends){stream_open(), fd[1], fd[1], fd[0], fd[0]};
    stream_reset(e.s, e.in, e.out, 200);
    *state = &e;
    return 0;
}

static int
open_pipes(void **state)
{
    static struct ends e;
    int in[2], out[2];

    assert_int_equal(pipe(in), 0);
    assert_int_equal(pipe(out), 0);
    e = (struct ends){stream_open(), in[1], out[0], in[0], out[1]};
    stream_reset(e.s, e.in, e.out, 200);
    *state = &e;
    return 0;
}

static int
close_all(void **state)
{
    struct ends *e = *state;

    stream_close(&e->s);
    close(e->in);
    if (e->out != e->in)
        close(e->out);
    close(e->from);
    if (e->to >= 0 && e->to != e->from)
        close(e->to);
    return 0;
}

static void
send_text(const struct ends *e, const char *text)
{
    assert_int_equal(write(e->to, text, strlen(text)), strlen(text));
}

static enum stream_status
next_line(const struct ends *e, size_t max, char out[64])
{
    struct str line;
    enum stream_status status = stream_line(e->s, max, clock_ms() + 100, &line);

    out[0] = '\0';
    if (status == STREAM_OK) {
        assert_true(line.n < 64);
        memcpy(out, line.p, line.n);
        out[line.n] = '\0';
    }
    return status;
}

static void
lines_end_at_lf_and_lose_one_cr(void **state)
{
    const struct ends *e = *state;
    static const char *const expected[] = {"EHLO x", "bare", "", "two\r", " blank "};
    char line[64];

    send_text(e, "EHLO x\r\nbare\n\r\ntwo\r\r\n blank \r\nhalf");
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(next_line(e, 100, line), STREAM_OK);
        assert_string_equal(line, expected[i]);
    }
    assert_int_equal(next_line(e, 100, line), STREAM_TIMEOUT);
    send_text(e, " line\n");
    assert_int_equal(next_line(e, 100, line), STREAM_OK);
    assert_string_equal(line, "half line");
}

static void
a_line_over_the_bound_is_dropped_whole(void **state)
{
    const struct ends *e = *state;
    char line[64];

    send_text(e, "1234567890\r\n12345678901\r\nx\r\n");
    assert_int_equal(next_line(e, 10, line), STREAM_OK);
    assert_int_equal(next_line(e, 10, line), STREAM_TOO_LONG);
    assert_int_equal(next_line(e, 10, line), STREAM_OK);
    assert_string_equal(line, "x");
}

static void
a_line_without_end_costs_no_memory_and_is_told_at_eof(void **state)
{
    struct ends *e = *state;
    char block[4096], line[64];

    memset(block, 'x', sizeof block);
    for (int i = 0; i < 8; i++)
        assert_int_equal(write(e->to, block, sizeof block), sizeof block);
    if (e->to == e->from)
        shutdown(e->to, SHUT_WR);
    else {
        close(e->to);
        e->to = -1;
    }
    assert_int_equal(next_line(e, 100, line), STREAM_TOO_LONG);
    assert_int_equal(next_line(e, 100, line), STREAM_EOF);
}

static void
output_waits_until_input_is_needed(void **state)
{
    const struct ends *e = *state;
    char line[64];
    struct pollfd p = {.fd = e->from, .events = POLLIN};

    stream_put(e->s, STR("250 a\r\n"));
    stream_put(e->s, STR("250 b\r\n"));
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(next_line(e, 100, line), STREAM_TIMEOUT);
    assert_int_equal(read(e->from, line, sizeof line), 14);
    assert_memory_equal(line, "250 a\r\n250 b\r\n", 14);
}

static void
a_peer_that_does_not_read_ends_at_the_deadline(void **state)
{
    const struct ends *e = *state;
    char block[8192];

    memset(block, 'x', sizeof block);
    for (int i = 0; i < 1000; i++)
        stream_put(e->s, (struct str){block, sizeof block});
    assert_int_equal(stream_flush(e->s), STREAM_TIMEOUT);
}

static void
waiting_tells_talk_silence_and_hangup_apart(void **state)
{
    struct ends *e = *state;
    char line[64];

    assert_int_equal(stream_wait(e->s, clock_ms() + 10), STREAM_TIMEOUT);
    send_text(e, "HELO x\r\n");
    assert_int_equal(stream_wait(e->s, clock_ms() + 1000), STREAM_OK);
    assert_int_equal(next_line(e, 100, line), STREAM_OK);
    assert_string_equal(line, "HELO x");
    if (e->to == e->from)
        shutdown(e->to, SHUT_WR);
    else {
        close(e->to);
        e->to = -1;
    }
    assert_int_equal(stream_wait(e->s, clock_ms() + 1000), STREAM_EOF);
}

static void
a_raised_flag_stops_only_waits_for_a_new_line(void **state)
{
    const struct ends *e = *state;
    volatile sig_atomic_t flag = 1;
    char line[64];

    stream_interruptible(e->s, &flag, -1);
    assert_int_equal(next_line(e, 100, line), STREAM_INTERRUPTED);
    stream_interruptible(e->s, NULL, -1);
}

/* A layer whose peer sends on and on, and never a byte that means anything: records of TLS without data. */
static ssize_t
never_a_byte(void *data, char *to, size_t room, short *events)
{
    (void)data, (void)to, (void)room;
    *events = POLLIN;
    errno = EAGAIN;
    return -1;
}

static int
never_agrees(void *data, short *events)
{
    return (int)never_a_byte(data, NULL, 0, events);
}

static int
agrees(void *data, short *events)
{
    (void)data, (void)events;
    return 1;
}

static void
a_layer_that_is_never_done_ends_at_the_deadline(void **state)
{
    const struct ends *e = *state;
    const struct stream_layer stalls = {.handshake = never_agrees, .read = never_a_byte},
                              begins = {.handshake = agrees, .read = never_a_byte};
    int64_t begin = clock_ms();

    assert_int_equal(write(e->to, "x", 1), 1); /* poll(2) finds something each time */
    assert_int_equal(stream_layer_push(e->s, &begins, NULL, begin + 50), STREAM_OK);
    assert_int_equal(stream_fill(e->s, begin + 50, NULL), STREAM_TIMEOUT);
    assert_int_equal(stream_layer_push(e->s, &stalls, NULL, begin + 100), STREAM_TIMEOUT);
    assert_in_range(clock_ms() - begin, 100, 5000);
}

#define ON_BOTH(f)                                                                                 \
    cmocka_unit_test_setup_teardown(f, open_socket, close_all),                                    \
        cmocka_unit_test_setup_teardown(f, open_pipes, close_all)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(lines_end_at_lf_and_lose_one_cr),
        ON_BOTH(a_line_over_the_bound_is_dropped_whole),
        ON_BOTH(a_line_without_end_costs_no_memory_and_is_told_at_eof),
        ON_BOTH(output_waits_until_input_is_needed),
        ON_BOTH(a_peer_that_does_not_read_ends_at_the_deadline),
        ON_BOTH(waiting_tells_talk_silence_and_hangup_apart),
        ON_BOTH(a_raised_flag_stops_only_waits_for_a_new_line),
        ON_BOTH(a_layer_that_is_never_done_ends_at_the_deadline),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
