/*
 * t/fuzz/replay - run a fuzz target over its corpus, as a test that speaks TAP
 *
 * Owns   main() of the fuzz targets in `make test`; libFuzzer's takes its place in `make fuzz`
 * Keep   a target without a corpus is tested as well, with the empty input: it must at least not
 * crash
 *
 * The corpus of build/VARIANT/t/fuzz/NAME is t/fuzz/corpus/NAME/, seen from the root of the tree;
 * arguments, files or directories, replace it. An input that fails aborts, and is named by the line
 * in front.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned tests;

static void
replay_bytes(const char *name, const uint8_t *data, size_t size)
{
    printf("# %s\n", name);
    fflush(stdout); /* the target may not return */
    LLVMFuzzerTestOneInput(data, size);
    printf("ok %u - %s\n", ++tests, name);
}

static void
fail(const char *name)
{
    printf("not ok %u - %s: %s\n", ++tests, name, strerror(errno));
}

static void
replay_file(const char *path, size_t size)
{
    /* Of exactly that size: the address sanitizer then sees a read behind the end. */
    uint8_t *data = malloc(size > 0 ? size : 1);
    FILE *f = fopen(path, "rb");

    if (data != NULL && f != NULL && fread(data, 1, size, f) == size)
        replay_bytes(path, data, size);
    else
        fail(path);
    if (f != NULL)
        fclose(f);
    free(data);
}

static int
visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void
replay(const char *path)
{
    struct dirent **entry;
    struct stat st;
    int n;

    if (stat(path, &st) < 0) {
        fail(path);
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path, (size_t)st.st_size);
        return;
    }
    n = scandir(path, &entry, visible, alphasort);
    if (n < 0) {
        fail(path);
        return;
    }
    for (int i = 0; i < n; i++) {
        char name[4096];

        snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
        replay(name);
        free(entry[i]);
    }
    free(entry);
}

int
main(int argc, char *argv[])
{
    const char *slash = strrchr(argv[0], '/');
    char corpus[4096];

    replay_bytes("the empty input", (const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    snprintf(corpus, sizeof corpus, "t/fuzz/corpus/%s", slash != NULL ? slash + 1 : argv[0]);
    if (argc < 2 && access(corpus, F_OK) == 0)
        replay(corpus);
    printf("1..%u\n", tests);
    return EXIT_SUCCESS;
}
