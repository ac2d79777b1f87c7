#include "edits.h"

#include <string.h>

#include <qpsmtpd/body.h>
#include <qpsmtpd/header.h>
#include <qpsmtpd/plugin.h>

struct milter_edit {
    uint8_t letter;
    uint32_t index;
    const char *name, *value;         /* of a field */
    const struct qp_address *address; /* of all others */
    struct milter_edit *next;
};

bool
milter_is_edit(uint8_t letter)
{
    return letter && strchr("+-2behimq", letter);
}

bool
milter_edits_any(const struct milter_edits *e)
{
    return e->n > 0 || e->body || e->quarantine;
}

/* ---- collecting ---- */

/* RFC 5322, 3.6.8 */
static bool
is_field_name(const char *name)
{
    if (!*name)
        return false;
    for (; *name; name++)
        if (*name <= 0x20 || *name >= 0x7f || *name == ':')
            return false;
    return true;
}

static const struct qp_address *
parse_address(struct qp *q, const char *text)
{
    if (text[0] != '<')
        text = qp_printf(q, QP_TRANSACTION, "<%s>", text);
    return qp_address_parse(q, QP_TRANSACTION, text);
}

static const char *
take_field(struct qp *q, struct milter_edits *e, struct milter_edit *edit,
    const struct milter_packet *packet)
{
    const char *value = packet->value ? packet->value : "";

    if (!is_field_name(packet->name))
        return "a field with a name that is none";
    edit->index = packet->index;
    edit->name = qp_strdup(q, QP_TRANSACTION, packet->name);
    edit->value = qp_printf(q, QP_TRANSACTION, "%s%s", e->exact || !*value ? "" : " ", value);
    e->fields++;
    return NULL;
}

static const char *
take_address(struct qp *q, struct milter_edits *e, struct milter_edit *edit,
    const struct milter_packet *packet)
{
    edit->address = parse_address(q, packet->name);
    if (!edit->address || (!*edit->address->address && edit->letter != MILTER_CHANGE_SENDER))
        return "an address that is none";
    if (packet->value && *packet->value)
        qp_log(q, QP_LOG_INFO, "no queue plugin knows ESMTP parameters: address=%s params=%s",
            edit->address->format, packet->value);
    e->addresses++;
    return NULL;
}

static bool
put(struct milter_edits *e, const uint8_t *p, size_t n)
{
    if (n > 0)
        e->last_byte = p[n - 1];
    return n == 0 || qp_body_put(e->body, p, n);
}

/* CR LF becomes LF; a CR alone stays. A piece may end between the two. */
static bool
put_lines(struct milter_edits *e, const uint8_t *p, size_t n)
{
    while (n > 0) {
        const uint8_t *cr = memchr(p, '\r', n);
        size_t until = cr ? (size_t)(cr - p) : n;

        if (e->cr && *p != '\n' && !put(e, (const uint8_t *)"\r", 1))
            return false;
        if (!put(e, p, until))
            return false;
        e->cr = cr != NULL;
        p += until + (cr != NULL);
        n -= until + (cr != NULL);
    }
    return true;
}

static const char *
take_body(struct qp *q, struct milter_edits *e, const struct milter_packet *packet)
{
    if (!e->body) {
        e->body = qp_body_draft(q);
        e->last_byte = '\n';
    }
    if (!e->body || !put_lines(e, packet->bytes, packet->n))
        return "a new body that cannot be kept";
    return NULL;
}

static const char *
take_edit(struct qp *q, struct milter_edits *e, const struct milter_packet *packet)
{
    size_t bytes = strlen(packet->name) + (packet->value ? strlen(packet->value) : 0);
    struct milter_edit *edit;
    const char *wrong;

    if (e->n == MILTER_EDITS_MAX || bytes > MILTER_EDIT_BYTES_MAX - e->bytes)
        return "more edits than anybody needs";
    edit = qp_alloc(q, QP_TRANSACTION, sizeof *edit);
    edit->letter = packet->letter;
    wrong = packet->letter == MILTER_ADD_FIELD || packet->letter == MILTER_INSERT_FIELD ||
                    packet->letter == MILTER_CHANGE_FIELD
                ? take_field(q, e, edit, packet)
                : take_address(q, e, edit, packet);
    if (wrong)
        return wrong;
    if (!e->last)
        e->last = &e->first;
    *e->last = edit;
    e->last = &edit->next;
    e->n++;
    e->bytes += bytes;
    return NULL;
}

const char *
milter_edits_take(struct qp *q, struct milter_edits *e, const struct milter_packet *packet)
{
    if (packet->letter == MILTER_REPLACE_BODY)
        return take_body(q, e, packet);
    if (packet->letter == MILTER_QUARANTINE) {
        e->quarantine = qp_strdup(q, QP_TRANSACTION, packet->name);
        return NULL;
    }
    return take_edit(q, e, packet);
}

/* ---- doing ---- */

/*
 * As Sendmail does it: what a milter changes are the fields that it was shown, so our own Received
 * does not count; 0 means 1; an empty value deletes; what is not there is appended.
 */
static void
change_field(struct qp *q, const struct milter_edit *edit)
{
    size_t i = edit->index > 0 ? edit->index - 1 : 0;
    size_t line;

    if (strcasecmp(edit->name, "Received") == 0)
        i++;
    line = qp_header_line_find(q, edit->name, i);
    if (line != SIZE_MAX && *edit->value)
        qp_header_line_replace(q, line, edit->value);
    else if (line != SIZE_MAX)
        qp_header_line_delete(q, line);
    else if (*edit->value)
        qp_header_line_insert(q, SIZE_MAX, edit->name, edit->value);
}

static void
add_rcpt(struct qp *q, const struct qp_address *to)
{
    for (size_t i = 0; i < qp_rcpt_count(q); i++)
        if (strcmp(qp_rcpt(q, i)->address, to->address) == 0)
            return;
    qp_rcpt_add(q, to);
}

static void
apply(struct qp *q, const struct milter_edit *edit)
{
    switch (edit->letter) {
    case MILTER_ADD_FIELD:
        qp_header_line_insert(q, SIZE_MAX, edit->name, edit->value);
        break;
    case MILTER_INSERT_FIELD: /* among all fields, our own Received included (Sendmail) */
        qp_header_line_insert(q, edit->index, edit->name, edit->value);
        break;
    case MILTER_CHANGE_FIELD:
        change_field(q, edit);
        break;
    case MILTER_ADD_RCPT:
    case MILTER_ADD_RCPT_PARAMS:
        add_rcpt(q, edit->address);
        break;
    case MILTER_DELETE_RCPT:
        qp_rcpt_remove(q, edit->address->address);
        break;
    case MILTER_CHANGE_SENDER:
        qp_sender_set(q, edit->address);
        break;
    default:
        break;
    }
}

/* The bytes that are still due: a last CR, and the end of a last line. */
static bool
finish_body(struct milter_edits *e)
{
    if (e->cr && !put(e, (const uint8_t *)"\r", 1))
        return false;
    e->cr = false;
    return e->last_byte == '\n' || put(e, (const uint8_t *)"\n", 1);
}

const char *
milter_edits_apply(struct qp *q, struct milter_edits *e)
{
    if (e->body && (!finish_body(e) || !qp_body_replace(q, e->body)))
        return "a new body that cannot be kept";
    for (const struct milter_edit *edit = e->first; edit; edit = edit->next)
        apply(q, edit);
    return NULL;
}
