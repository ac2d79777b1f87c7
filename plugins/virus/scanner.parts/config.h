/*
 * The line of config/plugins, under any of its names, as virus/scanner uses it.
 */
#ifndef SCANNER_CONFIG_H
#define SCANNER_CONFIG_H

#include <qpsmtpd/plugin.h>
#include <qpsmtpd/regex.h>
#include <qpsmtpd/virus.h>

#include "product.h"

#define WORDS_MAX 64

struct conf {
    const struct product *product;
    struct reading reading;
    struct qp_virus virus;
    const char *bin, *socket;
    const char *dir;              /* NULL: spool_dir */
    const char *words[WORDS_MAX]; /* arguments; the last one is NULL */
    bool deny_locked, scan_all;
    int on_error; /* tempfail, accept */
    int by_name;  /* the file has one */
    int mode;     /* 600, 640, 644 */
    uint64_t max_size;
    int64_t timeout_ms;
    const struct qp_address *bcc;
    const struct qp_regex **deny; /* which names are refused; the last one is NULL. NULL: all */
};

/* conf_read - in init; c is zeroed. false: qp_fail() was called */
bool conf_read(struct qp *q, struct conf *c, int argc, const char *const argv[]);

#endif
