/*
 * spf check - may this host send mail for that domain?
 *
 * Owns   check_host() of RFC 7208: which lookups, in which order, how many, and what they mean
 * Uses   record, macro, name, qpsmtpd/dns.h; memory of the transaction
 * Keep   never more than 10 terms that ask the DNS, 2 of them in vain, 10 names of an MX or a PTR
 */
#ifndef SPF_CHECK_H
#define SPF_CHECK_H

#include <qpsmtpd/plugin.h>

enum spf_result {
    SPF_NONE,
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR,
    SPF_PERMERROR,
};

/* All texts are borrowed for the call. */
struct spf_question {
    const char *ip;     /* of the client, textual */
    const char *local;  /* local part of the sender; "": postmaster */
    const char *domain; /* of the sender, or the HELO name for the null sender */
    const char *helo;
};

/* Texts live as long as the transaction; what came out of the DNS in them is printable ASCII. */
struct spf_answer {
    enum spf_result result;
    const char *mechanism; /* the term that decided, as written; "default": none did */
    const char *problem;   /* what was wrong, with SPF_TEMPERROR and SPF_PERMERROR; else NULL */
    const char *explainer; /* whose words these are: the domain with the exp= */
    const char
        *explanation; /* with SPF_FAIL, what that domain wants the client to be told; or NULL */
};

/* spf_is_client - can this be asked about? An address, and not "unknown" */
bool spf_is_client(const char *ip);

/* spf_start - ask for that domain's record, and do not wait; a later spf_check() is faster */
void spf_start(struct qp *q, const char *domain);

/*
 * spf_check - check_host()
 *
 * Waits for the DNS, at most as long as the hook's budget allows: what is missing then makes it
 * SPF_TEMPERROR. As soon as a record is read, the questions of all its terms are started together.
 */
struct spf_answer spf_check(struct qp *q, const struct spf_question *question);

#endif
