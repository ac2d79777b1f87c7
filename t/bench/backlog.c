/*
 * backlog - to be preloaded: a server's queue of new connections is as long as the system allows
 *
 * OpenSMTPD asks for five, and more clients than that wait a second before they try again.
 */
#include <dlfcn.h>
#include <sys/socket.h>

int
listen(int fd, int backlog)
{
    int (*system_listen)(int, int);

    *(void **)&system_listen = dlsym(RTLD_NEXT, "listen");
    return system_listen(fd, backlog < SOMAXCONN ? SOMAXCONN : backlog);
}
