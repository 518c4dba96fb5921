// Operations on the files below SHIM_FOLDER: one may fail, be halved, or be the last of the process; and all that
// change something are written down, with their contents, in the file that SHIM_TRACE names.
//
// The shared memory of the store (-shm) is left alone: it is mapped, and made anew after a crash.
#define _GNU_SOURCE
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 65536

// What is known of an open file; kind 0: not below the folder.
struct file {
    uint32_t number;
    uint32_t kind;
};

static const char *folder;
static size_t folder_length;
static int trace = -1;
static struct file files[DESCRIPTORS];
// Held over an operation and its record, so that the trace has the order in which things were done.
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void look_around(void) {
    folder = getenv("SHIM_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    const char *path = getenv("SHIM_TRACE");
    if (!path)
        return;
    int file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    // A high number, which no part of the program takes for its own.
    trace = file < 0 ? -1 : fcntl(file, F_DUPFD_CLOEXEC, 1000);
    if (trace < 0)
        abort();
    syscall(SYS_close, file);
}

static int ends_with(const char *text, const char *end) {
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static uint32_t kind_of_path(const char *path) {
    if (!folder || strncmp(path, folder, folder_length) != 0 || path[folder_length] != '/')
        return 0;
    if (ends_with(path, "-shm"))
        return 0;
    if (ends_with(path, "/queue.db"))
        return STORE;
    return ends_with(path, "/queue.db-wal") ? LOG : OTHER;
}

static struct file file_of(int descriptor) {
    struct file none = {0, 0};
    return descriptor >= 0 && descriptor < DESCRIPTORS ? files[descriptor] : none;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static int64_t word(enum word which) { return atomic_load(&control()[which]); }

// The fault that this operation meets.
static enum fault fault(enum operation operation, uint32_t kind) {
    if (!kind || !(word(OPERATIONS) & operation) || !(word(FILES) & kind))
        return NONE;
    atomic_fetch_add(&control()[SEEN], 1);
    enum fault fault = word(FAULT);
    if (fault == NONE || atomic_fetch_sub(&control()[COUNTDOWN], 1) > 1)
        return NONE;
    if (atomic_fetch_sub(&control()[TIMES], 1) <= 0)
        return NONE;
    atomic_fetch_add(&control()[STRUCK], 1);
    if (fault == HANGS) {
        while (word(FAULT) == HANGS)
            usleep(5000);
        return NONE;
    }
    return fault;
}

// Whether the fault is an error; sets errno.
static int is_error(enum fault fault) {
    if (fault != FAILS && fault != NO_SPACE)
        return 0;
    errno = fault == FAILS ? EIO : ENOSPC;
    return 1;
}

static void begin(uint32_t kind) {
    if (kind && trace >= 0)
        pthread_mutex_lock(&order);
}

// Ends an operation: writes it down if it was done, and dies if it was to be the last.
static void end(enum operation operation, struct file file, int done, uint64_t offset, const void *bytes,
                size_t length, enum fault fault) {
    int saved = errno;
    if (file.kind && trace >= 0) {
        if (done) {
            uint64_t head[4] = {operation, file.number, offset, length};
            struct iovec parts[2] = {{head, sizeof head}, {(void *)bytes, length}};
            if (syscall(SYS_writev, trace, parts, 2) != (long)(sizeof head + length))
                abort();
        }
        pthread_mutex_unlock(&order);
    }
    if (fault == LAST || fault == HALVED_LAST)
        die();
    errno = saved;
}

static int open_file(int folder_descriptor, const char *path, int flags, mode_t mode) {
    struct file file = {0, kind_of_path(path)};
    if (file.kind && (flags & O_DIRECTORY))
        file.kind = 0;
    enum fault met = fault(OPEN, file.kind);
    if (is_error(met))
        return -1;
    begin(file.kind);
    int descriptor = syscall(SYS_openat, folder_descriptor, path, flags, mode);
    if (descriptor >= 0 && file.kind)
        file.number = atomic_fetch_add(&control()[NEXT_FILE], 1);
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        files[descriptor] = file;
    end(OPEN, file, descriptor >= 0, (flags & O_TRUNC) != 0, path, strlen(path), met);
    return descriptor;
}

#define WITH_MODE(mode)                                                                                        \
    mode_t mode = 0;                                                                                           \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                                       \
        va_list rest;                                                                                          \
        va_start(rest, flags);                                                                                 \
        mode = va_arg(rest, mode_t);                                                                           \
        va_end(rest);                                                                                          \
    }

int open(const char *path, int flags, ...) {
    WITH_MODE(mode)
    return open_file(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    WITH_MODE(mode)
    return open_file(AT_FDCWD, path, flags, mode);
}

int openat(int folder_descriptor, const char *path, int flags, ...) {
    WITH_MODE(mode)
    return open_file(folder_descriptor, path, flags, mode);
}

int openat64(int folder_descriptor, const char *path, int flags, ...) {
    WITH_MODE(mode)
    return open_file(folder_descriptor, path, flags, mode);
}

int close(int descriptor) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        files[descriptor].kind = 0;
    return syscall(SYS_close, descriptor);
}

// Writes at a place, or where the file stands if that is negative.
static ssize_t write_at(int descriptor, const void *bytes, size_t length, off_t place) {
    struct file file = file_of(descriptor);
    enum fault met = fault(WRITE, file.kind);
    if (is_error(met))
        return -1;
    if ((met == HALVED || met == HALVED_LAST) && length > 1)
        length /= 2;
    begin(file.kind);
    off_t at = place >= 0 || !file.kind ? place : syscall(SYS_lseek, descriptor, 0, SEEK_CUR);
    ssize_t written = place >= 0 ? syscall(SYS_pwrite64, descriptor, bytes, length, place)
                                 : syscall(SYS_write, descriptor, bytes, length);
    end(WRITE, file, written > 0, at, bytes, written > 0 ? written : 0, met);
    return written;
}

ssize_t write(int descriptor, const void *bytes, size_t length) {
    return write_at(descriptor, bytes, length, -1);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t place) {
    return write_at(descriptor, bytes, length, place);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t length, off64_t place) {
    return write_at(descriptor, bytes, length, place);
}

static ssize_t read_at(int descriptor, void *bytes, size_t length, off_t place) {
    enum fault met = fault(READ, file_of(descriptor).kind);
    if (is_error(met))
        return -1;
    ssize_t got = place >= 0 ? syscall(SYS_pread64, descriptor, bytes, length, place)
                             : syscall(SYS_read, descriptor, bytes, length);
    if (met == FLIPPED && got > 0) {
        uint64_t bit = (uint64_t)word(BIT) % ((uint64_t)got * 8);
        ((unsigned char *)bytes)[bit / 8] ^= 1 << (bit % 8);
    }
    if (met == LAST || met == HALVED_LAST)
        die();
    return got;
}

ssize_t read(int descriptor, void *bytes, size_t length) { return read_at(descriptor, bytes, length, -1); }

ssize_t pread(int descriptor, void *bytes, size_t length, off_t place) {
    return read_at(descriptor, bytes, length, place);
}

ssize_t pread64(int descriptor, void *bytes, size_t length, off64_t place) {
    return read_at(descriptor, bytes, length, place);
}

static int sync_file(int descriptor, long call) {
    struct file file = file_of(descriptor);
    enum fault met = fault(SYNC, file.kind);
    if (is_error(met))
        return -1;
    // A process that dies in a sync may have brought nothing to the disk.
    if (met == HALVED_LAST)
        die();
    begin(file.kind);
    int result = syscall(call, descriptor);
    end(SYNC, file, result == 0, 0, "", 0, met);
    return result;
}

int fsync(int descriptor) { return sync_file(descriptor, SYS_fsync); }

int fdatasync(int descriptor) { return sync_file(descriptor, SYS_fdatasync); }

static int truncate_file(int descriptor, off_t length) {
    struct file file = file_of(descriptor);
    enum fault met = fault(TRUNCATE, file.kind);
    if (is_error(met))
        return -1;
    begin(file.kind);
    int result = syscall(SYS_ftruncate, descriptor, length);
    end(TRUNCATE, file, result == 0, length, "", 0, met);
    return result;
}

int ftruncate(int descriptor, off_t length) { return truncate_file(descriptor, length); }

int ftruncate64(int descriptor, off64_t length) { return truncate_file(descriptor, length); }

int unlink(const char *path) {
    struct file file = {0, kind_of_path(path)};
    enum fault met = fault(UNLINK, file.kind);
    if (is_error(met))
        return -1;
    begin(file.kind);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    end(UNLINK, file, result == 0, 0, path, strlen(path), met);
    return result;
}

int rename(const char *from, const char *to) {
    struct file file = {0, kind_of_path(to)};
    enum fault met = fault(RENAME, file.kind);
    if (is_error(met))
        return -1;
    begin(file.kind);
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    char both[8192];
    size_t first = strlen(from) + 1, second = strlen(to);
    if (first + second > sizeof both)
        abort();
    memcpy(both, from, first);
    memcpy(both + first, to, second);
    end(RENAME, file, result == 0, 0, both, first + second, met);
    return result;
}

// Copies inside the kernel would pass by the trace; the program falls back to reading and writing.
ssize_t copy_file_range(int from, off64_t *from_place, int to, off64_t *to_place, size_t length, unsigned flags) {
    if (file_of(to).kind) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_copy_file_range, from, from_place, to, to_place, length, flags);
}

ssize_t sendfile64(int to, int from, off64_t *place, size_t length) {
    if (file_of(to).kind) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_sendfile, to, from, place, length);
}
