/*
 * tls_load - TLS sessions as fast as a server takes them
 *
 *   tls_load PROCESSES SECONDS 1.2|1.3 new|resumed ADDRESS PORT
 *
 * Each process connects, shakes hands, reads a greeting, says QUIT, reads the answer and closes, again and again.
 * resumed: each session but the first of a process goes on with the last one's ticket; less is an error. Prints
 * sessions a second. Any failure ends it with status 1.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

static struct {
    struct sockaddr_in address;
    SSL_CTX *context;
    SSL_SESSION *session; /* the newest ticket */
    bool resume;
} load;

_Noreturn static void
die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(load.session);
    load.session = session;
    return 1;
}

static void
expect(SSL *ssl, const char *code)
{
    char line[512];
    int n = SSL_read(ssl, line, sizeof line - 1);

    if (n < 4 || memcmp(line, code, 3) != 0)
        die(code);
}

static void
session(void)
{
    bool resume = load.resume && load.session;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    SSL *ssl = SSL_new(load.context);
    char rest[64];

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&load.address, sizeof load.address) < 0)
        die("connect");
    SSL_set_fd(ssl, fd);
    if (resume)
        SSL_set_session(ssl, load.session);
    if (SSL_connect(ssl) != 1)
        die("handshake");
    expect(ssl, "220");
    if (SSL_write(ssl, "QUIT\r\n", 6) != 6)
        die("QUIT");
    expect(ssl, "221");
    if (SSL_session_reused(ssl) != resume)
        die(resume ? "not resumed" : "resumed");
    while (SSL_read(ssl, rest, sizeof rest) > 0)
        ;
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

static long
run(double seconds)
{
    double end = now() + seconds;
    long n = 0;

    for (; now() < end; n++)
        session();
    return n;
}

int
main(int argc, char *argv[])
{
    int n = argc == 7 ? (int)strtol(argv[1], NULL, 10) : 0, version, status;
    double seconds, begin;
    bool failed = false;
    long *done, all = 0;

    if (n < 1 || inet_pton(AF_INET, argv[5], &load.address.sin_addr) != 1) {
        fprintf(stderr, "usage: tls_load PROCESSES SECONDS 1.2|1.3 new|resumed ADDRESS PORT\n");
        return 2;
    }
    seconds = strtod(argv[2], NULL);
    version = strcmp(argv[3], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    load.resume = strcmp(argv[4], "resumed") == 0;
    load.address.sin_family = AF_INET;
    load.address.sin_port = htons((uint16_t)strtoul(argv[6], NULL, 10));
    load.context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(load.context, version);
    SSL_CTX_set_max_proto_version(load.context, version);
    SSL_CTX_set_session_cache_mode(
        load.context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(load.context, keep_session);
    done = mmap(
        NULL, (size_t)n * sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (done == MAP_FAILED)
        die("mmap");
    begin = now();
    for (int i = 0; i < n; i++)
        if (fork() == 0) {
            done[i] = run(seconds);
            _exit(0);
        }
    while (wait(&status) > 0)
        failed = failed || status != 0;
    for (int i = 0; i < n; i++)
        all += done[i];
    printf("%.1f\n", (double)all / (now() - begin));
    return failed;
}
