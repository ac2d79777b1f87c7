/*
 * qpsmtpd/args.h - the words behind the plugin's name, read by the host
 *
 *     static bool
 *     on_init(struct qp *q, int argc, const char *const argv[])
 *     {
 *         struct conf *c = qp_alloc(q, QP_INSTANCE, sizeof *c);
 *
 *         c->wait_ms = 1000;
 *         qp_instance_set(q, c);
 *         return qp_args(q, argc, argv, (const struct qp_arg[]){
 *             {"wait", .duration_ms = &c->wait_ms, .max = 60},
 *             {"action", .choice = &c->action, .choices = "deny denysoft log"},
 *             {0}});
 *     }
 *
 * A wrong word refuses the start with file, line, what is wrong and what would be right.
 */
#ifndef QPSMTPD_ARGS_H
#define QPSMTPD_ARGS_H

#include <qpsmtpd/hooks.h>
#include <qpsmtpd/types.h>

/*
 * One argument. Exactly one of the pointers is set; it is written when the word is there, so the
 * default is what stood in it before.
 */
struct qp_arg {
    const char *name;
    bool positional; /* the word itself, in this order, not "name value"; name is for messages */
    bool required;
    int64_t min, max; /* for number, duration_ms (in seconds) and size; max 0: no upper bound */

    int *number;
    bool *flag;              /* 0 1, no yes, off on, false true */
    const char **text;       /* lives as long as the instance */
    int *choice;             /* index into choices */
    const char *choices;     /* words separated by one space */
    int64_t *duration_ms;    /* 90, 90s, 15m, 2h, 1d; a bare number is seconds */
    uint64_t *size;          /* bytes: 1000, 64k, 10M, 2G (powers of 1024) */
    enum qp_rc *reject_type; /* perm hard temp soft disconnect temp_disconnect (1.00) */
};

/*
 * qp_args - read all words
 *
 * args     ends with an entry whose name is NULL. The arguments of every plugin, `loglevel
 * N|+N|-N`, is understood without being listed. returns  false: the reason was set with qp_fail();
 * return false too
 */
bool qp_args(struct qp *q, int argc, const char *const argv[], const struct qp_arg args[]);

/*
 * qp_args_leading - for a plugin that passed over what it did not know (r356): how many words qp_args() reads
 *
 * These are options with their values, and as many others as args has positional ones; a warning names
 * the first of the rest
 */
int qp_args_leading(struct qp *q, int argc, const char *const argv[], const struct qp_arg args[]);

/* The same, one word at a time, for plugins with a grammar of their own. false: qp_fail() was
 * called. */
bool qp_arg_int(struct qp *q, const char *word, int min, int max, int *out);
bool qp_arg_bool(struct qp *q, const char *word, bool *out);
bool qp_arg_enum(struct qp *q, const char *word, const char *choices, int *out);
bool qp_arg_duration(struct qp *q, const char *word, int64_t *out_ms);
bool qp_arg_size(struct qp *q, const char *word, uint64_t *out);

/* qp_reject_type_given - did qp_args() find a value for an entry with reject_type? */
bool qp_reject_type_given(struct qp *q);

/* qp_rc_parse - "DENY", "DENYSOFT", "OK" … as lines of configuration files name results, any case
 */
bool qp_rc_parse(const char *word, enum qp_rc *out);

#endif
