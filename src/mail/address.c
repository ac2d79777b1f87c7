#include "mail/address.h"

#include "net/ip.h"

struct mailbox {
    struct str user; /* unquoted */
    struct str host;
};

/* RFC 5322, 3.2.3: what needs no quotes; the dot stands between atoms, but see is_plain_local() */
static bool
is_atom(char c)
{
    return ascii_alnum(c) || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

static bool
is_plain(char c)
{
    return is_atom(c) || c == '.';
}

/* foo..bar, foo. and .foo are mailboxes of real mobile carriers: dots may stand anywhere. */
static bool
is_plain_local(struct str user)
{
    for (size_t i = 0; i < user.n; i++)
        if (!is_plain(user.p[i]))
            return false;
    return user.n > 0;
}

/* As qpsmtpd in Perl: only the first byte is looked at; but '>' always ends a path. */
static bool
is_lenient_local(struct str user)
{
    return user.n > 0 && is_plain(user.p[0]) && str_find(user, '>') == user.n;
}

static bool
is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    return true;
}

/* Letters, digits, and inside also hyphens; underscores are no host name but are in use. */
static bool
is_label(struct str label)
{
    if (label.n == 0 || !ascii_alnum(label.p[0]) || !ascii_alnum(label.p[label.n - 1]))
        return false;
    for (size_t i = 1; i + 1 < label.n; i++)
        if (!ascii_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
            return false;
    return true;
}

/* RFC 5321, 4.1.3: [192.0.2.1] and [IPv6:2001:db8::1] */
static bool
is_literal(struct str host)
{
    const struct str tag = STR("IPv6:");
    struct str inside = {host.p + 1, host.n - 2};
    bool tagged = str_istarts(inside, tag);
    struct ip ip;

    if (tagged)
        inside = str_from(inside, tag.n);
    return tagged == (str_find(inside, ':') < inside.n) && ip_parse(inside, &ip);
}

static bool
is_domain(struct str host)
{
    if (host.n == 0 || host.n > ADDRESS_DOMAIN_MAX)
        return false;
    if (host.p[0] == '[')
        return host.n > 2 && host.p[host.n - 1] == ']' && is_literal(host);
    if (host.p[host.n - 1] == '.') /* str_cut does not show an empty last label */
        return false;
    while (host.n > 0)
        if (!is_label(str_cut(&host, '.')))
            return false;
    return true;
}

/*
 * Take "@a,@b:" from the front. Routes mean nothing since 1989, but are to be understood (RFC 5321,
 * appendix C). false: it begins like one and is none.
 */
static bool
skip_route(struct str *path)
{
    while (path->n > 0 && path->p[0] == '@') {
        struct str host = str_from(*path, 1);
        size_t literal = host.n > 0 && host.p[0] == '[' ? str_find(host, ']') : 0; /* has colons */
        size_t end = literal;

        while (end < host.n && host.p[end] != ',' && host.p[end] != ':')
            end++;
        if (end == host.n || !is_domain((struct str){host.p, end}))
            return false;
        *path = str_from(host, end + 1);
        if (host.p[end] == ':')
            return true;
        if (path->n == 0 || path->p[0] != '@')
            return false;
    }
    return true;
}

/* "local part"@host */
static bool
split_quoted(struct arena *a, struct str path, struct mailbox *out)
{
    char *user = arena_alloc(a, path.n);
    size_t n = 0, i = 1;

    for (; i < path.n && path.p[i] != '"'; i++) {
        if (path.p[i] == '\\' && ++i == path.n)
            return false;
        user[n++] = path.p[i];
    }
    if (n == 0 || i + 1 >= path.n || path.p[i + 1] != '@')
        return false;
    *out = (struct mailbox){{user, n}, str_from(path, i + 2)};
    return true;
}

static bool
split_plain(struct str path, unsigned rules, struct mailbox *out)
{
    const char *at = memrchr(path.p, '@', path.n);

    if (!at)
        return false;
    out->user = (struct str){path.p, (size_t)(at - path.p)};
    out->host = str_from(path, out->user.n + 1);
    return rules & ADDRESS_LENIENT ? is_lenient_local(out->user) : is_plain_local(out->user);
}

/* list-@host-@[]: an ordinary mailbox with qmail's mark behind it */
static bool
is_verp(struct str path)
{
    const struct str mark = STR("-@[]");
    struct mailbox inner;

    if (path.n <= mark.n || memcmp(path.p + path.n - mark.n, mark.p, mark.n) != 0)
        return false;
    path.n -= mark.n;
    return split_plain(path, ADDRESS_STRICT, &inner) && is_domain(inner.host);
}

/* The local part as a peer can parse it: as it is, or in quotes with a backslash before each
 * special. */
static size_t
format_local(char *out, struct str user)
{
    size_t n = 0;

    if (is_plain_local(user)) {
        memcpy(out, user.p, user.n);
        return user.n;
    }
    out[n++] = '"';
    for (size_t i = 0; i < user.n; i++) {
        if (!is_plain(user.p[i]))
            out[n++] = '\\';
        out[n++] = user.p[i];
    }
    out[n++] = '"';
    return n;
}

static const char *
join_parts(struct arena *a, struct str user, struct str host)
{
    char *address = arena_alloc(a, user.n + 1 + host.n + 1);

    memcpy(address, user.p, user.n);
    address[user.n] = '@';
    memcpy(address + user.n + 1, host.p, host.n);
    return address;
}

static struct qp_address *
parts_new(struct arena *a, struct str user, struct str host)
{
    struct qp_address *new = arena_alloc(a, sizeof *new);

    new->user = arena_dup(a, user);
    new->host = arena_dup(a, host);
    new->address = host.n ? join_parts(a, user, host) : new->user;
    return new;
}

const struct qp_address *
address_new(struct arena *a, struct str user, struct str host)
{
    struct qp_address *new = parts_new(a, user, host);
    char *format = arena_alloc(a, 2 * user.n + host.n + sizeof "<\"\"@>");
    size_t n = 0;

    format[n++] = '<';
    if (user.n > 0)
        n += format_local(format + n, user);
    if (host.n > 0) {
        format[n++] = '@';
        memcpy(format + n, host.p, host.n);
        n += host.n;
    }
    format[n] = '>';
    new->format = format;
    return new;
}

static const struct qp_address *
verp_new(struct arena *a, struct str path)
{
    const struct str host = STR("[]");
    struct qp_address *new = parts_new(a, (struct str){path.p, path.n - host.n - 1}, host);

    new->format = arena_printf(a, "<%s>", new->address);
    return new;
}

const struct qp_address *
address_parse(struct arena *a, struct str text, unsigned rules)
{
    const struct qp_address *new;
    struct mailbox box;
    struct str path;

    if (text.n < 2 || text.p[0] != '<' || text.p[text.n - 1] != '>')
        return NULL;
    path = (struct str){text.p + 1, text.n - 2};
    if (path.n > ADDRESS_PATH_MAX || !is_printable(path) || !skip_route(&path))
        return NULL;
    if (path.n == 0 || str_eq(path, STR("#@[]")))
        return address_new(a, STR(""), STR(""));
    if (str_ieq(path, STR("postmaster"))) /* RFC 5321, 4.5.1 */
        return address_new(a, path, STR(""));
    if ((rules & ADDRESS_VERP) && is_verp(path))
        return verp_new(a, path);
    if (path.p[0] == '"' ? !split_quoted(a, path, &box) : !split_plain(path, rules, &box))
        return NULL;
    if (!is_domain(box.host))
        return NULL;
    new = address_new(a, box.user, box.host);
    /* Quoting makes it longer; whom we hand it to has the same limit. */
    return strlen(new->format) <= ADDRESS_PATH_MAX + 2 ? new : NULL;
}

const struct qp_address *
address_copy(struct arena *a, const struct qp_address *from)
{
    struct qp_address *copy = arena_alloc(a, sizeof *copy);

    copy->address = arena_dup(a, str_of(from->address));
    copy->user = arena_dup(a, str_of(from->user));
    copy->host = arena_dup(a, str_of(from->host));
    copy->format = arena_dup(a, str_of(from->format));
    return copy;
}

bool
address_eq(const struct qp_address *a, const struct qp_address *b)
{
    return strcmp(a->user, b->user) == 0 && str_ieq(str_of(a->host), str_of(b->host));
}
