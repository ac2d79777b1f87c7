/*
 * A milter of the test's own, on Sendmail's libmilter: every callback is written down, and every action
 * is done that a message asks for.
 *
 *   milter_all SOCKET LOG
 *
 * Fields "X-Do: WORD ARGUMENT" of the message name the actions at its end; a HELO, sender or recipient
 * that begins with the name of a result ("tempfail.test", <reject@...>) gets it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libmilter/mfapi.h>

#define MAX_TODO 64

struct todo {
    size_t n;
    char *line[MAX_TODO];
};

static FILE *log_file;

static void
note(SMFICTX *ctx, const char *what, const char *text)
{
    const char *id = smfi_getsymval(ctx, "i");

    fprintf(log_file, "%s %s%s%s\n", what, text ? text : "", id ? " i=" : "", id ? id : "");
    fflush(log_file);
}

static sfsistat
result_named(SMFICTX *ctx, const char *text)
{
    static const struct {
        const char *name;
        sfsistat result;
    } results[] = {{"reject", SMFIS_REJECT}, {"tempfail", SMFIS_TEMPFAIL}, {"accept", SMFIS_ACCEPT},
        {"discard", SMFIS_DISCARD}};

    text += *text == '<';
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (strncmp(text, results[i].name, strlen(results[i].name)) == 0)
            return results[i].result;
    if (strncmp(text, "reply", 5) == 0) {
        smfi_setmlreply(ctx, "553", "5.1.1", "first line", "second 100%% line", NULL);
        return SMFIS_REJECT;
    }
    return SMFIS_CONTINUE;
}

static sfsistat
on_negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
    unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
    (void)f2;
    (void)f3;
    fprintf(log_file, "negotiate %lx %lx\n", f0, f1);
    *pf0 = f0;
    *pf1 = f1 & (SMFIP_SKIP | SMFIP_HDR_LEADSPC | SMFIP_RCPT_REJ | SMFIP_NR_HDR);
    *pf2 = *pf3 = 0;
    smfi_setsymlist(ctx, SMFIM_ENVRCPT, "i {rcpt_addr} {rcpt_mailer}");
    return SMFIS_CONTINUE;
}

static sfsistat
on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
    (void)address;
    smfi_setpriv(ctx, calloc(1, sizeof(struct todo)));
    note(ctx, "connect", host);
    note(ctx, "macro _", smfi_getsymval(ctx, "_"));
    note(ctx, "macro j", smfi_getsymval(ctx, "j"));
    return SMFIS_CONTINUE;
}

static sfsistat
on_helo(SMFICTX *ctx, char *host)
{
    note(ctx, "helo", host);
    return result_named(ctx, host);
}

static sfsistat
on_mail(SMFICTX *ctx, char **argv)
{
    for (size_t i = 0; argv[i]; i++)
        note(ctx, "mail", argv[i]);
    note(ctx, "macro {mail_addr}", smfi_getsymval(ctx, "{mail_addr}"));
    return result_named(ctx, argv[0]);
}

static sfsistat
on_rcpt(SMFICTX *ctx, char **argv)
{
    note(ctx, "rcpt", argv[0]);
    note(ctx, "macro {rcpt_mailer}", smfi_getsymval(ctx, "{rcpt_mailer}"));
    return result_named(ctx, argv[0]);
}

static sfsistat
on_data(SMFICTX *ctx)
{
    note(ctx, "data", NULL);
    return SMFIS_CONTINUE;
}

static sfsistat
on_unknown(SMFICTX *ctx, const char *line)
{
    note(ctx, "unknown", line);
    return SMFIS_CONTINUE;
}

static sfsistat
on_header(SMFICTX *ctx, char *name, char *value)
{
    struct todo *todo = smfi_getpriv(ctx);

    fprintf(log_file, "header %s:%s\n", name, value);
    if (strcmp(name, "X-Do") == 0 && todo && todo->n < MAX_TODO)
        todo->line[todo->n++] = strdup(value + strspn(value, " "));
    return SMFIS_CONTINUE;
}

static sfsistat
on_eoh(SMFICTX *ctx)
{
    note(ctx, "eoh", NULL);
    return SMFIS_CONTINUE;
}

static sfsistat
on_body(SMFICTX *ctx, unsigned char *body, size_t n)
{
    char text[40];

    snprintf(text, sizeof text, "%zu", n);
    note(ctx, "body", text);
    return n > 4 && memcmp(body, "skip", 4) == 0 ? SMFIS_SKIP : SMFIS_CONTINUE;
}

static int
replace_body(SMFICTX *ctx, const char *size)
{
    size_t n = strtoul(size, NULL, 10);
    unsigned char *body = malloc(n + 1);
    int ok;

    for (size_t i = 0; i < n; i++)
        body[i] = (unsigned char)(i % 64 == 62 ? '\r' : i % 64 == 63 ? '\n' : 'n');
    ok = smfi_replacebody(ctx, body, (int)n);
    free(body);
    return ok;
}

/* word [argument]: what smfi_* says, or its result */
static sfsistat
act(SMFICTX *ctx, char *line)
{
    char *argument = strchr(line, ' ');
    char name[] = "X-Name", old[] = "X-Old", folded[] = " a\n\tb";
    int ok = MI_SUCCESS, number;

    if (argument)
        *argument++ = '\0';
    else
        argument = line + strlen(line);
    number = (int)strtol(argument, NULL, 10);
    if (strcmp(line, "add") == 0)
        ok = smfi_addheader(ctx, name, folded);
    else if (strcmp(line, "insert") == 0)
        ok = smfi_insheader(ctx, number, name, argument);
    else if (strcmp(line, "change") == 0)
        ok = smfi_chgheader(ctx, old, number, " changed");
    else if (strcmp(line, "delete") == 0)
        ok = smfi_chgheader(ctx, old, number, NULL);
    else if (strcmp(line, "body") == 0)
        ok = replace_body(ctx, argument);
    else if (strcmp(line, "addrcpt") == 0)
        ok = smfi_addrcpt(ctx, argument);
    else if (strcmp(line, "addrcpt_par") == 0)
        ok = smfi_addrcpt_par(ctx, argument, "NOTIFY=NEVER");
    else if (strcmp(line, "delrcpt") == 0)
        ok = smfi_delrcpt(ctx, argument);
    else if (strcmp(line, "chgfrom") == 0)
        ok = smfi_chgfrom(ctx, argument, NULL);
    else if (strcmp(line, "quarantine") == 0)
        ok = smfi_quarantine(ctx, argument);
    else if (strcmp(line, "progress") == 0)
        ok = smfi_progress(ctx);
    else
        return result_named(ctx, line);
    if (ok != MI_SUCCESS)
        note(ctx, "failed", line);
    return SMFIS_CONTINUE;
}

