/*
 * The process that plugins live in: <qpsmtpd/host.h>, <qpsmtpd/clock.h>
 */
#include <qpsmtpd/clock.h>
#include <qpsmtpd/host.h>
#include <qpsmtpd/tls.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "plugin/instance.h"
#include "plugin/shared.h"

int64_t
qp_clock_ms(void)
{
    return clock_ms();
}

bool
qp_serves_many(struct qp *q)
{
    return q->context->host->serves_many;
}

int
qp_open_secret(struct qp *q, const char *path)
{
    const struct host *h = q->context->host;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not hold us */

    if (fd < 0 && errno == EACCES && h->open_as_root)
        fd = h->open_as_root(h->open_as_root_data, path);
    return fd;
}

const char *
qp_config_path(struct qp *q, const char *name)
{
    return config_path(q->context->config, name);
}

void
qp_tls_none(struct qp *q)
{
    q->instance->plugin.tls = NULL;
}

/* /plugins/tls.so -> /plugins/tls.late.so; the file may also stand there without its ending. */
static const char *
late_path(struct host *h, const struct instance *instance)
{
    struct str path = str_of(instance->object.name);

    if (str_iends(path, STR(".so")))
        path.n -= 3;
    return arena_printf(h->arena, "%.*s.late.so", STR_ARG(path));
}

static void
unload(void *handle)
{
    dlclose(handle);
}

const void *
qp_late(struct qp *q, const char **why)
{
    struct host *h = q->context->host;
    struct instance *instance = q->instance;
    void *handle;

    *why = "";
    if (instance->late)
        return instance->late;
    handle = dlopen(late_path(h, instance), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        *why = dlerror();
        return NULL;
    }
    arena_at_reset(h->arena, unload, handle);
    instance->late = dlsym(handle, "qp_late_part");
    if (!instance->late)
        *why = "it exports no qp_late_part";
    return instance->late;
}

void *
qp_shared(struct qp *q, size_t size)
{
    void *memory = shared_block(q->instance->name, size);

    return memory ? memory : arena_alloc(q->context->host->arena, size);
}
