#include "links.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define CARRY 512 /* may be kept for what comes next, so that no name is cut in two */

static bool
is_label_char(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

static bool
is_name_char(char c)
{
    return is_label_char(c) || c == '.' || (c & 0x80);
}

/* text[0] .. text[n - 1] are characters of names: give the end of it, if that is a name. What stands
 * in front of an empty or an 8-bit label does not matter: domains are read from their end. */
static void
take_name(struct links *l, const char *text, size_t n)
{
    char name[LINKS_HOST_MAX + 1];
    const char *end, *start;
    size_t length;

    while (n > 0 && (text[n - 1] == '.' || text[n - 1] == '-'))
        n--;
    end = start = text + n;
    while (start > text && (size_t)(end - start) < LINKS_HOST_MAX &&
           (is_label_char(start[-1]) || (start[-1] == '.' && *start != '.')))
        start--;
    if (start > text && start[-1] != '.') /* the first label is not whole */
        while (start < end && *start != '.')
            start++;
    start += start < end && *start == '.';
    length = (size_t)(end - start);
    for (size_t i = 0; i < length; i++)
        name[i] = (char)tolower((unsigned char)start[i]);
    name[length] = '\0';
    if (strchr(name, '.'))
        l->found(l->data, name, false);
}

/* What stands behind "://": decimal, octal and hexadecimal forms are all one to a browser, and to
 * inet_aton(3). 0.0.0.0/8 are no hosts. */
static void
take_address(struct links *l, const char *text, size_t n)
{
    char host[LINKS_HOST_MAX + 1], ip[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    struct in_addr v4;
    char *at;

    n = n < sizeof host ? n : sizeof host - 1;
    memcpy(host, text, n);
    host[n] = '\0';
    host[strcspn(host, "/?#\\<>\"' ")] = '\0';
    at = strrchr(host, '@');
    at = at ? at + 1 : host;
    if (*at == '[') {
        at[strcspn(at, "]")] = '\0';
        if (inet_pton(AF_INET6, at + 1, &v6) == 1)
            l->found(l->data, inet_ntop(AF_INET6, &v6, ip, sizeof ip), true);
        return;
    }
    at[strcspn(at, ":")] = '\0';
    if (isdigit((unsigned char)*at) && inet_aton(at, &v4) && ntohl(v4.s_addr) >> 24)
        l->found(l->data, inet_ntop(AF_INET, &v4, ip, sizeof ip), true);
}

/* ---- text as a browser reads it ---- */

/* One character that was written in another way. Dots of other scripts are dots in a host name;
 * what cannot be seen is not there; nothing else beyond ASCII matters. */
static size_t
put_code(char *out, unsigned long code)
{
    if (code == 0xad || (code >= 0x200b && code <= 0x200d) || code == 0xfeff)
        return 0;
    if (code == 0x3002 || code == 0xff0e || code == 0xff61)
        code = '.';
    *out = code < ' ' || code == 127 ? ' ' : code < 128 ? (char)code : (char)0x80;
    return 1;
}

/* "&#46;" "&#x2e" "&period;": how many bytes that is; 0: none of them */
static size_t
read_entity(const char *p, unsigned long *code)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {
        {"&period;", '.'}, {"&sol;", '/'}, {"&colon;", ':'}, {"&commat;", '@'}, {"&amp;", '&'}};
    bool hex = p[1] == '#' && (p[2] | 32) == 'x';
    const char *digits = p + (hex ? 3 : 2);
    char *end;

    if (p[1] == '#' && isxdigit((unsigned char)*digits)) {
        *code = strtoul(digits, &end, hex ? 16 : 10);
        return end == digits ? 0 : (size_t)(end - p) + (*end == ';');
    }
    for (size_t i = 0; i < sizeof entities / sizeof *entities; i++)
        if (strncmp(p, entities[i].name, strlen(entities[i].name)) == 0) {
            *code = (unsigned long)entities[i].c;
            return strlen(entities[i].name);
        }
    return 0;
}

static int
hex_digit(char c)
{
    return isdigit((unsigned char)c)    ? c - '0'
           : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10
                                        : -1;
}

/* Three bytes of UTF-8, 0x0800 on; how many, or 0 */
static size_t
read_utf8(const char *p, unsigned long *code)
{
    const unsigned char *u = (const unsigned char *)p;

    if (u[0] == 0xc2 && u[1] == 0xad) {
        *code = 0xad;
        return 2;
    }
    if ((u[0] & 0xf0) != 0xe0 || (u[1] & 0xc0) != 0x80 || (u[2] & 0xc0) != 0x80)
        return 0;
    *code = (unsigned long)(u[0] & 15) << 12 | (unsigned long)(u[1] & 63) << 6 | (u[2] & 63);
    return 3;
}

/* In place, as text only becomes shorter; text is NUL-terminated. Gives the new length. */
static size_t
decode_text(char *text, size_t n)
{
    size_t out = 0;

    for (size_t i = 0; i < n;) {
        unsigned long code = (unsigned char)text[i];
        size_t used = 0;

        if (text[i] == '%' && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            code =
                (unsigned long)hex_digit(text[i + 1]) * 16 + (unsigned long)hex_digit(text[i + 2]);
            used = 3;
        } else if (text[i] == '&') {
            used = read_entity(text + i, &code);
        } else if (text[i] & 0x80) {
            used = read_utf8(text + i, &code);
        }
        i += used ? used : 1;
        out += put_code(text + out, code);
    }
    text[out] = '\0';
    return out;
}

static void
search(struct links *l, char *text, size_t n)
{
    const char *end;

    text[n] = '\0';
    n = decode_text(text, n);
    end = text + n;
    for (const char *p = text; (p = strstr(p, "://")); p += 3)
        take_address(l, p + 3, (size_t)(end - p) - 3);
    for (const char *p = text; p < end; p++) {
        const char *start = p;

        while (p < end && is_name_char(*p))
            p++;
        take_name(l, start, (size_t)(p - start));
    }
}

/* Within a line, a last piece without a blank waits for its rest. */
static void
search_so_far(struct links *l, bool whole)
{
    char kept[CARRY];
    size_t keep = 0;

    while (!whole && keep < CARRY && keep < l->n && (unsigned char)l->text[l->n - keep - 1] > ' ')
        keep++;
    if (keep == CARRY)
        keep = 0; /* no URL that anybody could read */
    memcpy(kept, l->text + l->n - keep, keep);
    l->seen += l->n - keep;
    search(l, l->text, l->n - keep);
    memcpy(l->text, kept, keep);
    l->n = keep;
}

void
links_put(struct links *l, char c)
{
    l->text[l->n++] = c == '\0' ? ' ' : c;
    if (c == '\n' || l->n == LINKS_ROOM)
        search_so_far(l, c == '\n');
}
