/*
 * MariaDB and MySQL, through libmariadb's functions that leave the waiting to us.
 */
#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mariadb/mysql.h>
#include <qpsmtpd/library.h>

#include "wait.h"

#define LIBRARY    "libmariadb.so.3"
#define PACKET_MAX 65536 /* bytes of an answer */

struct link {
    bool loaded;
    MYSQL *db;                     /* NULL: closed */
    MYSQL_STMT *stmt[SQL_QUERIES]; /* NULL: not prepared yet */
    __typeof__(&mysql_init) init;
    __typeof__(&mysql_optionsv) options;
    __typeof__(&mysql_real_connect_start) connect_start;
    __typeof__(&mysql_real_connect_cont) connect_cont;
    __typeof__(&mysql_get_socket) get_socket;
    __typeof__(&mysql_error) error;
    __typeof__(&mysql_close) close;
    __typeof__(&mysql_stmt_init) stmt_init;
    __typeof__(&mysql_stmt_prepare_start) prepare_start;
    __typeof__(&mysql_stmt_prepare_cont) prepare_cont;
    __typeof__(&mysql_stmt_bind_param) bind_param;
    __typeof__(&mysql_stmt_execute_start) execute_start;
    __typeof__(&mysql_stmt_execute_cont) execute_cont;
    __typeof__(&mysql_stmt_store_result_start) store_start;
    __typeof__(&mysql_stmt_store_result_cont) store_cont;
    __typeof__(&mysql_stmt_field_count) field_count;
    __typeof__(&mysql_stmt_bind_result) bind_result;
    __typeof__(&mysql_stmt_fetch) fetch;
    __typeof__(&mysql_stmt_free_result) free_result;
    __typeof__(&mysql_stmt_error) stmt_error;
    __typeof__(&mysql_stmt_close) stmt_close;
};

static const char *const queries[SQL_QUERIES] = {
    [SQL_USER] = "select pw_passwd, pw_clear_passwd from vpopmail"
                 " where pw_name = ? and pw_domain = ?",
    [SQL_SAMPLE] = "select pw_passwd, '' from vpopmail where pw_passwd like '$%' limit 1",
};

static bool
load(struct qp *q, void *link)
{
    struct link *l = link;
    const struct qp_symbol wanted[] = {
        {"mysql_init", &l->init},
        {"mysql_optionsv", &l->options},
        {"mysql_real_connect_start", &l->connect_start},
        {"mysql_real_connect_cont", &l->connect_cont},
        {"mysql_get_socket", &l->get_socket},
        {"mysql_error", &l->error},
        {"mysql_close", &l->close},
        {"mysql_stmt_init", &l->stmt_init},
        {"mysql_stmt_prepare_start", &l->prepare_start},
        {"mysql_stmt_prepare_cont", &l->prepare_cont},
        {"mysql_stmt_bind_param", &l->bind_param},
        {"mysql_stmt_execute_start", &l->execute_start},
        {"mysql_stmt_execute_cont", &l->execute_cont},
        {"mysql_stmt_store_result_start", &l->store_start},
        {"mysql_stmt_store_result_cont", &l->store_cont},
        {"mysql_stmt_field_count", &l->field_count},
        {"mysql_stmt_bind_result", &l->bind_result},
        {"mysql_stmt_fetch", &l->fetch},
        {"mysql_stmt_free_result", &l->free_result},
        {"mysql_stmt_error", &l->stmt_error},
        {"mysql_stmt_close", &l->stmt_close},
    };

    if (!l->loaded)
        l->loaded = qp_library_open(q, LIBRARY, wanted, sizeof wanted / sizeof *wanted);
    return l->loaded;
}

/* A statement that has lost its connection is freed without a word to the server. */
static void
close_link(void *link)
{
    struct link *l = link;

    if (l->db)
        l->close(l->db);
    l->db = NULL;
    for (size_t i = 0; i < SQL_QUERIES; i++) {
        if (l->stmt[i])
            l->stmt_close(l->stmt[i]);
        l->stmt[i] = NULL;
    }
}

