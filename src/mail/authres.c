#include "mail/authres.h"

#include "net/connection.h"

#define FIELD STR("Authentication-Results")

/*
 * How a reader may understand a comment. Who forges a field writes it for the reader with the fewest
 * rules, so all of them are tried, and one that finds our name is enough.
 */
struct reading {
    bool nested, escapes;
};

static const struct reading readings[] = {
    {true, true}, /* RFC 5322, 3.2.2 */
    {true, false},
    {false, true},
    {false, false},
};

/* White space of any kind: a reader that is more generous than RFC 5322 shall not be fooled either.
 */
static bool
is_space(char c)
{
    return c == ' ' || ascii_control(c);
}

static bool
is_foreign(char c)
{
    return (unsigned char)c >= 0x80;
}

/* Behind the comment that s begins with. The end, when it is not closed. */
static struct str
skip_comment(struct str s, struct reading r)
{
    size_t depth = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (r.escapes && s.p[i] == '\\' && i + 1 < s.n)
            i++;
        else if (s.p[i] == '(' && (r.nested || depth == 0))
            depth++;
        else if (s.p[i] == ')' && --depth == 0)
            return str_from(s, i + 1);
    }
    return str_from(s, s.n);
}

/* Behind blanks, folds and comments. *joins: a reader that drops folds or comments, or obeys RFC 822,
 * sees no gap there. */
static struct str
skip_cfws(struct str s, struct reading r, bool *joins)
{
    while (s.n > 0 && (is_space(s.p[0]) || s.p[0] == '(')) {
        *joins = *joins || (s.p[0] != ' ' && s.p[0] != '\t');
        s = s.p[0] == '(' ? skip_comment(s, r) : str_from(s, 1);
    }
    *joins = *joins || (s.n > 0 && s.p[0] == '.');
    return s;
}

/*
 * Bytes of 8 bits may be mapped to ours (IDNA: other forms of letters and dots), or to nothing. So the
 * name is ours when what stands around them is: what is before has been compared, this compares the
 * rest of the word behind the last of them.
 */
static bool
rest_fits(struct str s, struct str id)
{
    struct str rest = {s.p, 0};

    for (size_t i = 0; i < s.n && !is_space(s.p[i]) && !strchr(";(\"", s.p[i]); i++)
        rest = is_foreign(s.p[i]) ? (struct str){s.p + i + 1, 0} : (struct str){rest.p, rest.n + 1};
    return str_iends(id, rest);
}

/* Does s begin with the word id, in quotes, in part in quotes, or without? With the dot of the root of
 * the DNS, too. */
static bool
word_is(struct str s, struct str id, struct reading r)
{
    bool quoted = false;
    size_t matched = 0;
    char c = '\0';

    while (s.n > 0) {
        if (!quoted && (is_space(s.p[0]) || s.p[0] == '(')) {
            bool joins = c == '.';

            s = skip_cfws(s, r, &joins);
            if (matched >= id.n || !joins)
                break;
            continue;
        }
        if (!quoted && s.p[0] == ';')
            break;
        if (is_foreign(s.p[0]))
            return rest_fits(s, id);
        if (s.p[0] == '"')
            quoted = !quoted;
        if (s.p[0] == '"' || is_space(s.p[0])) { /* a fold, which an unfolding reader may drop */
            s = str_from(s, 1);
            continue;
        }
        if (s.p[0] == '\\' && s.n > 1)
            s = str_from(s, 1);
        c = s.p[0];
        if (matched < id.n ? ascii_lower(c) != ascii_lower(id.p[matched])
                           : matched > id.n || c != '.')
            return false;
        matched++;
        s = str_from(s, 1);
    }
    return matched >= id.n;
}

/* A field, from its name on */
static bool
claims(struct str raw, struct str our_id)
{
    struct str value = raw;
    struct str name = str_trim(str_cut(&value, ':'));
    struct str begin = {value.p, str_find(value, ';')};
    bool unused = false;

    if (!str_ieq(name, FIELD))
        return false;
    /* An encoded word (RFC 2047) may be decoded before the field is parsed, and hold anything. In a
     * name, or in front of it, it has no other use. */
    if (memmem(begin.p, begin.n, "=?", 2))
        return true;
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++)
        if (word_is(skip_cfws(value, readings[i], &unused), our_id, readings[i]))
            return true;
    return false;
}

/* Is there one in the field for who takes a CR alone for the end of a line? Whose it says it is does
 * not matter: nobody writes such a thing in good faith. */
static bool
hides_one(struct str raw)
{
    for (str_cut(&raw, '\r'); raw.n > 0; str_cut(&raw, '\r')) {
        size_t blanks = 0;

        while (blanks < raw.n && (raw.p[blanks] == ' ' || raw.p[blanks] == '\t'))
            blanks++;
        if (str_istarts(str_from(raw, blanks), FIELD))
            return true;
    }
    return false;
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

    for (size_t i = header_count(h); i-- > 0;) {
        struct str raw = header_at(h, i)->raw;

        if ((claims(raw, our_id) || hides_one(raw)) && header_remove(h, i))
            removed++;
    }
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
