/*
 * tls_accept - the least that a server of TLS can be: what OpenSSL alone does in a second
 *
 *   tls_accept PROCESSES ADDRESS PORT CERT KEY [CERT KEY]...
 *
 * Each process accepts one connection after the other, shakes hands, says a greeting, reads one line, answers
 * it, says close_notify and closes. Contexts are as those of plugins/tls: tickets that all processes share, one
 * for a session; buffers released; no cache. Ends with SIGTERM, for the group.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

_Noreturn static void
die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static SSL_CTX *
make_context(char *const pair[])
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());

    SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
    SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(c, 1);
    SSL_CTX_set_session_id_context(c, (const unsigned char *)"bare", 4);
    for (; pair[0] && pair[1]; pair += 2)
        if (SSL_CTX_use_certificate_chain_file(c, pair[0]) != 1 ||
            SSL_CTX_use_PrivateKey_file(c, pair[1], SSL_FILETYPE_PEM) != 1)
            die(pair[0]);
    return c;
}

static void
serve(SSL_CTX *context, int fd)
{
    static const char greeting[] = "220 bare\r\n", answer[] = "221 bare\r\n";
    SSL *ssl = SSL_new(context);
    char line[512];

    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && SSL_write(ssl, greeting, sizeof greeting - 1) > 0 &&
        SSL_read(ssl, line, sizeof line) > 0 && SSL_write(ssl, answer, sizeof answer - 1) > 0)
        SSL_shutdown(ssl);
    shutdown(fd, SHUT_WR);
    while (recv(fd, line, sizeof line, 0) > 0)
        ;
    ERR_clear_error();
    SSL_free(ssl);
}

int
main(int argc, char *argv[])
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    int one = 1, fd, n = argc > 5 ? (int)strtol(argv[1], NULL, 10) : 0;
    SSL_CTX *context;

    if (n < 1 || inet_pton(AF_INET, argv[2], &sa.sin_addr) != 1) {
        fprintf(stderr, "usage: tls_accept PROCESSES ADDRESS PORT CERT KEY [CERT KEY]...\n");
        return 2;
    }
    sa.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
    context = make_context(argv + 4);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 || listen(fd, SOMAXCONN) < 0)
        die("listen");
    for (int i = 0; i < n; i++)
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            for (;;) {
                int client = accept(fd, NULL, NULL);

                if (client < 0)
                    continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                serve(context, client);
                close(client);
            }
        }
    while (wait(NULL) > 0)
        ;
    return 0;
}
