/*
 * PostgreSQL, through libpq's functions that never wait.
 */
#include "backend.h"

#include <stdio.h>
#include <string.h>

#include <postgresql/libpq-fe.h>
#include <qpsmtpd/library.h>

#include "wait.h"

#define LIBRARY "libpq.so.5"

struct link {
    bool loaded;
    PGconn *conn; /* NULL: closed */
    __typeof__(&PQconnectStartParams) connect_start;
    __typeof__(&PQconnectPoll) connect_poll;
    __typeof__(&PQsocket) socket;
    __typeof__(&PQsetNoticeProcessor) set_notice_processor;
    __typeof__(&PQsetnonblocking) set_nonblocking;
    __typeof__(&PQsendQueryParams) send_query;
    __typeof__(&PQflush) flush;
    __typeof__(&PQconsumeInput) consume_input;
    __typeof__(&PQisBusy) is_busy;
    __typeof__(&PQgetResult) get_result;
    __typeof__(&PQresultStatus) result_status;
    __typeof__(&PQresultErrorMessage) result_error;
    __typeof__(&PQntuples) n_tuples;
    __typeof__(&PQnfields) n_fields;
    __typeof__(&PQgetvalue) get_value;
    __typeof__(&PQgetlength) get_length;
    __typeof__(&PQclear) clear;
    __typeof__(&PQerrorMessage) error_message;
    __typeof__(&PQfinish) finish;
};

/* The parameters travel apart from the text: the server prepares and executes in one go. */
static const struct {
    const char *text;
    int parameters;
} queries[SQL_QUERIES] = {
    [SQL_USER] = {"select pw_passwd, pw_clear_passwd from vpopmail"
                  " where pw_name = $1 and pw_domain = $2",
        2},
    [SQL_SAMPLE] = {"select pw_passwd, '' from vpopmail where pw_passwd like '$%' limit 1", 0},
};

static bool
load(struct qp *q, void *link)
{
    struct link *l = link;
    const struct qp_symbol wanted[] = {
        {"PQconnectStartParams", &l->connect_start},
        {"PQconnectPoll", &l->connect_poll},
        {"PQsocket", &l->socket},
        {"PQsetNoticeProcessor", &l->set_notice_processor},
        {"PQsetnonblocking", &l->set_nonblocking},
        {"PQsendQueryParams", &l->send_query},
        {"PQflush", &l->flush},
        {"PQconsumeInput", &l->consume_input},
        {"PQisBusy", &l->is_busy},
        {"PQgetResult", &l->get_result},
        {"PQresultStatus", &l->result_status},
        {"PQresultErrorMessage", &l->result_error},
        {"PQntuples", &l->n_tuples},
        {"PQnfields", &l->n_fields},
        {"PQgetvalue", &l->get_value},
        {"PQgetlength", &l->get_length},
        {"PQclear", &l->clear},
        {"PQerrorMessage", &l->error_message},
        {"PQfinish", &l->finish},
    };

    if (!l->loaded)
        l->loaded = qp_library_open(q, LIBRARY, wanted, sizeof wanted / sizeof *wanted);
    return l->loaded;
}

static void
close_link(void *link)
{
    struct link *l = link;

    if (l->conn)
        l->finish(l->conn);
    l->conn = NULL;
}

static enum sql_status
fail(const struct link *l, const char *why, char error[SQL_ERROR_MAX])
{
    if (!why)
        why = l->conn ? l->error_message(l->conn) : "no memory";
    snprintf(error, SQL_ERROR_MAX, "%.*s", (int)strcspn(why, "\n"), why);
    return SQL_TROUBLE;
}

/* ---- connecting ---- */

/* It would print them. */
static void
ignore_notice(void *data, const char *text)
{
    (void)data, (void)text;
}

