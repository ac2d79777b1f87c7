#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <qpsmtpd/plugin.h>

#include "template.h"

enum key {
    BASE,
    HOST,
    PORT,
    URI,
    TIMEOUT,
    ATTRIBUTE,
    FILTER,
    TEMPLATE,
    BIND_DN,
    BIND_PASSWORD,
    STARTTLS,
    CA_FILE,
    KEYS,
};

static const char *const keys[KEYS] = {
    [BASE] = "ldap_base",
    [HOST] = "ldap_host",
    [PORT] = "ldap_port",
    [URI] = "ldap_uri",
    [TIMEOUT] = "ldap_timeout",
    [ATTRIBUTE] = "ldap_auth_filter_attr",
    [FILTER] = "ldap_filter",
    [TEMPLATE] = "ldap_dn_template",
    [BIND_DN] = "ldap_bind_dn",
    [BIND_PASSWORD] = "ldap_bind_password",
    [STARTTLS] = "ldap_starttls",
    [CA_FILE] = "ldap_ca_file",
};

/* What was given, and where; text NULL: nothing. */
struct given {
    const char *text;
    const struct qp_line *line; /* NULL: as an argument */
};

/* ---- reading ---- */

static bool
fail_about(struct qp *q, const struct given *g, enum key k, const char *why)
{
    if (g->line)
        return qp_fail_at(q, g->line, "%s: %s", keys[k], why);
    return qp_fail(q, "%s: %s", keys[k], why);
}

static bool
read_line(struct qp *q, const struct qp_line *line, struct given given[KEYS])
{
    char *key = qp_strdup(q, QP_INSTANCE, line->text), *value = key + strcspn(key, " \t");
    size_t blanks = strspn(value, " \t");

    memset(value, '\0', blanks);
    for (size_t i = 0; i < KEYS; i++) {
        if (strcmp(key, keys[i]) != 0)
            continue;
        if (given[i].text)
            return qp_fail_at(q, line, "%s is there twice", key);
        given[i] = (struct given){value + blanks, line};
        return value[blanks] != '\0' || qp_fail_at(q, line, "%s: its value is missing", key);
    }
    return qp_fail_at(q, line, "there is no setting \"%s\": see auth_ldap_bind(7)", key);
}

static bool
read_file(struct qp *q, struct given given[KEYS])
{
    struct qp_lines lines = qp_config_lines(q, "ldap");

    for (size_t i = 0; i < lines.n; i++)
        if (!read_line(q, &lines.line[i], given))
            return false;
    return true;
}

static bool
read_arguments(struct qp *q, int argc, const char *const argv[], struct given given[KEYS])
{
    struct qp_arg args[KEYS + 1] = {{0}};
    const char *text[KEYS] = {NULL};

    for (size_t i = 0; i < KEYS; i++)
        args[i] = (struct qp_arg){.name = keys[i], .text = &text[i]};
    if (!qp_args(q, argc, argv, args))
        return false;
    for (size_t i = 0; i < KEYS; i++)
        if (text[i])
            given[i] = (struct given){text[i], NULL};
    return true;
}

/* ---- their meaning ---- */

static bool
number(struct qp *q, const struct given given[KEYS], enum key k, int max, int *out)
{
    const char *text = given[k].text;
    size_t digits = text ? strspn(text, "0123456789") : 0;
    long n;

    if (!text)
        return true;
    n = digits > 0 && digits < 6 && text[digits] == '\0' ? strtol(text, NULL, 10) : 0;
    *out = (int)n;
    if (n >= 1 && n <= max)
        return true;
    return fail_about(
        q, &given[k], k, qp_printf(q, QP_INSTANCE, "\"%s\" is no number from 1 to %d", text, max));
}

static bool
flag(struct qp *q, const struct given *g, enum key k, bool *out)
{
    static const char *const words[2][4] = {
        {"0", "no", "off", "false"}, {"1", "yes", "on", "true"}};

    for (int value = 0; g->text && value < 2; value++)
        for (size_t i = 0; i < 4; i++)
            if (strcasecmp(g->text, words[value][i]) == 0) {
                *out = value;
                return true;
            }
    return !g->text || fail_about(q, g, k, "it is neither 0 nor 1 (no, yes)");
}

