/*
 * qpsmtpd/client.h - watch the client's socket without reading from it
 */
#ifndef QPSMTPD_CLIENT_H
#define QPSMTPD_CLIENT_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

enum qp_early {
    QP_EARLY_NO,     /* silent until the time was over */
    QP_EARLY_TALKS,  /* bytes have arrived that nobody asked for */
    QP_EARLY_HANGUP, /* it closed the connection */
};

/*
 * qp_client_wait - wait until the client sends something, at most wait_ms milliseconds
 *
 * Replies that are due are sent before. What arrives stays unread. 0 only looks.
 */
enum qp_early qp_client_wait(struct qp *q, int64_t wait_ms);

#endif
