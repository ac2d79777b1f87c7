#include "mail/received.h"

#include <stdlib.h>
#include <string.h>

#include "net/connection.h"

#define NAME_MAX_BYTES 255 /* a domain name; RFC 5321, 4.5.3.1.2 */
#define INFO_MAX_BYTES 511 /* user@domain */
#define WORD_MAX_BYTES 64

static void
two_digits(char *at, long n)
{
    at[0] = (char)('0' + n / 10 % 10);
    at[1] = (char)('0' + n % 10);
}

/* Not strftime, which would speak the locale's language; and printf takes as long for it as for all the
 * rest of the header. */
static const char *
date(struct arena *a, time_t now)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char *text = arena_dup(a, STR("Sun, 22 Nov 2026 14:41:29 +0000"));
    struct tm tm = {.tm_mday = 1};
    long minutes;

    localtime_r(&now, &tm);
    minutes = labs(tm.tm_gmtoff) / 60;
    memcpy(text, days[tm.tm_wday], 3);
    two_digits(text + 5, tm.tm_mday);
    memcpy(text + 8, months[tm.tm_mon], 3);
    two_digits(text + 12, (tm.tm_year + 1900) / 100);
    two_digits(text + 14, (tm.tm_year + 1900) % 100);
    two_digits(text + 17, tm.tm_hour);
    two_digits(text + 20, tm.tm_min);
    two_digits(text + 23, tm.tm_sec);
    text[26] = tm.tm_gmtoff < 0 ? '-' : '+';
    two_digits(text + 27, minutes / 60);
    two_digits(text + 29, minutes % 60);
    return text;
}

const char *
received_protocol(unsigned with)
{
    static const char *const names[] = {
        [RECEIVED_EHLO] = "ESMTP",
        [RECEIVED_EHLO | RECEIVED_TLS] = "ESMTPS",
        [RECEIVED_EHLO | RECEIVED_AUTH] = "ESMTPA",
        [RECEIVED_EHLO | RECEIVED_TLS | RECEIVED_AUTH] = "ESMTPSA",
    };

    return with & RECEIVED_EHLO ? names[with] : "SMTP";
}

const char *
received_value(struct arena *a, const struct received_facts *facts)
{
    const char *indent = "    ", *auth = "", *tls = "";

    if (facts->auth_user) {
        indent = "  ";
        auth = arena_printf(a, "  (smtp-auth username %s, mechanism %s)\n",
            connection_safe(a, facts->auth_user, NAME_MAX_BYTES),
            connection_safe(a, facts->auth_mechanism, WORD_MAX_BYTES));
    }
    if (facts->cipher[0])
        tls = arena_printf(a, " (%s %s encrypted)",
            connection_safe(a, facts->tls_version, WORD_MAX_BYTES),
            connection_safe(a, facts->cipher, WORD_MAX_BYTES));
    return arena_printf(a,
        "from %s (HELO %s) (%s)\n"
        "%s"
        "%sby %s (qpsmtpd/%s) with %s%s; %s",
        connection_safe(a, facts->remote_info, INFO_MAX_BYTES),
        connection_safe(a, facts->hello_host, NAME_MAX_BYTES),
        connection_safe(a, facts->remote_ip, WORD_MAX_BYTES), auth, indent,
        connection_safe(a, facts->me, NAME_MAX_BYTES),
        connection_safe(a, facts->version, WORD_MAX_BYTES), facts->protocol, tls,
        date(a, facts->now));
}
