/*
 * qpsmtpd/header.h - the header fields of the message, from data_headers_end on
 *
 * Fields keep their order and every byte unless one of the functions below changes them. Names
 * match without case, and end before blanks in front of the colon, which RFC 5322, 4.5, lets readers
 * accept. Values are what follows the colon, without the blanks in front, folding kept (LF and blank);
 * NUL bytes are shown as '?'. Lines of the header that are no fields stay in the message and are not
 * reachable by name. Texts are valid until the end of the transaction.
 */
#ifndef QPSMTPD_HEADER_H
#define QPSMTPD_HEADER_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/* qp_header_get - value of the i-th field of that name, from 0, from the top; NULL: there is none
 */
const char *qp_header_get(struct qp *q, const char *name, size_t i);
size_t qp_header_count(struct qp *q, const char *name);

/* qp_header_field - the i-th of all fields; false when i is too large */
bool qp_header_field(struct qp *q, size_t i, const char **name, const char **value);

/*
 * qp_header_add - append below all others; qp_header_prepend - put above all others
 *
 * value    a line break in it (LF) is made a fold: what follows gets a TAB unless it begins with a
 *          blank; other control bytes become '?'. A name that is no field name (RFC 5322, 3.6.8) is
 *          refused: false, and nothing was added.
 */
bool qp_header_add(struct qp *q, const char *name, const char *value);
bool qp_header_prepend(struct qp *q, const char *name, const char *value);

/* qp_header_replace - new value for the i-th of that name; false when there is none */
bool qp_header_replace(struct qp *q, const char *name, size_t i, const char *value);
/* qp_header_delete - the i-th of that name; qp_header_delete_all - all; how many went */
bool qp_header_delete(struct qp *q, const char *name, size_t i);
size_t qp_header_delete_all(struct qp *q, const char *name);
/* qp_header_delete_begin - all whose name begins so, "X-Virus-"; how many went */
size_t qp_header_delete_begin(struct qp *q, const char *begin);

/* ---- byte for byte: for who signs, checks signatures, or numbers all fields ---- */

struct qp_header_line {
    const char *name; /* "": a line that is no field */
    const char
        *value;    /* all that follows the colon, blanks and folds too, without the last LF; of a
                          line that is no field all of it */
    size_t length; /* of value, which may hold NUL bytes */
};

/* qp_header_line - the i-th of all, from 0, from the top, lines that are no fields included; false
 * when i is too large. Lives as long as the command. */
bool qp_header_line(struct qp *q, size_t i, struct qp_header_line *out);

/* qp_header_line_find - which of all is the i-th field of that name; SIZE_MAX: there is none */
size_t qp_header_line_find(struct qp *q, const char *name, size_t i);

/*
 * qp_header_line_insert - put a field above the i-th; SIZE_MAX: below all
 *
 * value    begins right behind the colon: " text". Otherwise as for qp_header_add().
 */
bool qp_header_line_insert(struct qp *q, size_t i, const char *name, const char *value);
/* qp_header_line_replace, qp_header_line_delete - the i-th of all; false when there is none, or no
 * value to be replaced in a line that is no field */
bool qp_header_line_replace(struct qp *q, size_t i, const char *value);
bool qp_header_line_delete(struct qp *q, size_t i);

#endif