/* Each word of it: a scheme that libldap knows. */
static bool
check_uri(struct qp *q, const struct given *g)
{
    static const char *const schemes[] = {"ldap://", "ldaps://", "ldapi://"};

    for (const char *word = g->text; *word; word += strspn(word, " ")) {
        bool known = false;

        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
            known = known || strncmp(word, schemes[i], strlen(schemes[i])) == 0;
        if (!known)
            return fail_about(q, g, URI, "write ldap://HOST, ldaps://HOST or ldapi://SOCKET");
        word += strcspn(word, " ");
    }
    return true;
}

static bool
set_place(struct qp *q, struct settings *out, const struct given given[KEYS])
{
    const char *host = given[HOST].text ? given[HOST].text : "127.0.0.1";
    bool v6 = strchr(host, ':') && host[0] != '[';
    int port = 389;

    if (!number(q, given, PORT, 65535, &port) || !number(q, given, TIMEOUT, 60, &out->timeout) ||
        !flag(q, &given[STARTTLS], STARTTLS, &out->starttls))
        return false;
    if (given[URI].text && (given[HOST].text || given[PORT].text))
        return fail_about(
            q, &given[URI], URI, "there are ldap_host or ldap_port, too: use one of them");
    if (strpbrk(host, " /"))
        return fail_about(q, &given[HOST], HOST, "that is no host");
    out->uri = given[URI].text;
    if (!out->uri)
        out->uri = qp_printf(q, QP_INSTANCE, v6 ? "ldap://[%s]:%d" : "ldap://%s:%d", host, port);
    else if (!check_uri(q, &given[URI]))
        return false;
    if (out->starttls && strstr(out->uri, "ldaps://"))
        return fail_about(
            q, &given[STARTTLS], STARTTLS, "ldaps:// is encrypted from the beginning");
    out->ca_file = given[CA_FILE].text;
    return true;
}

/* An attribute's name, or its number (RFC 4512, 1.4). */
static bool
is_attribute(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') &&
            *p != '-' && *p != '.')
            return false;
    return *text != '\0';
}

static bool
set_search(struct qp *q, struct settings *out, const struct given given[KEYS])
{
    const struct given *f = &given[FILTER];
    const char *attribute = given[ATTRIBUTE].text ? given[ATTRIBUTE].text : "uid";

    if (!given[BASE].text)
        return qp_fail(q, "ldap_base is missing: write it into the file ldap, "
                          "\"ldap_base ou=people,dc=example,dc=com\"");
    if (!is_attribute(attribute))
        return fail_about(q, &given[ATTRIBUTE], ATTRIBUTE, "that is no name of an attribute");
    if (f->text && (!template_check(f->text) || f->text[0] != '('))
        return fail_about(q, f, FILTER, "write a filter with %u, %d or %m, (mail=%m)");
    out->base = given[BASE].text;
    out->filter = f->text ? f->text : qp_printf(q, QP_INSTANCE, "(%s=%%u)", attribute);
    return true;
}

static bool
set_template(struct qp *q, struct settings *out, const struct given given[KEYS])
{
    static const enum key others[] = {BASE, ATTRIBUTE, FILTER, BIND_DN};
    const struct given *g = &given[TEMPLATE];

    if (!template_check(g->text) || !strchr(g->text, '='))
        return fail_about(q, g, TEMPLATE, "write a name with %u, %d or %m, uid=%u,o=%d");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (given[others[i]].text)
            return fail_about(q, &given[others[i]], others[i],
                "with ldap_dn_template nothing is searched: leave it out");
    out->template = g->text;
    return true;
}

static bool
set_searcher(struct qp *q, struct settings *out, const struct given given[KEYS])
{
    const struct given *password = &given[BIND_PASSWORD];
    struct stat st;

    out->bind_dn = given[BIND_DN].text;
    out->bind_password = password->text;
    if (!out->bind_dn != !password->text)
        return qp_fail(q, "ldap_bind_dn and ldap_bind_password belong together");
    if (!password->text)
        return true;
    if (!password->line)
        return fail_about(q, password, BIND_PASSWORD, "write it into the file ldap");
    if (stat(password->line->file, &st) == 0 && (st.st_mode & S_IROTH) != 0)
        return qp_fail_at(q, password->line, "everybody can read this password: chmod o-rwx %s",
            password->line->file);
    return true;
}

bool
settings_read(struct qp *q, int argc, const char *const argv[], struct settings *out)
{
    struct given given[KEYS] = {{0}};

    *out = (struct settings){.timeout = 5};
    return read_file(q, given) && read_arguments(q, argc, argv, given) &&
           set_place(q, out, given) &&
           (given[TEMPLATE].text ? set_template(q, out, given) : set_search(q, out, given)) &&
           set_searcher(q, out, given);
}
