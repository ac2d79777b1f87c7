/*
 * auth_probe - a plugin for t/system/auth.t: the user's name says what each hook answers
 *
 * "HOOK=RESULT HOOK=RESULT ..." with HOOK own (of the mechanism) or any (auth), RESULT OK DENY DENYSOFT
 * DENY_DISCONNECT DENYSOFT_DISCONNECT DECLINED DONE BOGUS, SECRET (sets "sesame", OK), EMPTY (sets ""),
 * CODE (538 5.7.11), HASH (OK when the hash is that of the connection's variable HASH); "!" behind it: with a text.
 * A name without '=' is refused. What a hook was given is logged, and NOOP tells who has logged in.
 */
#include <qpsmtpd/auth.h>
#include <qpsmtpd/plugin.h>

#include <stdio.h>
#include <string.h>

static const char *
or_none(const char *text)
{
    return text ? text : "(none)";
}

static enum qp_rc
answer(struct qp *q, const struct qp_auth *a, const char *result)
{
    const char *text = strchr(result, '!') ? "so says the probe" : "";
    char word[32];
    enum qp_rc rc;

    snprintf(word, sizeof word, "%.*s", (int)strcspn(result, "! "), result);
    if (strcmp(word, "SECRET") == 0)
        return qp_auth_set_secret(q, "sesame");
    if (strcmp(word, "EMPTY") == 0)
        return qp_auth_set_secret(q, "");
    if (strcmp(word, "HASH") == 0)
        return a->hash && qp_auth_equal(a->hash, or_none(qp_env(q, "HASH"))) ? QP_OK : QP_DENY;
    if (strcmp(word, "DONE") == 0)
        qp_respond(q, 535, "done");
    if (strcmp(word, "CODE") == 0)
        return qp_deny_code(q, 538, "5.7.11", "so says the probe");
    if (!qp_rc_parse(word, &rc))
        rc = (enum qp_rc)7;
    return qp_result(q, rc, "%s", text);
}

static enum qp_rc
decide(struct qp *q, const struct qp_auth *a, const char *which)
{
    const char *at = strstr(a->user, which);

    qp_log(q, QP_LOG_NOTICE,
        "asked hook=%s mechanism=%s user=%s password=%s hash=%s ticket=%s authzid=%s args=%s",
        qp_hook_name(q), a->mechanism, a->user, or_none(a->password), or_none(a->hash),
        or_none(a->ticket), a->authzid, qp_command_args(q));
    return at ? answer(q, a, at + strlen(which)) : QP_DECLINED;
}

static enum qp_rc
on_own(struct qp *q, const struct qp_auth *a)
{
    return decide(q, a, "own=");
}

static enum qp_rc
on_any(struct qp *q, const struct qp_auth *a)
{
    return decide(q, a, "any=");
}

static enum qp_rc
on_noop(struct qp *q, const char *args)
{
    (void)args;
    qp_respond(q, 250, "user=%s mechanism=%s relay=%d naughty=%d", or_none(qp_auth_user(q)),
        or_none(qp_auth_mechanism(q)), qp_relay_client(q),
        qp_note_true(q, QP_CONNECTION, "naughty"));
    return QP_DONE;
}

static enum qp_rc
on_vrfy(struct qp *q, const char *args)
{
    qp_note_set(q, QP_CONNECTION, "naughty", args);
    return QP_OK;
}

#ifdef PROBE_PARSE
static enum qp_rc
on_parse(struct qp *q, const char *args, struct qp_parsed *out)
{
    if (strcmp(args, "forbidden") == 0)
        return qp_deny(q, "not so");
    if (args[0] != '@')
        return QP_DECLINED;
    out->argument = qp_printf(q, QP_CONNECTION, "PLAIN %s", args + 1);
    return QP_OK;
}

QP_PLUGIN(.name = "auth_parse", .auth_parse = on_parse);
#elif defined PROBE_PLAIN
QP_PLUGIN(.name = "auth_plain", .auth_plain = on_own, .noop = on_noop);
#else
QP_PLUGIN(.name = "auth_probe", .auth_plain = on_own, .auth_login = on_own, .auth_cram_md5 = on_own,
    .auth_scram = on_own, .auth = on_any, .noop = on_noop, .vrfy = on_vrfy);
#endif