static enum sql_status
fail(const char *why, char error[SQL_ERROR_MAX])
{
    snprintf(error, SQL_ERROR_MAX, "%s", why && *why ? why : "no answer in time");
    return SQL_TROUBLE;
}

/* ---- waiting: an operation says what it waits for, until it says 0 ---- */

/* Past the deadline it is always told that the time is over, and gives up. */
static int
await(const struct link *l, int wanted, int64_t deadline)
{
    short events = (short)((wanted & MYSQL_WAIT_READ ? POLLIN : 0) |
                           (wanted & MYSQL_WAIT_WRITE ? POLLOUT : 0) |
                           (wanted & MYSQL_WAIT_EXCEPT ? POLLPRI : 0));
    short ready = wait_socket((int)l->get_socket(l->db), events, deadline);
    int got = (ready & POLLIN ? MYSQL_WAIT_READ : 0) | (ready & POLLOUT ? MYSQL_WAIT_WRITE : 0) |
              (ready & POLLPRI ? MYSQL_WAIT_EXCEPT : 0);

    if (!ready)
        return MYSQL_WAIT_TIMEOUT;
    /* a connection that has ended: whatever it tries, it will find out */
    return got ? got : wanted & ~MYSQL_WAIT_TIMEOUT;
}

static bool
prepare(const struct link *l, MYSQL_STMT *stmt, const char *text, int64_t deadline)
{
    int failed = 1, wait = l->prepare_start(&failed, stmt, text, strlen(text));

    while (wait)
        wait = l->prepare_cont(&failed, stmt, await(l, wait, deadline));
    return !failed;
}

static bool
execute(const struct link *l, MYSQL_STMT *stmt, int64_t deadline)
{
    int failed = 1, wait = l->execute_start(&failed, stmt);

    while (wait)
        wait = l->execute_cont(&failed, stmt, await(l, wait, deadline));
    return !failed;
}

static bool
store_result(const struct link *l, MYSQL_STMT *stmt, int64_t deadline)
{
    int failed = 1, wait = l->store_start(&failed, stmt);

    while (wait)
        wait = l->store_cont(&failed, stmt, await(l, wait, deadline));
    return !failed;
}

/* ---- connecting ---- */

static bool
set_options(const struct link *l, const struct sql_place *where)
{
    const my_bool on = 1;
    const unsigned off = 0;
    const size_t packet_max = PACKET_MAX;
    bool tls = where->ca_file || (where->tls && strcmp(where->tls, "1") == 0);

    return l->options(l->db, MYSQL_OPT_NONBLOCK, NULL) == 0 &&
           /* or the server could have any file of ours */
           l->options(l->db, MYSQL_OPT_LOCAL_INFILE, &off) == 0 &&
           l->options(l->db, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet_max) == 0 &&
           l->options(l->db, MYSQL_SET_CHARSET_NAME, "utf8mb4") == 0 &&
           /* passwords are bytes: as they are stored, whatever the table says they mean */
           l->options(l->db, MYSQL_INIT_COMMAND, "set character_set_results = null") == 0 &&
           (!tls || l->options(l->db, MYSQL_OPT_SSL_ENFORCE, &on) == 0) &&
           (!where->ca_file || (l->options(l->db, MYSQL_OPT_SSL_CA, where->ca_file) == 0 &&
                                   l->options(l->db, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &on) == 0));
}

static bool
connect_link(const struct link *l, const struct sql_place *w, int64_t deadline)
{
    unsigned port = w->port ? (unsigned)strtoul(w->port, NULL, 10) : 0;
    MYSQL *done = NULL;
    int wait = l->connect_start(
        &done, l->db, w->host, w->user, w->password, w->database, port, w->socket, 0);

    while (wait)
        wait = l->connect_cont(&done, l->db, await(l, wait, deadline));
    return done != NULL;
}

