/*
 * base/clock - time as this project uses it: int64_t milliseconds of the monotonic clock
 */
#ifndef QPSMTPD_BASE_CLOCK_H
#define QPSMTPD_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_NEVER INT64_MAX

/* clock_ms - milliseconds since some fixed moment; never goes back */
int64_t clock_ms(void);

/* clock_left - milliseconds until deadline for poll(2): 0 when it has passed, -1 for CLOCK_NEVER */
int clock_left(int64_t deadline);

#endif
