// Maps the file that SHIM_CONTROL names.
#define _GNU_SOURCE
#include "control.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic int64_t nothing[WORDS];
static _Atomic int64_t *_Atomic mapped;

_Atomic int64_t *control(void) {
    _Atomic int64_t *words = atomic_load(&mapped);
    return words ? words : nothing;
}

__attribute__((constructor)) static void map_control(void) {
    const char *path = getenv("SHIM_CONTROL");
    if (!path)
        return;
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        abort();
    void *words = mmap(NULL, WORDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (words == MAP_FAILED)
        abort();
    syscall(SYS_close, file);
    atomic_store(&mapped, words);
}