static bool
open_link(void *link, const struct sql_place *where, int64_t deadline, char error[SQL_ERROR_MAX])
{
    struct link *l = link;

    l->db = l->init(NULL);
    if (l->db && set_options(l, where) && connect_link(l, where, deadline))
        return true;
    fail(l->db ? l->error(l->db) : "no memory", error);
    close_link(l);
    return false;
}

/* ---- asking ---- */

/* NULL: no memory, or the server does not understand it */
static MYSQL_STMT *
prepared(struct link *l, enum sql_query query, int64_t deadline)
{
    MYSQL_STMT *stmt = l->stmt[query];

    if (stmt)
        return stmt;
    l->stmt[query] = stmt = l->stmt_init(l->db);
    return stmt && prepare(l, stmt, queries[query], deadline) ? stmt : NULL;
}

static bool
run(const struct link *l, MYSQL_STMT *stmt, const struct sql_question *question, int64_t deadline)
{
    char copy[2][SQL_TEXT_MAX + 1] = {"", ""}; /* the interface knows no const */
    MYSQL_BIND bind[2] = {{.buffer_type = MYSQL_TYPE_STRING}, {.buffer_type = MYSQL_TYPE_STRING}};

    for (size_t i = 0; i < 2; i++) {
        const char *value = question->parameters[i] ? question->parameters[i] : "";

        bind[i].buffer = copy[i];
        bind[i].buffer_length = (unsigned long)snprintf(copy[i], sizeof copy[i], "%s", value);
        if (bind[i].buffer_length > SQL_TEXT_MAX)
            return false;
    }
    if (question->query == SQL_USER && l->bind_param(stmt, bind) != 0)
        return false;
    return execute(l, stmt, deadline) && store_result(l, stmt, deadline);
}

static enum sql_status
read_row(const struct link *l, MYSQL_STMT *stmt, struct sql_row *row, char error[SQL_ERROR_MAX])
{
    unsigned long length[2] = {0, 0};
    my_bool is_null[2] = {0, 0};
    MYSQL_BIND bind[2] = {
        {.buffer_type = MYSQL_TYPE_STRING,
            .buffer = row->crypt,
            .buffer_length = SQL_TEXT_MAX,
            .length = &length[0],
            .is_null = &is_null[0]},
        {.buffer_type = MYSQL_TYPE_STRING,
            .buffer = row->clear,
            .buffer_length = SQL_TEXT_MAX,
            .length = &length[1],
            .is_null = &is_null[1]},
    };
    int got;

    if (l->field_count(stmt) != 2 || l->bind_result(stmt, bind) != 0)
        return fail(l->stmt_error(stmt), error);
    got = l->fetch(stmt);
    if (got == MYSQL_NO_DATA)
        return SQL_ABSENT;
    if (got != 0 && got != MYSQL_DATA_TRUNCATED)
        return fail(l->stmt_error(stmt), error);
    if (length[0] > SQL_TEXT_MAX || length[1] > SQL_TEXT_MAX)
        return fail("the password is too long", error);
    row->crypt[is_null[0] ? 0 : length[0]] = '\0';
    row->clear[is_null[1] ? 0 : length[1]] = '\0';
    return SQL_FOUND;
}

static enum sql_status
ask(void *link, const struct sql_question *question, struct sql_row *row, int64_t deadline,
    char error[SQL_ERROR_MAX])
{
    struct link *l = link;
    MYSQL_STMT *stmt = prepared(l, question->query, deadline);
    enum sql_status status;

    if (!stmt || !run(l, stmt, question, deadline)) {
        stmt = l->stmt[question->query];
        return fail(stmt ? l->stmt_error(stmt) : l->error(l->db), error);
    }
    status = read_row(l, stmt, row, error);
    l->free_result(stmt);
    return status;
}

const struct sql_backend sql_mysql = {
    .driver = "mysql",
    .library = LIBRARY,
    .package = "libmariadb3",
    .size = sizeof(struct link),
    .load = load,
    .open = open_link,
    .ask = ask,
    .close = close_link,
};
