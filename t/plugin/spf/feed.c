/*
 * feed - sender_permitted_from, with another sender and HELO name than those of the dialogue
 *
 * Some cases of the test suite have names and addresses that no SMTP server lets through to its
 * plugins. This plugin loads the real one, from FEED_PLUGIN, and calls its handlers with the HELO name
 * FEED_HELO and the sender FEED_LOCAL@FEED_HOST of the environment.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include <qpsmtpd/plugin.h>

/* Set once, by init; nothing here is the client's. */
static const struct qp_plugin *real;

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    const char *path = getenv("FEED_PLUGIN");
    void *library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;

    real = library != NULL ? dlsym(library, "qp_plugin") : NULL;
    if (real == NULL)
        return qp_fail(q, "FEED_PLUGIN: %s", path != NULL ? dlerror() : "is not set");
    return real->init(q, argc, argv);
}

static enum qp_rc
on_helo_parse(struct qp *q, const char *args, struct qp_parsed *out)
{
    (void)args;
    out->argument = qp_env(q, "FEED_HELO");
    return QP_OK;
}

static enum qp_rc
on_helo(struct qp *q, const char *host)
{
    return real->helo(q, host);
}

static enum qp_rc
on_mail(struct qp *q, const struct qp_address *sender)
{
    struct qp_address *a = qp_alloc(q, QP_TRANSACTION, sizeof *a);

    (void)sender;
    a->user = qp_env(q, "FEED_LOCAL");
    a->host = qp_env(q, "FEED_HOST");
    a->address = qp_printf(q, QP_TRANSACTION, "%s@%s", a->user, a->host);
    a->format = qp_printf(q, QP_TRANSACTION, "<%s>", a->address);
    return real->mail(q, a);
}

static enum qp_rc
on_rcpt(struct qp *q, const struct qp_address *to)
{
    return real->rcpt(q, to);
}

static enum qp_rc
on_data_post_headers(struct qp *q)
{
    return real->data_post_headers(q);
}

static enum qp_rc
on_data_post(struct qp *q)
{
    return real->data_post(q);
}

QP_PLUGIN(.name = "feed", .init = on_init, .helo_parse = on_helo_parse, .helo = on_helo,
    .mail = on_mail, .rcpt = on_rcpt, .data_post_headers = on_data_post_headers,
    .data_post = on_data_post);
