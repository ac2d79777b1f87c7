/*
 * ident/geoip - from which country, and from whose network, does the client come?
 *
 *   plugins file:   ident/geoip [option value ...]
 *     db_dir DIR         default /usr/local/share/GeoIP; in it GeoLite2-City.mmdb or, without that,
 *                        GeoLite2-Country.mmdb; and GeoLite2-ASN.mmdb. At least one must be there
 *     distance IP        our own address: how far away is the client? Needs the City database
 *     too_far KM         1..20040: who is farther away loses one karma
 *     add_headers BOOL   default true
 *   hook connect:   sets the connection notes geoip_country, geoip_country_name, geoip_continent,
 *                   geoip_city, geoip_distance (km), geoip_asn; always QP_DECLINED
 *   hook data_post: with add_headers, replaces X-GeoIP-Country, -Continent, -City and -ASN; always
 *                   QP_DECLINED
 *
 * Source: r356 (note geoip_country), 1.00 (the rest), read with libmaxminddb. The databases are
 * mapped in init: children share the pages. A client on the loopback is not looked up, and fields
 * of its mail stay: our own first pass wrote them. All others lose theirs even when nothing is
 * known about the client, or whoever says X-GeoIP-Country first would be believed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <maxminddb.h>
#include <string.h>
#include <unistd.h>

#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

#define DB_DIR       "/usr/local/share/GeoIP"
#define EARTH_RADIUS 6378  /* km, as 1.00 */
#define HALF_WAY     20040 /* km: nobody is farther away */
#define VALUE_MAX    200   /* bytes of a text that are used */

struct place {
    double latitude, longitude; /* degrees */
};

struct conf {
    const MMDB_s *city; /* or country; NULL: none */
    const MMDB_s *asn;  /* NULL: none */
    bool add_headers;
    bool measure; /* home is set */
    struct place home;
    int too_far; /* km; 0: nothing is */
};

static const struct field {
    const char *note;
    const char *path[4]; /* into the record, ends with NULL */
} fields[] = {
    {"geoip_country", {"country", "iso_code"}},
    {"geoip_country_name", {"country", "names", "en"}},
    {"geoip_continent", {"continent", "code"}},
    {"geoip_city", {"city", "names", "en"}},
};

static const char *const asn_path[] = {"autonomous_system_number", NULL};

static const struct {
    const char *field, *note;
} headers[] = {
    {"X-GeoIP-Country", "geoip_country"},
    {"X-GeoIP-Continent", "geoip_continent"},
    {"X-GeoIP-City", "geoip_city"},
    {"X-GeoIP-ASN", "geoip_asn"},
};

static bool
is_loopback(const char *ip)
{
    return strncmp(ip, "127.", 4) == 0 || strcmp(ip, "::1") == 0;
}

/* ---- databases ---- */

static void
close_database(void *db)
{
    MMDB_close(db);
}

/* *out stays NULL when there is no such file. false: it is there, and is no database. */
static bool
open_database(struct qp *q, const char *dir, const char *name, const MMDB_s **out)
{
    const char *path = qp_printf(q, QP_INSTANCE, "%s/%s", dir, name);
    MMDB_s *db = qp_alloc(q, QP_INSTANCE, sizeof *db);
    int status;

    if (access(path, F_OK) < 0 && errno == ENOENT)
        return true;
    status = MMDB_open(path, MMDB_MODE_MMAP, db);
    if (status != MMDB_SUCCESS)
        return qp_fail(q, "%s: %s", path,
            status == MMDB_IO_ERROR || status == MMDB_FILE_OPEN_ERROR ? strerror(errno)
                                                                      : MMDB_strerror(status));
    qp_at_end(q, QP_INSTANCE, close_database, db);
    *out = db;
    return true;
}

/* The record of an address; false: there is none. ip is what qp_remote_ip() gives, or our own. */
static bool
find_record(struct qp *q, const MMDB_s *db, const char *ip, MMDB_entry_s *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    const void *address = &v4;
    MMDB_lookup_result_s found;
    int status;

    if (!db)
        return false;
    if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
        address = &v6;
    else if (inet_pton(AF_INET, ip, &v4.sin_addr) != 1)
        return false;
    found = MMDB_lookup_sockaddr(db, address, &status);
    if (status != MMDB_SUCCESS && status != MMDB_IPV6_LOOKUP_IN_IPV4_DATABASE_ERROR)
        qp_log(q, QP_LOG_ERROR, "lookup failed database=%s error=\"%s\"", db->filename,
            MMDB_strerror(status));
    *out = found.entry;
    return status == MMDB_SUCCESS && found.found_entry;
}

static bool
get_value(MMDB_entry_s *record, const char *const path[], uint32_t type, MMDB_entry_data_s *out)
{
    return MMDB_aget_value(record, out, path) == MMDB_SUCCESS && out->has_data && out->type == type;
}

static bool
get_place(MMDB_entry_s *record, struct place *out)
{
    static const char *const latitude[] = {"location", "latitude", NULL};
    static const char *const longitude[] = {"location", "longitude", NULL};
    MMDB_entry_data_s value;

    if (!get_value(record, latitude, MMDB_DATA_TYPE_DOUBLE, &value))
        return false;
    out->latitude = value.double_value;
    if (!get_value(record, longitude, MMDB_DATA_TYPE_DOUBLE, &value))
        return false;
    out->longitude = value.double_value;
    return true;
}