static PGconn *
start(const struct link *l, const struct sql_place *w)
{
    /* What is NULL is as if it were not listed. */
    const char *const names[] = {"dbname", "host", "port", "user", "password", "sslmode",
        "sslrootcert", "gssencmode", "client_encoding", "application_name", NULL};
    const char *const values[] = {w->database, w->host, w->port, w->user, w->password, w->tls,
        w->ca_file, "disable", "UTF8", "qpsmtpd", NULL};

    return l->connect_start(names, values, 0);
}

static bool
open_link(void *link, const struct sql_place *where, int64_t deadline, char error[SQL_ERROR_MAX])
{
    struct link *l = link;
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;

    l->conn = start(l, where);
    if (l->conn)
        l->set_notice_processor(l->conn, ignore_notice, NULL);
    while (l->conn && status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED) {
        short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;

        if (l->socket(l->conn) >= 0 && !wait_socket(l->socket(l->conn), events, deadline)) {
            fail(l, "no connection in time", error);
            close_link(l);
            return false;
        }
        status = l->connect_poll(l->conn);
    }
    if (l->conn && status == PGRES_POLLING_OK && l->set_nonblocking(l->conn, 1) == 0)
        return true;
    fail(l, NULL, error);
    close_link(l);
    return false;
}

/* ---- asking ---- */

/* Until the server has said something, and meanwhile the rest of what we say. */
static bool
turn(const struct link *l, bool unsent, int64_t deadline)
{
    short events = unsent ? POLLIN | POLLOUT : POLLIN;
    short ready = wait_socket(l->socket(l->conn), events, deadline);

    return ready && (!(ready & ~POLLOUT) || l->consume_input(l->conn));
}

/* NULL: no answer; *why is set when the library does not know it. */
static PGresult *
await_result(const struct link *l, int64_t deadline, const char **why)
{
    int unsent;

    while ((unsent = l->flush(l->conn)) >= 0) {
        if (unsent == 0 && !l->is_busy(l->conn))
            return l->get_result(l->conn);
        if (!turn(l, unsent > 0, deadline)) {
            *why = qp_clock_ms() >= deadline ? "no answer in time" : NULL;
            return NULL;
        }
    }
    return NULL;
}

/* false: it is longer than a password */
static bool
copy(const struct link *l, const PGresult *r, int column, char out[SQL_TEXT_MAX + 1])
{
    if (l->get_length(r, 0, column) > SQL_TEXT_MAX)
        return false;
    snprintf(out, SQL_TEXT_MAX + 1, "%s", l->get_value(r, 0, column)); /* "" for NULL */
    return true;
}

static enum sql_status
read_result(const struct link *l, const PGresult *r, struct sql_row *row, char error[SQL_ERROR_MAX])
{
    if (l->result_status(r) != PGRES_TUPLES_OK || l->n_fields(r) != 2)
        return fail(l, l->result_error(r), error);
    if (l->n_tuples(r) == 0)
        return SQL_ABSENT;
    if (!copy(l, r, 0, row->crypt) || !copy(l, r, 1, row->clear))
        return fail(l, "the password is too long", error);
    return SQL_FOUND;
}

static enum sql_status
ask(void *link, const struct sql_question *question, struct sql_row *row, int64_t deadline,
    char error[SQL_ERROR_MAX])
{
    const struct link *l = link;
    enum sql_status status = SQL_TROUBLE;
    const char *why = NULL;
    bool answered = false;
    PGresult *r;

    if (!l->send_query(l->conn, queries[question->query].text, queries[question->query].parameters,
            NULL, question->parameters, NULL, NULL, 0))
        return fail(l, NULL, error);
    while ((r = await_result(l, deadline, &why)) != NULL) { /* the last one is NULL */
        if (!answered)
            status = read_result(l, r, row, error);
        answered = true;
        l->clear(r);
    }
    return answered && !why ? status : fail(l, why, error);
}

const struct sql_backend sql_pgsql = {
    .driver = "Pg",
    .library = LIBRARY,
    .package = "libpq5",
    .size = sizeof(struct link),
    .load = load,
    .open = open_link,
    .ask = ask,
    .close = close_link,
};
