#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

bool
library_open(const char *file, const struct library_symbol wanted[], size_t n)
{
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);

    if (!handle)
        return false;
    for (size_t i = 0; i < n; i++) {
        void *symbol = dlsym(handle, wanted[i].name);

        if (!symbol) {
            dlclose(handle);
            return false;
        }
        memcpy(wanted[i].slot, &symbol, sizeof symbol);
    }
    return true;
}
