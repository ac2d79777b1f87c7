#include "mail/authres.h"

#include "net/connection.h"

#define FIELD STR("Authentication-Results")

/* White space of any kind: a reader that is more generous than RFC 5322 shall not be fooled either.
 */
static bool
is_space(char c)
{
    return c == ' ' || ascii_control(c);
}

/* Behind the comment that s begins with; comments nest. The end, when it is not closed. */
static struct str
skip_comment(struct str s)
{
    size_t depth = 0, i = 0;

    for (; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n)
            i++;
        else if (s.p[i] == '(')
            depth++;
        else if (s.p[i] == ')' && --depth == 0)
            return str_from(s, i + 1);
    }
    return str_from(s, s.n);
}

static struct str
skip_cfws(struct str s)
{
    while (s.n > 0 && (is_space(s.p[0]) || s.p[0] == '('))
        s = s.p[0] == '(' ? skip_comment(s) : str_from(s, 1);
    return s;
}

/* Does s begin with the word id, in quotes, in part in quotes, or without? */
static bool
word_is(struct str s, struct str id)
{
    bool quoted = false;
    size_t matched = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && is_space(c)) /* folds, and what an unfolding reader may drop */
            continue;
        if (!quoted && (is_space(c) || c == '(' || c == ';'))
            break;
        if (quoted && c == '\\' && i + 1 < s.n)
            c = s.p[++i];
        if (matched == id.n || ascii_lower(c) != ascii_lower(id.p[matched]))
            return false;
        matched++;
    }
    return matched == id.n;
}

static bool
claims(const struct header_field *f, struct str our_id)
{
    struct str value = f->raw;
    struct str name = str_trim(str_cut(&value, ':'));

    return str_ieq(name, FIELD) && word_is(skip_cfws(value), our_id);
}

/* RFC 8601, 2.2: pvalue is a token, or local-part "@" domain-name, or else in quotes */
static bool
is_pvalue(const char *safe)
{
    size_t at = 0;

    for (const char *p = safe; *p; p++) {
        at += *p == '@';
        if (strchr("/:=[]?", *p))
            return false;
    }
    return *safe && at <= 1;
}

size_t
authres_strip(struct header *h, struct str our_id)
{
    size_t removed = 0;

    for (size_t i = header_count(h); i-- > 0;)
        if (claims(header_at(h, i), our_id) && header_remove(h, i))
            removed++;
    return removed;
}

const char *
authres_auth(struct arena *a, enum authres_auth result, const char *mechanism, const char *user)
{
    const char *safe, *quote;

    if (result == AUTHRES_NONE)
        return "auth=none";
    safe = connection_safe(a, user, 255);
    quote = is_pvalue(safe) ? "" : "\"";
    return arena_printf(a, "auth=%s (%s) smtp.auth=%s%s%s",
        result == AUTHRES_PASS ? "pass" : "fail", connection_safe(a, mechanism, 64), quote, safe,
        quote);
}

const char *
authres_value(struct arena *a, const char *id, const char *auth, const char *items)
{
    const char *safe = connection_safe(a, id, 255);

    if (!items || !*items)
        return arena_printf(a, "%s; %s", safe, auth);
    return arena_printf(a, "%s; %s;\n\t%s", safe, auth, items);
}
