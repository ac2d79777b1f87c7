#include "dsn.h"

#include <string.h>
#include <strings.h>

#define PLACE(field) offsetof(struct sql_place, field)

static const struct key {
    const struct sql_backend *backend; /* NULL: all of them */
    const char *name;
    size_t place;
    const char *choices; /* words between blanks; NULL: any text */
} keys[] = {
    {NULL, "dbname", PLACE(database), NULL},
    {NULL, "database", PLACE(database), NULL},
    {NULL, "db", PLACE(database), NULL},
    {NULL, "host", PLACE(host), NULL},
    {NULL, "port", PLACE(port), NULL},
    {&sql_mysql, "hostname", PLACE(host), NULL},
    {&sql_mysql, "mysql_socket", PLACE(socket), NULL},
    {&sql_mysql, "mysql_ssl", PLACE(tls), " 0 1 "},
    {&sql_mysql, "mysql_ssl_ca_file", PLACE(ca_file), NULL},
    {&sql_pgsql, "sslmode", PLACE(tls), " disable allow prefer require verify-ca verify-full "},
    {&sql_pgsql, "sslrootcert", PLACE(ca_file), NULL},
};

static const struct sql_backend *
find_backend(const char *driver)
{
    static const struct sql_backend *const backends[] = {&sql_mysql, &sql_pgsql};

    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (strcasecmp(driver, backends[i]->driver) == 0)
            return backends[i];
    return NULL;
}

static const struct key *
find_key(const struct sql_backend *b, const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if ((!keys[i].backend || keys[i].backend == b) && strcmp(name, keys[i].name) == 0)
            return &keys[i];
    return NULL;
}

/* Is it one of the words? */
static bool
is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    const char *at = strstr(choices, value);

    while (n > 0 && at && (at[-1] != ' ' || at[n] != ' '))
        at = strstr(at + 1, value);
    return n > 0 && at && !strchr(value, ' ');
}

static bool
is_port(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    unsigned n = 0;

    if (value[digits] != '\0' || digits == 0 || digits > 5)
        return false;
    for (; *value; value++)
        n = n * 10 + (unsigned)(*value - '0');
    return n >= 1 && n <= 65535;
}

/* One word of it: key=value, or the name of the database alone. Gives what is wrong, or NULL. */
static const char *
set(const struct sql_backend *b, const char *word, const char *value, struct sql_place *place)
{
    const struct key *k = find_key(b, value ? word : "dbname");
    const char *text = value ? value : word;

    if (!k)
        return "the driver does not know this word";
    if (!*text)
        return "its value is empty";
    if (k->choices ? !is_choice(k->choices, text) : k->place == PLACE(port) && !is_port(text))
        return "that is no value for it";
    memcpy((char *)place + k->place, &text, sizeof text);
    return NULL;
}

const struct sql_backend *
sql_dsn_parse(char *dsn, struct sql_place *place, const char **why, const char **what)
{
    char *rest = dsn, *prefix = strsep(&rest, ":"), *driver = rest ? strsep(&rest, ":") : NULL;
    const struct sql_backend *b = driver ? find_backend(driver) : NULL;

    *what = dsn;
    *why = "write dbi:mysql:dbname=... or dbi:Pg:dbname=...";
    if (!b || !rest || strcasecmp(prefix, "dbi") != 0)
        return NULL;
    for (char *word; (word = strsep(&rest, ";")) != NULL;) {
        char *value = word;

        *what = strsep(&value, "=");
        if (!*word && !value) /* dbi:mysql:;host=... */
            continue;
        *why = set(b, word, value, place);
        if (*why)
            return NULL;
    }
    return b;
}
