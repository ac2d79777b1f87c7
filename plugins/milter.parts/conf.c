#include "conf.h"

#include <string.h>

#include <qpsmtpd/plugin.h>

/* HOST:PORT, or PORT on this machine */
static bool
parse_host_port(struct qp *q, const char *word, struct qp_peer_at *out)
{
    if (*word && strspn(word, "0123456789") == strlen(word)) {
        out->where = "127.0.0.1";
        return qp_arg_int(q, word, 1, 65535, &out->port);
    }
    if (!qp_peer_arg(q, word, 0, out))
        return false;
    return out->port > 0 ||
           qp_fail(q, "%s: no port; an IPv6 address needs brackets: [::1]:8891", word);
}

/* Sendmail's PORT@HOST; Postfix writes HOST:PORT behind inet: */
static bool
parse_inet(struct qp *q, const char *word, struct qp_peer_at *out)
{
    const char *at = strchr(word, '@');

    if (!at)
        return parse_host_port(q, word, out);
    if (!at[1] || strpbrk(at + 1, "/@"))
        return qp_fail(q, "%s: no host behind the @", word);
    out->where = qp_strdup(q, QP_INSTANCE, at + 1);
    return qp_arg_int(
        q, qp_printf(q, QP_INSTANCE, "%.*s", (int)(at - word), word), 1, 65535, &out->port);
}

static bool
parse_path(struct qp *q, const char *word, struct qp_peer_at *out)
{
    return word[0] == '/' ? qp_peer_arg(q, word, 0, out)
                          : qp_fail(q, "\"%s\" is no absolute path", word);
}

static bool
parse_place(struct qp *q, const char *word, struct qp_peer_at *out)
{
    static const struct {
        const char *prefix;
        bool (*parse)(struct qp *q, const char *word, struct qp_peer_at *out);
    } kinds[] = {{"inet:", parse_inet}, {"inet6:", parse_inet}, {"unix:", parse_path},
        {"local:", parse_path}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t n = strlen(kinds[i].prefix);

        if (strncmp(word, kinds[i].prefix, n) == 0)
            return kinds[i].parse(q, word + n, out);
    }
    if (word[0] == '/')
        return parse_path(q, word, out);
    return parse_host_port(q, word, out);
}

bool
milter_conf_init(struct qp *q, int argc, const char *const argv[])
{
    struct milter_conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    struct milter_times *t = &c->times;
    const char *where = NULL;
    bool keep = false;

    *t = (struct milter_times){5000, 30000, 30000, 300000, 540000};
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {"name", .positional = true, .required = true, .text = &c->name},
                {"where", .positional = true, .required = true, .text = &where},
                {"on_error", .choice = &c->on_error, .choices = "tempfail reject accept"},
                {"quarantine", .choice = &c->on_quarantine, .choices = "tempfail reject mark"},
                {"connect_timeout", .duration_ms = &t->connect_ms, .min = 1, .max = 3600},
                {"write_timeout", .duration_ms = &t->write_ms, .min = 1, .max = 3600},
                {"read_timeout", .duration_ms = &t->read_ms, .min = 1, .max = 3600},
                {"end_timeout", .duration_ms = &t->end_ms, .min = 1, .max = 3600},
                {"total_timeout", .duration_ms = &t->total_ms, .min = 1, .max = 3600},
                {"keep", .flag = &keep},
                {"daemon_name", .text = &c->daemon_name},
                {0},
            }) ||
        !parse_place(q, where, &c->place))
        return false;
    if (keep) {
        c->kept = qp_alloc(q, QP_INSTANCE, sizeof *c->kept);
        c->kept->fd = -1;
    }
    return true;
}