static void
forget(SMFICTX *ctx)
{
    struct todo *todo = smfi_getpriv(ctx);

    for (size_t i = 0; todo && i < todo->n; i++)
        free(todo->line[i]);
    if (todo)
        todo->n = 0;
}

static sfsistat
on_eom(SMFICTX *ctx)
{
    struct todo *todo = smfi_getpriv(ctx);
    sfsistat result = SMFIS_CONTINUE;

    note(ctx, "eom", NULL);
    for (size_t i = 0; todo && i < todo->n; i++) {
        sfsistat one = act(ctx, todo->line[i]);

        if (one != SMFIS_CONTINUE)
            result = one;
    }
    forget(ctx);
    return result;
}

static sfsistat
on_abort(SMFICTX *ctx)
{
    note(ctx, "abort", NULL);
    forget(ctx);
    return SMFIS_CONTINUE;
}

static sfsistat
on_close(SMFICTX *ctx)
{
    fprintf(log_file, "close\n");
    fflush(log_file);
    forget(ctx);
    free(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

int
main(int argc, char *argv[])
{
    char name[] = "milter_all";
    struct smfiDesc filter = {name, SMFI_VERSION,
        SMFIF_ADDHDRS | SMFIF_CHGHDRS | SMFIF_CHGBODY | SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR |
            SMFIF_DELRCPT | SMFIF_QUARANTINE | SMFIF_CHGFROM | SMFIF_SETSYMLIST,
        on_connect, on_helo, on_mail, on_rcpt, on_header, on_eoh, on_body, on_eom, on_abort,
        on_close, on_unknown, on_data, on_negotiate};

    if (argc != 3 || !(log_file = fopen(argv[2], "a")))
        return 2;
    setvbuf(log_file, NULL, _IOLBF, 0);
    if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
        return 3;
    return smfi_main() == MI_SUCCESS ? 0 : 4;
}
