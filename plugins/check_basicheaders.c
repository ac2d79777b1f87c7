/*
 * check_basicheaders - the fields that every message must have, and a Date that can be true
 *
 *   plugins file:   check_basicheaders [DAYS] [option value ...]         (r356)
 *                   headers [DAYS] [option value ...]                    (1.00)
 *     DAYS          1..36500: past DAYS future DAYS require From,Date. As check_basicheaders, words that
 *                   are no options behind it are passed over, with a warning
 *     require LIST  names separated by commas; default From,Date, as headers From
 *     past DAYS, future DAYS    1..36500, default: not looked at
 *     reject 0|1|naughty, reject_type ...      <qpsmtpd/reject.h>, default 1 perm
 *   hook data_post: the failures below, else QP_DECLINED. A Date that nobody can read is no
 * failure. Only as headers: fields that may stand once (RFC 5322, 3.6) and a required From must
 *                   hold an address; immune clients need only send a message; each failure costs karma.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>
#include <qpsmtpd/reject.h>

#define DAY      86400
#define DAYS_MAX 36500

/* What the two releases say. */
struct texts {
    const char *no_data, *no_header, *past, *future;
    const char *missing[2]; /* before and after the field's name */
};

static const struct texts texts_r356 = {
    .no_data = "You have to send some data first",
    .missing = {"Mail with no ", " header not accepted here"},
    .past = "The Date in the header was too far in the past",
    .future = "The Date in the header was too far in the future",
};

static const struct texts texts_100 = {
    .no_data = "You must send some data first",
    .no_header = "Headers are missing",
    .missing = {"We require a valid ", " header"},
    .past = "The Date header is too far in the past",
    .future = "The Date header is too far in the future",
};

struct conf {
    const struct texts *texts;
    bool strict;           /* loaded as headers */
    const char **required; /* ends with NULL */
    int past, future;      /* days; 0: any */
    struct qp_reject reject;
};

/* ---- dates: RFC 5322, 3.3 and 4.3, comments anywhere, names in any case ---- */

static const struct {
    const char *name;
    int hours;
} zones[] = {
    {"UT", 0},
    {"UTC", 0},
    {"GMT", 0},
    {"EDT", -4},
    {"EST", -5},
    {"CDT", -5},
    {"CST", -6},
    {"MDT", -6},
    {"MST", -7},
    {"PDT", -7},
    {"PST", -8},
    {"Z", 0},
};

static const char *
skip_blank(const char *p)
{
    int depth = 0;

    for (; *p; p++) {
        if (*p == '(')
            depth++;
        else if (*p == ')' && depth > 0)
            depth--;
        else if (depth > 0 && *p == '\\' && p[1])
            p++;
        else if (depth == 0 && !strchr(" \t\r\n", *p))
            break;
    }
    return p;
}

/* A number of 1 to `digits` digits; how many there were. */
static int
read_number(const char **p, int digits, int *out)
{
    int n = 0;

    *p = skip_blank(*p);
    for (*out = 0; n < digits && isdigit((unsigned char)**p); n++)
        *out = *out * 10 + *(*p)++ - '0';
    return isdigit((unsigned char)**p) ? 0 : n;
}

static bool
read_char(const char **p, char c)
{
    *p = skip_blank(*p);
    if (**p != c)
        return false;
    ++*p;
    return true;
}

/* A word of letters, cut to fit; its length. */
static size_t
read_word(const char **p, char *out, size_t room)
{
    size_t n = 0;

    for (*p = skip_blank(*p); isalpha((unsigned char)**p); ++*p)
        if (n < room - 1)
            out[n++] = **p;
    out[n] = '\0';
    return n;
}

static bool
read_month(const char **p, int *out)
{
    static const char *const months[] = {
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"};
    char word[16];

    if (read_word(p, word, sizeof word) < 3)
        return false;
    for (*out = 0; *out < 12; ++*out)
        if (strncasecmp(word, months[*out], 3) == 0)
            return true;
    return false;
}

static bool
read_year(const char **p, int *out)
{
    int digits = read_number(p, 4, out);

    if (digits == 2)
        *out += *out < 50 ? 2000 : 1900;
    else if (digits == 3)
        *out += 1900;
    return digits >= 2 && *out >= 1900;
}

/* Seconds east of Greenwich. Military letters say nothing reliable (RFC 5322, 4.3), nor does
 * nothing. */
static bool
read_zone(const char **p, int *out)
{
    char word[16];
    int sign, hhmm;

    *out = 0;
    *p = skip_blank(*p);
    if (**p == '+' || **p == '-') {
        sign = *(*p)++ == '-' ? -1 : 1;
        if (read_number(p, 4, &hhmm) != 4 || hhmm % 100 > 59)
            return false;
        *out = sign * (hhmm / 100 * 3600 + hhmm % 100 * 60);
        return true;
    }
    read_word(p, word, sizeof word);
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        if (strcasecmp(word, zones[i].name) == 0)
            *out = zones[i].hours * 3600;
    return true;
}

/*
 * date_parse - the value of a Date field
 *
 * out      seconds since the epoch, written when the result is true
 */
static bool
date_parse(const char *p, int64_t *out)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct tm tm = {0};
    char weekday[16];
    int zone;

    if (read_word(&p, weekday, sizeof weekday) > 0)
        read_char(&p, ','); /* which day it was is not believed, and some write no comma */
    if (!read_number(&p, 2, &tm.tm_mday) || !read_month(&p, &tm.tm_mon) ||
        !read_year(&p, &tm.tm_year))
        return false;
    if (!read_number(&p, 2, &tm.tm_hour) || !read_char(&p, ':') || !read_number(&p, 2, &tm.tm_min))
        return false;
    if (read_char(&p, ':') && !read_number(&p, 2, &tm.tm_sec))
        return false;
    if (!read_zone(&p, &zone) || tm.tm_mday < 1 || tm.tm_mday > days[tm.tm_mon] ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year -= 1900;
    *out = timegm(&tm) - zone;
    return true;
}

/* ---- checks: each gives the first thing that is wrong, or NULL ---- */

/* An @ outside of comments and quoted strings: "From: somebody" and "From: <>" name nobody. */
static bool
has_address(const char *value)
{
    bool quoted = false;

    for (const char *p = value; *p; p++) {
        if (!quoted && *p == '(') {
            p = skip_blank(p);
            if (!*p)
                break;
        }
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '"')
            quoted = !quoted;
        else if (*p == '@' && !quoted)
            return true;
    }
    return false;
}

