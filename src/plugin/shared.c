#include "plugin/shared.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct block {
    struct block *next;
    void *memory;
    size_t size;
    char name[];
};

static struct block *blocks;

void *
shared_block(const char *name, size_t size)
{
    size_t n = strlen(name) + 1;
    struct block *b;

    for (b = blocks; b; b = b->next)
        if (b->size == size && strcmp(b->name, name) == 0)
            return b->memory;
    b = malloc(sizeof *b + n);
    if (!b)
        return NULL;
    b->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b->memory == MAP_FAILED) {
        free(b);
        return NULL;
    }
    b->size = size;
    memcpy(b->name, name, n);
    b->next = blocks;
    blocks = b;
    return b->memory;
}
