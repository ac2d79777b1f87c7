/*
 * net/dns - ask name servers, and let the answers arrive while others work
 *
 * Owns   the questions of one session, their retries and deadlines
 * Uses   a net/dns_channel for each name server, made at the first question and kept between sessions;
 *        net/dns_packet for what came
 * Keep   a question ends: tries times each server, timeout_ms each, then it has failed; the same question
 *        is asked once in a session; nothing of one session reaches the next; no search list
 * Change how servers take turns
 *
 * One channel per server, each with a single try, because the turns are taken here: only so are
 * SERVFAIL, REFUSED, silence and nonsense four different answers (c-ares makes one of the first two and
 * of a closed port), a late answer to the first try still counts, and a server that is silent is not
 * asked first by the next session. What is remembered of the past is that alone.
 */
#ifndef QPSMTPD_NET_DNS_H
#define QPSMTPD_NET_DNS_H

#include "net/dns_channel.h"

#define DNS_SERVERS_MAX 8
#define DNS_POLL_MAX    32 /* what dns_poll_set() needs at most */

struct dns;
struct dns_lookup; /* one question of this session, with its answer */

struct dns_options {
    struct dns_server server[DNS_SERVERS_MAX]; /* asked in this order */
    size_t n_servers;                          /* 0: those of the system's resolv.conf */
    int64_t timeout_ms;                        /* how long one server may take for one try */
    unsigned tries;                            /* of each server */
    unsigned queries_max;                      /* different questions of one session: its budget */
};

/* dns_open - nothing is read or opened yet, so it may be inherited over fork(2). Options are copied. */
struct dns *dns_open(const struct dns_options *options);
void dns_close(struct dns **d); /* *d may be NULL; it becomes NULL */

/* dns_end - the session is over: open questions are dropped, answers are void. Costs nothing when
 * nothing was asked. d may be NULL. */
void dns_end(struct dns *d);

/* dns_budget - how many different questions a session may ask */
unsigned dns_budget(const struct dns *d);

/* dns_has_servers - were servers configured, or are they the system's? */
bool dns_has_servers(const struct dns *d);

/*
 * dns_ask - the question; it is sent now unless this session has asked it before
 *
 * name     as dns_name_parse() takes it
 * hurry_ms 0, or how long one try may take for this question, when that is less than timeout_ms
 * returns  never NULL; valid until dns_end(). With BAD_NAME and BUDGET it is done already
 */
const struct dns_lookup *dns_ask(
    struct dns *d, enum qp_dns_type type, struct str name, int64_t hurry_ms);

/*
 * dns_ask_freely - the same for a name that the administrator has written: the budget of the session
 * neither pays for it nor stops it, so that a client who uses it up switches no daemon of ours off
 */
const struct dns_lookup *dns_ask_freely(struct dns *d, enum qp_dns_type type, struct str name);

/* dns_find - the same if it was asked before; NULL: it was not */
const struct dns_lookup *dns_find(const struct dns *d, enum qp_dns_type type, struct str name);

/* dns_answer - NULL while it is open; valid until dns_end() */
const struct qp_dns_answer *dns_answer(const struct dns_lookup *l);

/* dns_late - what to say of a question whose answer cannot be awaited: QP_DNS_TIMEOUT; it stays open */
const struct qp_dns_answer *dns_late(const struct dns_lookup *l);

/* ---- for net/wait ---- */

/* dns_busy - are questions open? Otherwise the functions below need not be called. d may be NULL. */
bool dns_busy(const struct dns *d);

/* dns_poll_set - the descriptors to wait for; how many, at most DNS_POLL_MAX */
nfds_t dns_poll_set(const struct dns *d, struct pollfd set[DNS_POLL_MAX]);

/* dns_next - clock_ms() when dns_process() is due even if no descriptor is ready */
int64_t dns_next(const struct dns *d);

/* dns_process - read what has come, ask again where it is time. set: after poll(2), with revents */
void dns_process(struct dns *d, const struct pollfd *set, nfds_t n);

#endif
