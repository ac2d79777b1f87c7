/*
 * queue program - a program that takes the message: fed, listened to and collected within limits
 *
 * Owns   the pipes of such a program, what is kept of its output, the clock that it works against, and
 *        the count of what it left unread: a pipe takes 64 KiB from us, whether anybody reads or not
 * Uses   qpsmtpd/process.h, body.h. Knows nothing of exit codes and of what is written
 * Keep   a program that says too much, reads nothing or does not end never holds us longer than its
 *        deadline; output beyond PROGRAM_OUTPUT is read and dropped
 *        to close the pipe of a program that was not told everything would make it take a part for
 *        the whole: it is killed before (program_kill), unless its protocol has an end of its own
 */
#ifndef QUEUE_PROGRAM_H
#define QUEUE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROGRAM_OUTPUT 4096

struct qp;

struct program {
    pid_t pid;
    int end;         /* pidfd: readable when it has ended; -1: none (a kernel before 5.3) */
    int held[2];     /* the ends that it reads of its pipes, ours as well until its end; -1: none */
    int in;          /* our end of the pipe that is its descriptor 0; -1: none, or closed */
    int out;         /* our end of the pipe that it speaks to; -1: none, or closed */
    int64_t step_ms; /* so long it may be without progress while it is written to */
    int64_t deadline; /* qp_clock_ms() when it has to have ended */
    size_t unread;    /* bytes that were still in those pipes at its end */
    size_t n;
    char output[PROGRAM_OUTPUT + 1]; /* the first that it said, n bytes of any kind and a NUL */
};

/*
 * program_start - start it; its descriptors 1 and 2 are both its output
 *
 * argv        argv[0] is an absolute path; ends with NULL
 * input       becomes its descriptor 0, and stays ours to close; -1: p->in is written to
 * timeout_ms  until deadline, and without progress
 * returns     false with errno; nothing is open then
 */
bool program_start(
    struct qp *q, struct program *p, const char *const argv[], int input, int64_t timeout_ms);

/* program_adopt - it was started already, with out as our end of what it speaks to, which is made
 * non-blocking, and reads as the ends that it reads itself, -1 for none; all three are p's from now on. */
void program_adopt(
    struct program *p, pid_t pid, int out, const int reads[2], int64_t step_ms, int64_t total_ms);

/* program_write - to fd, our non-blocking end of a pipe; listens meanwhile. false with errno: EPIPE when
 * the program has ended, ETIMEDOUT when it does not read. What fits into the pipe is not read yet: see
 * p->unread. */
bool program_write(struct program *p, int fd, const char *bytes, size_t n);

/* program_write_message - header and body, LF line ends; false as above, or when the spool fails */
bool program_write_message(struct qp *q, struct program *p, int fd);

/* program_end - close p->in, listen until it ends, collect it. The status as waitpid(2) gives it, -1
 * with errno: ETIMEDOUT when the time was over and it was killed. Everything is closed then, and
 * p->unread is set. */
int program_end(struct qp *q, struct program *p);

/* program_kill - end it before it can take a part for the whole; same result as program_end() */
int program_kill(struct qp *q, struct program *p);

/* program_line - the first line of its output that is not blank, printable, at most 200 bytes; "" when
 * there is none. Lives as long as the transaction. */
const char *program_line(struct qp *q, const struct program *p);

#endif