/* Is there a field that is not of the kind we have just put on top ourselves? */
static bool
has_header(struct qp *q)
{
    const char *name, *value;

    for (size_t i = 0; qp_header_field(q, i, &name, &value); i++)
        if (strcasecmp(name, "Received") != 0 && strcasecmp(name, "Authentication-Results") != 0)
            return true;
    return false;
}

static const char *
check_required(struct qp *q, const struct conf *c)
{
    for (const char **name = c->required; *name; name++) {
        const char *value = qp_header_get(q, *name, 0);

        if (!value || (c->strict && strcasecmp(*name, "From") == 0 && !has_address(value)))
            return qp_printf(
                q, QP_TRANSACTION, "%s%s%s", c->texts->missing[0], *name, c->texts->missing[1]);
    }
    return NULL;
}

static const char *
check_single(struct qp *q)
{
    static const char *const names[] = {"Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc",
        "Message-Id", "In-Reply-To", "References", "Subject"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (qp_header_count(q, names[i]) > 1)
            return qp_printf(q, QP_TRANSACTION,
                "Only one %s header allowed. See RFC 5322, Section 3.6", names[i]);
    return NULL;
}

static const char *
check_date(struct qp *q, const struct conf *c)
{
    const char *value = qp_header_get(q, "Date", 0);
    int64_t date, now = time(NULL);

    if (!value || !date_parse(value, &date))
        return NULL;
    if (c->past > 0 && date < now - (int64_t)c->past * DAY)
        return c->texts->past;
    if (c->future > 0 && date > now + (int64_t)c->future * DAY)
        return c->texts->future;
    return NULL;
}

/* Is there a message at all? Not even whitelisted clients may send none (1.00). */
static const char *
check_presence(struct qp *q, const struct conf *c)
{
    if (qp_body_size(q) == 0 && !(c->strict && has_header(q)))
        return c->texts->no_data;
    return c->strict && !has_header(q) ? c->texts->no_header : NULL;
}

static const char *
first_failure(struct qp *q, const struct conf *c)
{
    const char *text = check_presence(q, c);

    if (text || (c->strict && qp_immune(q)))
        return text;
    if ((text = check_required(q, c)) || (c->strict && (text = check_single(q))))
        return text;
    return check_date(q, c);
}

/* ---- handlers ---- */

/* "From,Date": the commas become the ends of the names. */
static const char **
split_names(struct qp *q, const char *list)
{
    char *text = qp_strdup(q, QP_INSTANCE, list);
    const char **names = qp_alloc(q, QP_INSTANCE, (strlen(list) + 2) * sizeof *names);
    size_t n = 0;

    for (char *name, *rest = text; (name = strsep(&rest, ","));)
        if (*name)
            names[n++] = name;
    return names;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *require = NULL;
    int days = 0;
    const struct qp_arg args[] = {
        {.name = "days", .positional = true, .number = &days, .min = 1, .max = DAYS_MAX},
        {.name = "require", .text = &require},
        {.name = "past", .number = &c->past, .min = 1, .max = DAYS_MAX},
        {.name = "future", .number = &c->future, .min = 1, .max = DAYS_MAX},
        QP_REJECT_ARGS(&c->reject),
        {0},
    };

    c->strict = strncmp(qp_plugin_name(q), "headers", 7) == 0;
    c->texts = c->strict ? &texts_100 : &texts_r356;
    c->reject = QP_REJECT_DEFAULT;
    if (!qp_args(q, c->strict ? argc : qp_args_leading(q, argc, argv, args), argv, args))
        return false;
    if (c->past == 0)
        c->past = days;
    if (c->future == 0)
        c->future = days;
    if (!require)
        require = c->strict && days == 0 ? "From" : "From,Date";
    c->required = split_names(q, require);
    qp_instance_set(q, c);
    return true;
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *text = first_failure(q, c);

    if (!text)
        return QP_DECLINED;
    if (c->strict)
        qp_note_add(q, QP_CONNECTION, "karma", -1);
    return qp_reject(q, &c->reject, text);
}

QP_PLUGIN(.name = "check_basicheaders", .init = on_init, .data_post = on_data_post);
