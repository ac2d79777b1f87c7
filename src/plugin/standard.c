#include "plugin/standard.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#define HEAD       1024 /* bytes of an object in which its build id must stand: linkers put it in front */
#define ID_MAX     32 /* bytes; sha1 has 20 */
#define ALIGNED(n) (((n) + 3) & ~(size_t)3)

/* Copy n bytes, which need not be aligned there; false: not all of them are there. */
static bool
copy(struct str from, size_t at, void *out, size_t n)
{
    if (at > from.n || n > from.n - at)
        return false;
    memcpy(out, from.p + at, n);
    return true;
}

/* The build id in a note segment (elf(5), "Notes"), which holds pairs of a name and a description. */
static struct str
id_in_notes(struct str notes)
{
    ElfW(Nhdr) note;
    char name[4];

    while (copy(notes, 0, &note, sizeof note) && note.n_namesz < HEAD && note.n_descsz < HEAD) {
        size_t name_n = ALIGNED((size_t)note.n_namesz), id_n = ALIGNED((size_t)note.n_descsz);

        notes = str_from(notes, sizeof note);
        if (name_n > notes.n || id_n > notes.n - name_n)
            break;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == sizeof name &&
            copy(notes, 0, name, sizeof name) && memcmp(name, "GNU", sizeof name) == 0)
            return (struct str){notes.p + name_n, note.n_descsz};
        notes = str_from(notes, name_n + id_n);
    }
    return STR("");
}

struct str
standard_build_id(struct str head)
{
    ElfW(Ehdr) elf;
    ElfW(Phdr) segment;
    struct str id = STR("");

    if (!copy(head, 0, &elf, sizeof elf) || memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
        elf.e_phentsize != sizeof segment || elf.e_phoff > head.n)
        return id;
    for (size_t i = 0; i < elf.e_phnum && id.n == 0; i++) {
        if (!copy(head, elf.e_phoff + i * sizeof segment, &segment, sizeof segment))
            break;
        if (segment.p_type == PT_NOTE && segment.p_offset <= head.n &&
            segment.p_filesz <= head.n - segment.p_offset)
            id = id_in_notes((struct str){head.p + segment.p_offset, segment.p_filesz});
    }
    return id;
}

/* In hexadecimal; "" when the file has none, or cannot be read: dlopen(3) will say why. */
static void
build_id(const char *path, char out[2 * ID_MAX + 1])
{
    static const char digits[] = "0123456789abcdef";
    char bytes[HEAD];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof bytes);
    struct str id = n > 0 ? standard_build_id((struct str){bytes, (size_t)n}) : STR("");

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
