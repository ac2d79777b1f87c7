/*
 * mail/header - the header section: fields in order, byte for byte
 *
 * Owns   the list of fields; a field is its raw text with every fold and its final LF
 * Uses   base
 * Keep   fields that nobody asked to change are written out exactly as they came, lines that are
 *        no fields included; nothing that is added can break out of its field
 */
#ifndef QPSMTPD_MAIL_HEADER_H
#define QPSMTPD_MAIL_HEADER_H

#include <sys/uio.h>

#include "base/arena.h"

struct header;

struct header_field {
    struct str raw;  /* all of it, LF line ends, the last one included */
    struct str name; /* view into raw, without blanks before the colon; n is 0 for a line that is no
                        field */
};

struct header *header_new(struct arena *a);

/*
 * header_parse - append the fields of a block of lines
 *
 * text     complete lines that end in LF, without the empty separator line; borrowed as long as the
 *          header lives. A first line "From …" (mbox) is renamed to "Mail-From: …", as qpsmtpd did.
 *          A line that begins with a blank belongs to the line above, field or not; with no line
 *          above, it is a line that is no field.
 */
void header_parse(struct header *h, struct str text);

#define HEADER_LINE_MAX 998 /* bytes; RFC 5322, 2.1.1 */

/*
 * header_fields - how many bytes of text are fields, before the first line that is none
 *
 * A last line without LF may still become one, unless it is longer than HEADER_LINE_MAX already.
 */
size_t header_fields(struct str text);

size_t header_count(const struct header *h);
const struct header_field *header_at(const struct header *h, size_t i); /* NULL: i is too large */

/* header_find - the i-th field of that name, case ignored; its index in *index when not NULL */
const struct header_field *header_find(
    const struct header *h, struct str name, size_t i, size_t *index);
size_t header_count_of(const struct header *h, struct str name);

/* header_hops - how many servers have passed it on: its Received and Delivered-To fields */
size_t header_hops(const struct header *h);

/* header_text - all that follows the colon, the last LF included; view into raw. Of a line that is no
 * field: all of it. */
struct str header_text(const struct header_field *f);

/* header_value - what follows the colon, without leading blanks and the last LF; folds are kept,
 * NUL bytes become '?'. NUL-terminated copy in the arena. Of a line that is no field: all of it. */
const char *header_value(const struct header *h, const struct header_field *f);

/*
 * header_insert - put a new field at index i (0: top; SIZE_MAX: bottom)
 *
 * value    LF becomes a fold (LF TAB unless a blank follows); lines of blanks alone are left out,
 *          because some readers take them for the end of the header; CR is dropped; other control
 *          bytes but TAB become '?'
 * returns  false: name is no field name (RFC 5322, 3.6.8)
 */
bool header_insert(struct header *h, size_t i, struct str name, struct str value);
/* header_insert_exact - the same, but value begins right behind the colon: " text". The other puts a
 * blank there. */
bool header_insert_exact(struct header *h, size_t i, struct str name, struct str value);
/* header_replace, header_remove - by index; false when i is too large, and there is no value to be
 * replaced in a line that is no field */
bool header_replace(struct header *h, size_t i, struct str value);
bool header_replace_exact(struct header *h, size_t i, struct str value);
bool header_remove(struct header *h, size_t i);
/* header_remove_all - all fields of that name; header_remove_begin - all whose name begins so; case
 * ignored; how many these were */
size_t header_remove_all(struct header *h, struct str name);
size_t header_remove_begin(struct header *h, struct str begin);

uint64_t header_size(const struct header *h); /* bytes of all raw texts */

#endif
