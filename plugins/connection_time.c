/*
 * connection_time - log how long each connection lasted
 *
 *   plugins file: connection_time [LEVEL]    level of the line, emerg … debug or 0..7; default info
 *   hooks pre_connection, connect:           the clock starts
 *   hook post_connection:                    `SECONDS s.`; always QP_DECLINED
 *
 * From 1.00.
 */
#include <time.h>

#include <qpsmtpd/logging.h>
#include <qpsmtpd/plugin.h>

struct conf {
    enum qp_log_level level;
};

struct start {
    bool set;
    struct timespec at;
};

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *level = "info";

    qp_instance_set(q, c);
    return qp_args(q, argc, argv,
               (const struct qp_arg[]){{"level", .positional = true, .text = &level}, {0}}) &&
           qp_arg_level(q, level, &c->level);
}

static enum qp_rc
on_begin(struct qp *q)
{
    struct start *s = qp_state(q, QP_CONNECTION, sizeof *s);

    if (!s->set)
        clock_gettime(CLOCK_MONOTONIC, &s->at);
    s->set = true;
    return QP_DECLINED;
}

static enum qp_rc
on_post_connection(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const struct start *s = qp_state(q, QP_CONNECTION, sizeof *s);
    struct timespec now;

    if (!s->set)
        return QP_DECLINED;
    clock_gettime(CLOCK_MONOTONIC, &now);
    qp_log(q, c->level, "%.3f s.",
        (double)(now.tv_sec - s->at.tv_sec) + (double)(now.tv_nsec - s->at.tv_nsec) / 1e9);
    return QP_DECLINED;
}

QP_PLUGIN(.name = "connection_time", .init = on_init, .pre_connection = on_begin,
    .connect = on_begin, .post_connection = on_post_connection);
