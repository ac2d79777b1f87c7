#include "conf/mph_output.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <unistd.h>

#define ALIGN_MAX 64

static void
end_block(struct mph_output *o)
{
    size_t n = (o->at - 1) % MPH_BLOCK + 1;

    if (o->n_sums == 0)
        memcpy(o->first, o->block, n);
    o->sums[o->n_sums++] = mph_block_sum(o->block, n);
}

void
mph_output_put(struct mph_output *o, const void *data, size_t n)
{
    fwrite(data, 1, n, o->file); /* who asks ferror() in the end misses nothing */
    while (n > 0) {
        size_t used = o->at % MPH_BLOCK;
        size_t take = n < MPH_BLOCK - used ? n : MPH_BLOCK - used;

        memcpy(o->block + used, data, take);
        data = (const uint8_t *)data + take;
        n -= take;
        o->at += take;
        if (o->at % MPH_BLOCK != 0)
            continue;
        if (o->n_sums + 2 > o->room) {
            size_t room = o->room ? 2 * o->room : 1024;

            o->sums =
                arena_grow(o->arena, o->sums, o->room * sizeof *o->sums, room * sizeof *o->sums);
            o->room = room;
        }
        end_block(o);
    }
}

void
mph_output_align(struct mph_output *o, size_t to)
{
    static const uint8_t zero[ALIGN_MAX] = {0};

    mph_output_put(o, zero, (to - o->at % to) % to);
}

void
mph_output_varint(struct mph_output *o, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;

    for (; value >= 0x80; value >>= 7)
        bytes[n++] = (uint8_t)(value | 0x80);
    bytes[n++] = (uint8_t)value;
    mph_output_put(o, bytes, n);
}

bool
mph_output_open(struct mph_output *o, struct arena *a, const char *path, struct err *e)
{
    char *name = arena_printf(a, "%s.XXXXXX", path);
    int fd = mkostemp(name, O_CLOEXEC);
    struct mph_header room = {.magic = ""};

    o->arena = a;
    o->path = path;
    if (fd < 0)
        return err_sys(e, "%s", name);
    o->temporary = name;
    o->file = fdopen(fd, "w+");
    if (!o->file) {
        err_sys(e, "%s", name);
        close(fd);
        return false;
    }
    setvbuf(o->file, NULL, _IOFBF, 1U << 18);
    mph_output_put(o, &room, sizeof room);
    return true;
}

/* The header goes into block 0, whose sum is known only then. */
static bool
put_sums(struct mph_output *o, const struct mph_header *h)
{
    size_t n_first = o->at < MPH_BLOCK ? (size_t)o->at : MPH_BLOCK;

    if (o->n_sums == 0)
        o->sums = arena_alloc(o->arena, 2 * sizeof *o->sums);
    if (o->at % MPH_BLOCK != 0)
        end_block(o);
    memcpy(o->first, h, sizeof *h);
    o->sums[0] = mph_block_sum(o->first, n_first);
    fwrite(o->sums, sizeof *o->sums, o->n_sums, o->file);
    if (fseek(o->file, 0, SEEK_SET) != 0)
        return false;
    fwrite(o->first, 1, n_first, o->file);
    return fflush(o->file) == 0 && !ferror(o->file);
}

/* What may read the list may read this. An owner that we may not set stays ours, as after cp(1). */
static bool
put_on_disk(const struct mph_output *o, const struct stat *mode)
{
    int fd = fileno(o->file);

    if (fchown(fd, mode->st_uid, mode->st_gid) < 0 && errno != EPERM)
        return false;
    return fchmod(fd, mode->st_mode & 0777) == 0 && fsync(fd) == 0;
}

bool
mph_output_end(struct mph_output *o, const struct mph_header *h, const struct stat *mode)
{
    return put_sums(o, h) && put_on_disk(o, mode);
}

bool
mph_output_rename(struct mph_output *o, struct err *e)
{
    char *copy = arena_dup(o->arena, str_of(o->path));
    int fd;

    if (rename(o->temporary, o->path) < 0)
        return err_sys(e, "%s", o->path);
    o->temporary = NULL;
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        err_sys(e, "%s", copy);
        if (fd >= 0)
            close(fd);
        return false;
    }
    close(fd);
    return true;
}

void
mph_output_close(struct mph_output *o)
{
    if (o->file)
        fclose(o->file);
    if (o->temporary)
        unlink(o->temporary);
    *o = (struct mph_output){.file = NULL};
}
