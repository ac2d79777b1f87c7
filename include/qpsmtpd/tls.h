/*
 * qpsmtpd/tls.h - the encryption of a connection: what is known of it, and how a plugin supplies it
 *
 * The engine speaks STARTTLS (RFC 3207) and implicit TLS (RFC 8314), waits, and keeps deadlines; a
 * plugin with the hook `tls` brings the library. It gives functions that never wait.
 */
#ifndef QPSMTPD_TLS_H
#define QPSMTPD_TLS_H

#include <sys/types.h>

#include <qpsmtpd/types.h>

struct qp;

/* What a handshake has shown. Texts live as long as the connection; "" where nothing is known. */
struct qp_tls {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
    int bits;            /* of the cipher's key */
    const char
        *server_name;      /* asked for by the client (SNI); lower case, a host name's bytes only */
    bool resumed;          /* from a session ticket */
    bool kernel;           /* the kernel encrypts what we send */
    const char *client_dn; /* subject of the client's certificate, RFC 2253; printable ASCII */
    const char *client_issuer;
    const char *client_hash; /* SHA-256 of that certificate, 64 hex digits */
    bool client_verified;    /* it was issued by one of our certificate authorities */
    const char *remark;      /* for the log: what is wrong with our files for server_name; "" */
};

/* qp_tls - of this connection; NULL: it is not encrypted */
const struct qp_tls *qp_tls(struct qp *q);

/*
 * What stands between the engine's buffers and the descriptors. Nothing here waits.
 *
 * Each returns -1 with errno when it cannot go on: EAGAIN, and *events (POLLIN or POLLOUT of poll(2))
 * is what has to happen first; anything else is the end of the connection.
 */
struct qp_tls_layer {
    int (*handshake)(void *data, short *events); /* 1: done */
    /* bytes read; 0: the peer has said that nothing follows (close_notify) */
    ssize_t (*read)(void *data, char *to, size_t room, short *events);
    /* bytes taken; after EAGAIN it is called again with at least the same bytes */
    ssize_t (*write)(void *data, const char *from, size_t n, short *events);
    void (*end)(void *data);                          /* say that nothing follows */
    void (*describe)(void *data, struct qp_tls *out); /* after the handshake */
    const char *(*error)(void *data);                 /* why the last call failed; never NULL */
};

/* The engine fills in and out; the hook `tls` the rest, and ends what `data` is with
 * qp_at_end(q, QP_CONNECTION, ...). */
struct qp_tls_offer {
    int in, out; /* descriptors; the same or not; borrowed */
    const struct qp_tls_layer *layer;
    void *data;
};

/* qp_tls_none - in init: this instance can encrypt nothing, for lack of a certificate. Its hook is not
 * used, so that STARTTLS is not announced on its account. */
void qp_tls_none(struct qp *q);

#endif
