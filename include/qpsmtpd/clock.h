/*
 * qpsmtpd/clock.h - deadlines
 */
#ifndef QPSMTPD_CLOCK_H
#define QPSMTPD_CLOCK_H

#include <stdint.h>

/* qp_clock_ms - milliseconds since some fixed moment; never goes back, whatever is done to the time of
 * day */
int64_t qp_clock_ms(void);

#endif
