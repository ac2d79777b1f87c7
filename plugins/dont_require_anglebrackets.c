/*
 * dont_require_anglebrackets - let MAIL FROM:user@host pass where brackets are required
 *
 *   plugins file: dont_require_anglebrackets
 *   hooks mail_pre, rcpt_pre: QP_OK with <address> for one without brackets, and 2 off the note
 *                             karma; else QP_DECLINED
 *
 * From 1.00. Only of use with the configuration file require_angle_brackets, and for karma.
 */
#include <string.h>

#include <qpsmtpd/plugin.h>

static enum qp_rc
on_pre(struct qp *q, const char *address)
{
    size_t n = strlen(address);

    if (n == 0 || (address[0] == '<' && address[n - 1] == '>'))
        return QP_DECLINED;
    qp_note_add(q, QP_CONNECTION, "karma", -2);
    return qp_ok(q, "<%s>", address);
}

QP_PLUGIN(.name = "dont_require_anglebrackets", .mail_pre = on_pre, .rcpt_pre = on_pre);
