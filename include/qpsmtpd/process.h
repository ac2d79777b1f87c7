/*
 * qpsmtpd/process.h - run a program: no shell, no leaked descriptor, no wait without an end
 */
#ifndef QPSMTPD_PROCESS_H
#define QPSMTPD_PROCESS_H

#include <sys/types.h>

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/* Descriptor `fd` of this process becomes `as` in the program. All others are closed there, except
 * 2, which is the log; 0 and 1 are /dev/null unless listed. */
struct qp_fd_map {
    int fd;
    int as;
};

#define QP_FD_MAP_MAX 8

/*
 * qp_process_start - a child that executes a program
 *
 * The program starts in a process group of its own, with default signal dispositions and an empty
 * signal mask. Its environment is that of this process and, on top, the connection's: the variables of
 * tcp-environ(5) and of tcprules, as under tcpserver, whoever has accepted the connection.
 *
 * argv     argv[0] is the path, used as it is (absolute paths only; no PATH search); ends with NULL
 * map      n entries, at most QP_FD_MAP_MAX; the numbers in `fd` may overlap those in `as`
 * dir      working directory; NULL keeps ours
 * returns  the process id; -1 with errno when it could not be started (exec failures included)
 */
pid_t qp_process_start(struct qp *q, const char *const argv[], const struct qp_fd_map map[],
    size_t n, const char *dir);

/*
 * qp_process_wait - collect it
 *
 * timeout_ms  afterwards its process group gets SIGKILL and it is collected
 * returns     the status as waitpid(2) gives it; -1 with errno, ETIMEDOUT when it had to be killed
 */
int qp_process_wait(struct qp *q, pid_t pid, int64_t timeout_ms);

#endif
