#include "plugin/standard.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#define HEAD       1024 /* bytes of an object in which its build id must stand: linkers put it in front */
#define ID_MAX     32 /* bytes; sha1 has 20 */
#define ALIGNED(n) (((n) + 3) & ~(size_t)3)

/* Bytes [at, at + n) of the head; NULL: not all of them are there. */
static const void *
piece(struct str head, size_t at, size_t n)
{
    return at <= head.n && n <= head.n - at ? head.p + at : NULL;
}

/* The build id in a note segment, empty when there is none (elf(5), "Notes"). */
static struct str
id_in_notes(struct str notes)
{
    for (;;) {
        const ElfW(Nhdr) *note = piece(notes, 0, sizeof *note);
        const char *name, *id;
        size_t name_n;

        if (!note || note->n_namesz > HEAD || note->n_descsz > HEAD)
            return STR("");
        name_n = ALIGNED(note->n_namesz);
        name = piece(notes, sizeof *note, name_n);
        id = name ? piece(notes, sizeof *note + name_n, note->n_descsz) : NULL;
        if (!id)
            return STR("");
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0)
            return (struct str){id, note->n_descsz};
        notes = str_from(notes, sizeof *note + name_n + ALIGNED(note->n_descsz));
    }
}

static struct str
id_in_head(struct str head)
{
    const ElfW(Ehdr) *elf = piece(head, 0, sizeof *elf);

    if (!elf || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->e_phentsize != sizeof(ElfW(Phdr)))
        return STR("");
    for (size_t i = 0; i < elf->e_phnum; i++) {
        const ElfW(Phdr) *segment =
            piece(head, elf->e_phoff + i * sizeof *segment, sizeof *segment);
        const char *notes;
        struct str id;

        if (!segment || segment->p_type != PT_NOTE)
            continue;
        notes = piece(head, segment->p_offset, segment->p_filesz);
        id = notes ? id_in_notes((struct str){notes, segment->p_filesz}) : STR("");
        if (id.n)
            return id;
    }
    return STR("");
}

/* In hexadecimal; "" when the file has none, or cannot be read: dlopen(3) will say why. */
static void
build_id(const char *path, char out[2 * ID_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    _Alignas(8) char bytes[HEAD];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
    struct str id = n > 0 ? id_in_head((struct str){bytes, (size_t)n}) : STR("");

    if (fd >= 0)
        close(fd);
    if (id.n > ID_MAX)
        id.n = 0;
    for (size_t i = 0; i < id.n; i++) {
        out[2 * i] = digits[(unsigned char)id.p[i] >> 4];
        out[2 * i + 1] = digits[id.p[i] & 15];
    }
    out[2 * id.n] = '\0';
}

/* It is never closed: the process ends with its client. */
static const struct standard_plugin *
open_table(struct arena *scratch, const char *dir)
{
    const char *path = arena_concat(scratch, (const char *[]){dir, "/standard.so", NULL});
    void *handle = access(path, F_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;

    return handle ? dlsym(handle, "qp_standard") : NULL;
}

const struct qp_plugin *
standard_find(struct standard *s, struct arena *scratch, const char *dir, const char *path)
{
    char id[2 * ID_MAX + 1];

    if (!s->dir || strcmp(s->dir, dir) != 0) {
        s->dir = dir;
        s->table = open_table(scratch, dir);
    }
    if (!s->table)
        return NULL;
    build_id(path, id);
    for (const struct standard_plugin *known = s->table; *known->id; known++)
        if (strcmp(known->id, id) == 0)
            return known->plugin;
    return NULL;
}
