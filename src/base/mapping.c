#include "base/mapping.h"

#include <assert.h>
#include <setjmp.h>
#include <sys/mman.h>

/* Process-wide, because a signal handler has no other way to know. */
static struct {
    const struct mapping *volatile at; /* NULL: nobody looks */
    sigjmp_buf back;
} looking;

bool
mapping_open(struct mapping *m, int fd, size_t n, struct err *e)
{
    void *p;

    *m = (struct mapping){NULL, 0};
    if (n == 0)
        return true;
    p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_sys(e, "mmap");
    *m = (struct mapping){p, n};
    return true;
}

void
mapping_close(struct mapping *m)
{
    if (m->p)
        munmap((void *)(uintptr_t)m->p, m->n); /* const for readers, not for the system */
    *m = (struct mapping){NULL, 0};
}

bool
mapping_look(const struct mapping *m, void (*look)(void *data), void *data)
{
    assert(!looking.at);
    /* Without the signal mask, which would cost a system call: the handler blocks nothing. */
    if (sigsetjmp(looking.back, 0) != 0) {
        looking.at = NULL;
        return false;
    }
    looking.at = m;
    look(data);
    looking.at = NULL;
    return true;
}

bool
mapping_lost(const void *address)
{
    const struct mapping *m = looking.at;
    uintptr_t at = (uintptr_t)address;

    return m && at >= (uintptr_t)m->p && at - (uintptr_t)m->p < m->n;
}

void
mapping_rescue(void)
{
    siglongjmp(looking.back, 1);
}