/* The way along the surface, in km; the formula of haversines is exact for short ways, too. */
static double
distance(const struct place *a, const struct place *b)
{
    double rad = M_PI / 180;
    double north = sin((b->latitude - a->latitude) * rad / 2);
    double east = sin((b->longitude - a->longitude) * rad / 2);
    double h = north * north + cos(a->latitude * rad) * cos(b->latitude * rad) * east * east;

    return 2 * EARTH_RADIUS * asin(fmin(1, sqrt(h)));
}

/* ---- handlers ---- */

static bool
set_home(struct qp *q, struct conf *c, const char *ip)
{
    MMDB_entry_s record;

    if (!find_record(q, c->city, ip, &record) || !get_place(&record, &c->home))
        return qp_fail(q, "distance: %s has no place in %s; give an address of ours that has one",
            ip, c->city ? c->city->filename : "GeoLite2-City.mmdb, which is not there");
    c->measure = true;
    return true;
}

static bool
on_init(struct qp *q, int argc, const char *const argv[])
{
    struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
    const char *dir = DB_DIR, *home = NULL;

    c->add_headers = true;
    qp_instance_set(q, c);
    if (!qp_args(q, argc, argv,
            (const struct qp_arg[]){
                {.name = "db_dir", .text = &dir},
                {.name = "distance", .text = &home},
                {.name = "too_far", .number = &c->too_far, .min = 1, .max = HALF_WAY},
                {.name = "add_headers", .flag = &c->add_headers},
                {0},
            }) ||
        !open_database(q, dir, "GeoLite2-City.mmdb", &c->city) ||
        (!c->city && !open_database(q, dir, "GeoLite2-Country.mmdb", &c->city)) ||
        !open_database(q, dir, "GeoLite2-ASN.mmdb", &c->asn))
        return false;
    if (!c->city && !c->asn)
        return qp_fail(q,
            "no GeoLite2-City.mmdb, GeoLite2-Country.mmdb or GeoLite2-ASN.mmdb in %s: get them "
            "with geoipupdate, or set db_dir",
            dir);
    if (c->too_far > 0 && !home)
        return qp_fail(q, "too_far: say from where, with `distance IP`");
    return !home || set_home(q, c, home);
}

static void
note(struct qp *q, const char *name, const char *text)
{
    qp_note_set(q, QP_CONNECTION, name, text);
    qp_log(q, QP_LOG_DEBUG, "%s=%s", name, text);
}

/* Who reads the note may print it. */
static void
note_text(struct qp *q, const char *name, const MMDB_entry_data_s *value)
{
    int n = value->data_size < VALUE_MAX ? (int)value->data_size : VALUE_MAX;
    char *text = qp_printf(q, QP_CONNECTION, "%.*s", n, value->utf8_string);

    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == '\177')
            *p = '?';
    if (*text)
        note(q, name, text);
}

static void
note_distance(struct qp *q, const struct conf *c, MMDB_entry_s *record)
{
    struct place place;
    double km;

    if (!c->measure || !get_place(record, &place))
        return;
    km = round(distance(&c->home, &place));
    note(q, "geoip_distance", qp_printf(q, QP_CONNECTION, "%.0f", km));
    if (c->too_far == 0 || km <= c->too_far)
        return;
    qp_note_add(q, QP_CONNECTION, "karma", -1);
    qp_log(q, QP_LOG_NOTICE, "too far away distance=%.0f max=%d", km, c->too_far);
}

static enum qp_rc
on_connect(struct qp *q)
{
    const struct conf *c = qp_instance(q);
    const char *ip = qp_remote_ip(q), *country;
    MMDB_entry_data_s value;
    MMDB_entry_s record;

    if (is_loopback(ip))
        return QP_DECLINED;
    if (find_record(q, c->city, ip, &record)) {
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            if (get_value(&record, fields[i].path, MMDB_DATA_TYPE_UTF8_STRING, &value))
                note_text(q, fields[i].note, &value);
        note_distance(q, c, &record);
    }
    if (find_record(q, c->asn, ip, &record) &&
        get_value(&record, asn_path, MMDB_DATA_TYPE_UINT32, &value))
        note(q, "geoip_asn", qp_printf(q, QP_CONNECTION, "%u", value.uint32));
    country = qp_note(q, QP_CONNECTION, "geoip_country");
    if (country)
        qp_log(q, QP_LOG_NOTICE, "GeoIP Country: %s", country);
    return QP_DECLINED;
}

/* Text for a field: what is not ASCII as an encoded word (RFC 2047). */
static const char *
field_text(struct qp *q, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = qp_alloc(q, QP_TRANSACTION, strlen(text) * 3 + 1), *o = out;
    bool ascii = true;

    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == ' ') {
            *o++ = '_';
        } else if (c < 128 && !strchr("=?_", c)) {
            *o++ = *p;
        } else {
            ascii = ascii && c < 128;
            *o++ = '=';
            *o++ = hex[c >> 4];
            *o++ = hex[c & 15];
        }
    }
    return ascii ? text : qp_printf(q, QP_TRANSACTION, "=?UTF-8?Q?%s?=", out);
}

static enum qp_rc
on_data_post(struct qp *q)
{
    const struct conf *c = qp_instance(q);

    if (!c->add_headers || is_loopback(qp_remote_ip(q)))
        return QP_DECLINED;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        const char *text = qp_note(q, QP_CONNECTION, headers[i].note);

        qp_header_delete_all(q, headers[i].field);
        if (text)
            qp_header_prepend(q, headers[i].field, field_text(q, text));
    }
    return QP_DECLINED;
}

QP_PLUGIN(.name = "ident/geoip", .init = on_init, .connect = on_connect, .data_post = on_data_post);
