/*
 * loadcheck - take no mail while the machine has too much to do
 *
 *   plugins file: loadcheck [max_load LOAD]    0.01 to 100000, default 7; with an x behind it, 2x, for
 *                                              each processor
 *                 cache_time and uptime of 1.00 are read and ignored: asking costs nothing here
 *   hook connect: load of the last minute above that: DENYSOFT `Server load too high, please try again
 *                 later.`; else, and when the system does not tell its load, QP_DECLINED
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <qpsmtpd/plugin.h>

static bool
parse_load(const char *text, double *out)
{
    char *end;

    if (strspn(text, "0123456789.") == 0)
        return false;
    *out = strtod(text, &end);
    if (!(*out >= 0.01 && *out <= 100000))
        return false;
    if (strcmp(end, "x") == 0)
        *out *= (double)sysconf(_SC_NPROCESSORS_ONLN);
    return *end == '\0' || strcmp(end, "x") == 0;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    double *max = qp_alloc(q, QP_INSTANCE, sizeof *max);
    const char *text = "7", *cache = NULL, *uptime = NULL;

    qp_instance_set(q, max);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){{.name = "max_load", .text = &text},
                {.name = "cache_time", .text = &cache}, {.name = "uptime", .text = &uptime}, {0}}))
        return false;
    if (cache || uptime)
        qp_log(q, QP_LOG_WARN, "ignored: cache_time and uptime, the kernel is asked each time");
    return parse_load(text, max) ||
           qp_fail(q, "max_load: \"%s\" is no number from 0.01 to 100000, or such a number and x",
               text);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const double *max = qp_instance(q);
    double load;

    if (getloadavg(&load, 1) != 1 || load <= *max)
        return QP_DECLINED;
    qp_log(q, QP_LOG_NOTICE, "load too high load=%.2f max=%.2f", load, *max);
    return qp_denysoft(q, "Server load too high, please try again later.");
}

QP_PLUGIN(.name = "loadcheck", .init = on_init, .connect = on_connect);
