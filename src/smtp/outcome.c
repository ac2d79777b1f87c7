#include "smtp/outcome.h"

/* Columns of the table: results from QP_OK to QP_DONE. */
#define AT(rc) ((rc)-QP_OK)

/* clang-format off */
static const struct outcome {
    int code;         /* 0: nothing is said here */
    char enhanced[6]; /* "": HELO and EHLO have none (RFC 2034, 4) */
    char text[52];    /* "%s" alone at its start stands for the address; no pointers, which the start of
                         each process would have to set right */
    bool close;
} outcomes[HOOK_COUNT][AT(QP_DONE) + 1] = {
    [HOOK_PRE_CONNECTION][AT(QP_DENY)]                = {554, "5.7.1", "Sorry, service not available for you", true},
    [HOOK_PRE_CONNECTION][AT(QP_DENY_DISCONNECT)]     = {554, "5.7.1", "Sorry, service not available for you", true},
    [HOOK_PRE_CONNECTION][AT(QP_DENYSOFT)]            = {421, "4.7.0", "Sorry, try again later", true},
    [HOOK_PRE_CONNECTION][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.0", "Sorry, try again later", true},

    [HOOK_CONNECT][AT(QP_DENY)]                = {554, "5.7.1", "Connection from you denied, bye bye.", true},
    [HOOK_CONNECT][AT(QP_DENY_DISCONNECT)]     = {554, "5.7.1", "Connection from you denied, bye bye.", true},
    [HOOK_CONNECT][AT(QP_DENYSOFT)]            = {421, "4.7.0", "Connection from you temporarily denied, bye bye.", true},
    [HOOK_CONNECT][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.0", "Connection from you temporarily denied, bye bye.", true},

    [HOOK_HELO][AT(QP_DENY)]                = {550, "", "HELO denied", false},
    [HOOK_HELO][AT(QP_DENYSOFT)]            = {450, "", "HELO temporarily denied", false},
    [HOOK_HELO][AT(QP_DENY_DISCONNECT)]     = {550, "", "HELO denied", true},
    [HOOK_HELO][AT(QP_DENYSOFT_DISCONNECT)] = {421, "", "HELO temporarily denied", true},

    [HOOK_EHLO][AT(QP_DENY)]                = {550, "", "EHLO denied", false},
    [HOOK_EHLO][AT(QP_DENYSOFT)]            = {450, "", "EHLO temporarily denied", false},
    [HOOK_EHLO][AT(QP_DENY_DISCONNECT)]     = {550, "", "EHLO denied", true},
    [HOOK_EHLO][AT(QP_DENYSOFT_DISCONNECT)] = {421, "", "EHLO temporarily denied", true},

    [HOOK_MAIL][AT(QP_DENY)]                = {550, "5.7.1", "%s, denied", false},
    [HOOK_MAIL][AT(QP_DENYSOFT)]            = {450, "4.7.1", "%s, temporarily denied", false},
    [HOOK_MAIL][AT(QP_DENY_DISCONNECT)]     = {550, "5.7.1", "%s, denied", true},
    [HOOK_MAIL][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "%s, temporarily denied", true},

    [HOOK_RCPT][AT(QP_DENY)]                = {550, "5.7.1", "relaying denied", false},
    [HOOK_RCPT][AT(QP_DENYSOFT)]            = {450, "4.7.1", "relaying denied", false},
    [HOOK_RCPT][AT(QP_DENY_DISCONNECT)]     = {550, "5.7.1", "delivery denied", true},
    [HOOK_RCPT][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "relaying denied", true},
    [HOOK_RCPT][AT(QP_DECLINED)]            = {450, "4.7.1", "No plugin decided if relaying is allowed", false},

    [HOOK_RCPT_ACCEPTED][AT(QP_DENY)]                = {550, "5.7.1", "delivery denied", false},
    [HOOK_RCPT_ACCEPTED][AT(QP_DENYSOFT)]            = {450, "4.7.1", "delivery denied temporarily", false},
    [HOOK_RCPT_ACCEPTED][AT(QP_DENY_DISCONNECT)]     = {550, "5.7.1", "delivery denied", true},
    [HOOK_RCPT_ACCEPTED][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "delivery denied temporarily", true},

    [HOOK_DATA][AT(QP_DENY)]                = {554, "5.7.1", "Message denied", false},
    [HOOK_DATA][AT(QP_DENYSOFT)]            = {451, "4.7.1", "Message denied temporarily", false},
    [HOOK_DATA][AT(QP_DENY_DISCONNECT)]     = {554, "5.7.1", "Message denied", true},
    [HOOK_DATA][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "Message denied temporarily", true},

    [HOOK_DATA_HEADERS_END][AT(QP_DENY)]                = {554, "5.7.1", "Message denied", false},
    [HOOK_DATA_HEADERS_END][AT(QP_DENYSOFT)]            = {451, "4.7.1", "Message denied temporarily", false},
    [HOOK_DATA_HEADERS_END][AT(QP_DENY_DISCONNECT)]     = {554, "5.7.1", "Message denied", true},
    [HOOK_DATA_HEADERS_END][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "Message denied temporarily", true},

    [HOOK_DATA_POST][AT(QP_DENY)]                = {554, "5.7.1", "Message denied", false},
    [HOOK_DATA_POST][AT(QP_DENYSOFT)]            = {451, "4.7.1", "Message denied temporarily", false},
    [HOOK_DATA_POST][AT(QP_DENY_DISCONNECT)]     = {554, "5.7.1", "Message denied", true},
    [HOOK_DATA_POST][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "Message denied temporarily", true},

    [HOOK_QUEUE_PRE][AT(QP_DENY)]                = {554, "5.3.0", "Message denied", false},
    [HOOK_QUEUE_PRE][AT(QP_DENYSOFT)]            = {451, "4.3.0", "Message denied temporarily", false},
    [HOOK_QUEUE_PRE][AT(QP_DENY_DISCONNECT)]     = {554, "5.3.0", "Message denied", true},
    [HOOK_QUEUE_PRE][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.3.0", "Message denied temporarily", true},

    [HOOK_QUEUE][AT(QP_OK)]                  = {250, "2.0.0", "Queued", false},
    [HOOK_QUEUE][AT(QP_DENY)]                = {554, "5.3.0", "Message denied", false},
    [HOOK_QUEUE][AT(QP_DENYSOFT)]            = {451, "4.3.0", "Message denied temporarily", false},
    [HOOK_QUEUE][AT(QP_DENY_DISCONNECT)]     = {554, "5.3.0", "Message denied", true},
    [HOOK_QUEUE][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.3.0", "Message denied temporarily", true},
    [HOOK_QUEUE][AT(QP_DECLINED)]            = {451, "4.3.0", "Queuing declined or disabled; try again later", false},

    [HOOK_VRFY][AT(QP_OK)]                  = {250, "2.1.5", "User OK", false},
    [HOOK_VRFY][AT(QP_DENY)]                = {554, "5.7.1", "Access Denied", false},
    [HOOK_VRFY][AT(QP_DENYSOFT)]            = {450, "4.7.1", "Access temporarily denied", false},
    [HOOK_VRFY][AT(QP_DENY_DISCONNECT)]     = {554, "5.7.1", "Access Denied", true},
    [HOOK_VRFY][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.7.1", "Access temporarily denied", true},

    [HOOK_NOOP][AT(QP_DENY)]                = {500, "5.5.0", "Stop wasting my time.", false},
    [HOOK_NOOP][AT(QP_DENYSOFT)]            = {450, "4.5.0", "Stop wasting my time.", false},
    [HOOK_NOOP][AT(QP_DENY_DISCONNECT)]     = {500, "5.5.0", "Stop wasting my time.", true},
    [HOOK_NOOP][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.5.0", "Stop wasting my time.", true},

    [HOOK_HELP][AT(QP_DENY)]            = {500, "5.5.2", "Syntax error, command not recognized", false},
    [HOOK_HELP][AT(QP_DENY_DISCONNECT)] = {500, "5.5.2", "Syntax error, command not recognized", true},

    /* Both drop the client: the seed's count_unrecognized_commands says DENY, 1.00's DENY_DISCONNECT. */
    [HOOK_UNRECOGNIZED_COMMAND][AT(QP_DENY)]                = {521, "5.5.1", "Too many unrecognized commands", true},
    [HOOK_UNRECOGNIZED_COMMAND][AT(QP_DENY_DISCONNECT)]     = {521, "5.5.1", "Too many unrecognized commands", true},
    [HOOK_UNRECOGNIZED_COMMAND][AT(QP_DENYSOFT_DISCONNECT)] = {421, "4.5.1", "Too many unrecognized commands", true},
};
/* clang-format on */

static const struct outcome *
find(enum hook hook, enum qp_rc rc)
{
    const struct outcome *o;

    if (rc < QP_OK || rc > QP_DONE) /* a plugin's mistake */
        return NULL;
    o = &outcomes[hook][AT(rc)];
    return o->code ? o : NULL;
}

/* The default text; an address in front of it is the only thing that varies. */
static const char *
default_text(const struct outcome *o, struct arena *a, const char *about)
{
    if (strncmp(o->text, "%s", 2) != 0)
        return o->text;
    return arena_printf(a, "%s%s", about ? about : "", o->text + 2);
}

/* qp_deny_code()'s own status, or what says nothing more than the class of its code. */
static const char *
own_status(const struct hook_result *r)
{
    if (r->enhanced && *r->enhanced)
        return r->enhanced;
    return r->code < 500 ? "4.0.0" : "5.0.0";
}

/* RFC 2034, 4: what answers the connection itself, HELO and EHLO has no status. */
static bool
is_greeting(enum hook hook)
{
    return hook == HOOK_CONNECT || hook == HOOK_HELO || hook == HOOK_EHLO;
}

bool
outcome_reply(enum hook hook, const struct hook_result *r, struct arena *command, const char *about,
    struct reply *reply)
{
    const struct outcome *o = find(hook, r->rc);
    const char *enhanced;

    if (r->rc == QP_DONE) {
        *reply =
            (struct reply){.more = r->replies, .plain = is_greeting(hook), .close = r->disconnect};
        return true;
    }
    if (!o)
        return false;
    enhanced = *o->enhanced ? o->enhanced : NULL;
    *reply = (struct reply){
        .code = r->code ? r->code : o->code,
        .enhanced = r->code && enhanced ? own_status(r) : enhanced,
        .text = *r->text ? r->text : default_text(o, command, about),
        .close = o->close || r->disconnect,
    };
    return true;
}
