/* The preloaded library: file functions of the C library, each called through, faulted (shim_faults.h) and recorded.
 *
 * Promised.  Loaded with LD_PRELOAD it does nothing but pass through until it is started, by the environment
 * (FAULTKIT_RECORD_SPOOLS, _ROOTS, _BLOCK_SIZE, _FILES=0) or by faultkit_start.  Then each call on a path under a
 * root becomes one frame as faultkit/recording/spool.py reads it, written by one writev when the call is over.  Every
 * process has a spool of its own, also after fork; the child of a vfork shares its parent's memory and is left alone.
 * What stdio writes at a flush is found by its effect (the position moves) and read back from the file.
 *
 * System calls that go past the C library, as rustix makes them, are seen where Linux can tell of them.
 *
 * Left out: static programs, io_uring, splice, extended attributes, times, owners and modes.
 * A writable shared map of a file under a root is told as a note.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define ROOTS_MAX 4
#define HEAD_MAX (4 * PATH_MAX)
#define COPY_MAX (8 << 20)

extern const char *strerrorname_np(int) __attribute__((weak));

/* -- what is recorded ------------------------------------------------------------------------------- */

struct entry { /* one descriptor */
    int handle; /* -1: nobody wants it */
    int flags;
    int directory;
    uint64_t device, inode;
    char *path;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int active;
static pid_t owner; /* the process to which this memory belongs; a vfork child has another number */
static int spool = -1;
static char spool_directory[PATH_MAX];
static char roots[ROOTS_MAX][PATH_MAX];
static int root_count, rank_number = -1, next_handle;
static long block_size;
static struct entry *table;
static int table_size;
static __thread int inside; /* own calls, and calls that a wrapped one makes of others */

struct operation {
    const char *kind, *path, *target, *name;
    uint64_t start, device, inode;
    int64_t handle, flags, offset, number;
    int error;
};

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Whether this call is to be recorded at all: cheap, first in every function. */
static int listening(void) { return active && !inside && getpid() == owner; }

static int wanted(const char *path) {
    for (int i = 0; i < root_count; i++) {
        size_t n = strlen(roots[i]);
        if (!strncmp(path, roots[i], n) && (path[n] == '/' || path[n] == 0)) return 1;
    }
    return 0;
}

/* -- msgpack ---------------------------------------------------------------------------------------- */

static char *put_int(char *p, int64_t v) {
    *p++ = (char)0xd3;
    for (int i = 56; i >= 0; i -= 8) *p++ = (char)(v >> i);
    return p;
}

static char *put_text(char *p, const char *text) {
    size_t n = text ? strlen(text) : 0;
    *p++ = (char)0xda;
    *p++ = (char)(n >> 8);
    *p++ = (char)n;
    memcpy(p, text ? text : "", n);
    return p + n;
}

static void put_length(char *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (char)(v >> (8 * i));
}

static int spool_of_this_process(void) {
    if (spool < 0) {
        char path[PATH_MAX + 32];
        snprintf(path, sizeof path, "%s/preload-%d", spool_directory, (int)owner);
        int opened = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (opened < 0) return -1;
        /* high up, so that a program which counts its descriptors finds those that it expects */
        spool = (int)syscall(SYS_fcntl, opened, F_DUPFD_CLOEXEC, 900);
        if (spool < 0) spool = opened;
        else syscall(SYS_close, opened);
    }
    return spool;
}

static void spool_failed(int error) {
    const char *why = strerrorname_np ? strerrorname_np(error) : NULL;
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/preload-%d.%s.failed", spool_directory, (int)owner, why ? why : "error");
    int made = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600);
    if (made >= 0) syscall(SYS_close, made);
}

static void append(const struct operation *op, const struct iovec *data, int count, size_t accepted) {
    static __thread char head[HEAD_MAX];
    char number[16];
    const char *error = "";
    if (op->error) {
        error = strerrorname_np ? strerrorname_np(op->error) : NULL;
        if (!error) {
            snprintf(number, sizeof number, "E%d", op->error);
            error = number;
        }
    }
    char *p = head + 8;
    *p++ = (char)0xdc, *p++ = 0, *p++ = 16;
    p = put_text(p, op->kind);
    p = put_int(p, owner);
    p = put_int(p, syscall(SYS_gettid));
    p = put_int(p, (int64_t)op->start);
    p = put_int(p, (int64_t)now());
    p = put_text(p, op->path);
    p = put_text(p, op->target);
    p = put_int(p, (int64_t)op->device);
    p = put_int(p, (int64_t)op->inode);
    p = put_int(p, op->handle);
    p = put_int(p, op->flags);
    p = put_int(p, op->offset);
    p = put_text(p, error);
    *p++ = (char)0x90; /* where */
    p = put_text(p, op->name);
    p = put_int(p, op->number);
    put_length(head, (uint32_t)(p - head - 8));
    put_length(head + 4, (uint32_t)accepted);
    struct iovec pieces[IOV_MAX];
    pieces[0] = (struct iovec){head, (size_t)(p - head)};
    int used = 1;
    size_t left = accepted;
    for (int i = 0; i < count && left && used < IOV_MAX; i++) {
        size_t n = data[i].iov_len < left ? data[i].iov_len : left;
        pieces[used++] = (struct iovec){data[i].iov_base, n};
        left -= n;
    }
    pthread_mutex_lock(&lock);
    int fd = spool_of_this_process();
    int first = 0;
    while (fd >= 0 && first < used) {
        ssize_t written = syscall(SYS_writev, fd, pieces + first, used - first);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            spool_failed(errno);
            break;
        }
        while (first < used && (size_t)written >= pieces[first].iov_len) written -= (ssize_t)pieces[first++].iov_len;
        if (first < used) {
            pieces[first].iov_base = (char *)pieces[first].iov_base + written;
            pieces[first].iov_len -= (size_t)written;
        }
    }
    pthread_mutex_unlock(&lock);
}

static void begin(void) {
    struct operation op = {.kind = "begin", .start = now(), .handle = -1, .number = rank_number};
    append(&op, NULL, 0, 0);
}

/* -- names and descriptors -------------------------------------------------------------------------- */

/* Headers say of paths that they are never null, by which a compiler leaves a question for it out; but Rust asks whether
 * `statx` is there by a null one. */
#define MAYBE_NULL(path) __asm__("" : "+r"(path))

/* `path` as an absolute name without "." and ".."; 0 where it cannot be told. */
static int absolute(int directory, const char *path, char *out) {
    char joined[2 * PATH_MAX];
    MAYBE_NULL(path);
    if (!path || strlen(path) >= PATH_MAX) return 0;
    if (path[0] == '/') {
        strcpy(joined, path);
    } else {
        ssize_t n;
        if (directory == AT_FDCWD) {
            n = syscall(SYS_getcwd, joined, PATH_MAX);
            if (n > 0) n--;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            n = readlink(link, joined, PATH_MAX - 1);
        }
        if (n <= 0) return 0;
        joined[n] = '/';
        strcpy(joined + n + 1, path);
    }
    size_t length = 0;
    for (char *part = joined; *part;) {
        while (*part == '/') part++;
        size_t n = strcspn(part, "/");
        if (n == 2 && part[0] == '.' && part[1] == '.') {
            while (length && out[--length] != '/') {}
        } else if (n && !(n == 1 && part[0] == '.')) {
            if (length + n + 2 > PATH_MAX) return 0;
            out[length++] = '/';
            memcpy(out + length, part, n);
            length += n;
        }
        part += n;
    }
    if (!length) out[length++] = '/';
    out[length] = 0;
    return 1;
}

static void identify(const struct stat *state, struct operation *op) {
    op->device = state->st_dev;
    op->inode = state->st_ino;
}

static int stat_of(int fd, struct stat *state) {
    return (int)syscall(SYS_newfstatat, fd, "", state, AT_EMPTY_PATH);
}

static void identify_name(const char *path, struct operation *op, int flags) {
    struct stat state;
    if (!syscall(SYS_newfstatat, AT_FDCWD, path, &state, flags)) identify(&state, op);
}

static void keep(int fd, const char *path, int flags, int handle, const struct stat *state) {
    if (fd >= table_size) {
        int size = fd < 512 ? 1024 : 2 * fd;
        struct entry *grown = realloc(table, sizeof *grown * (size_t)size);
        if (!grown) return;
        for (int i = table_size; i < size; i++) grown[i] = (struct entry){.handle = -1};
        table = grown;
        table_size = size;
    }
    free(table[fd].path);
    table[fd] = (struct entry){handle, flags, S_ISDIR(state->st_mode), state->st_dev, state->st_ino, strdup(path)};
}

/* Fill `op` and `path` with what is open as `fd`; 0 where nobody wants it. */
static int find(int fd, struct operation *op, char *path, int *directory) {
    struct stat state;
    if (fd < 0 || stat_of(fd, &state)) return 0;
    if (!S_ISREG(state.st_mode) && !S_ISDIR(state.st_mode)) return 0;
    pthread_mutex_lock(&lock);
    struct entry *known = fd < table_size ? &table[fd] : NULL;
    if (!known || known->handle < 0 || known->device != state.st_dev || known->inode != state.st_ino) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, PATH_MAX - 1);
        if (n > 0) path[n] = 0;
        if (n > 10 && !state.st_nlink && !strcmp(path + n - 10, " (deleted)")) path[n - 10] = 0;
        if (n > 0 && wanted(path)) keep(fd, path, 0, next_handle++, &state);
        known = fd < table_size ? &table[fd] : NULL;
        if (n <= 0 || !wanted(path)) known = NULL;
    }
    int found = known && known->handle >= 0;
    if (found) {
        snprintf(path, PATH_MAX, "%s", known->path);
        op->path = path;
        op->handle = known->handle;
        op->flags = known->flags;
        op->device = known->device;
        op->inode = known->inode;
        *directory = known->directory;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void forget(int fd) {
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < table_size) table[fd].handle = -1;
    pthread_mutex_unlock(&lock);
}

static void note(const char *sentence) {
    struct operation op = {.kind = "note", .name = sentence, .start = now(), .handle = -1};
    append(&op, NULL, 0, 0);
}

static int64_t place_of(int fd, int64_t offset, int flags, ssize_t written);
static int flags_of(const char *mode);
static void dispatch_on(void), dispatch_off(void);
#include "shim_faults.h"
#include "shim_struck.h"

/* -- opening ---------------------------------------------------------------------------------------- */

static void opened(int fd, int error, const char *path, int flags, uint64_t start) {
    struct operation op = {.kind = "open", .path = path, .start = start, .handle = -1, .flags = flags};
    struct stat state;
    if (fd < 0) {
        op.error = error;
    } else if (!stat_of(fd, &state)) {
        if (!S_ISREG(state.st_mode) && !S_ISDIR(state.st_mode)) return;
        identify(&state, &op);
        pthread_mutex_lock(&lock);
        op.handle = next_handle++;
        keep(fd, path, flags, (int)op.handle, &state);
        pthread_mutex_unlock(&lock);
    }
    append(&op, NULL, 0, 0);
}

#define OPENED(directory, name, flags, call) \
    char path[PATH_MAX]; \
    if (!listening() || !absolute(directory, name, path) || !wanted(path)) return call; \
    inside++; \
    uint64_t start = now(); \
    int fd = call, error = errno; \
    opened(fd, error, path, flags, start); \
    inside--; \
    errno = error; \
    return fd

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    }
#ifndef __O_TMPFILE
#define __O_TMPFILE 020000000
#endif

EXPORT int open(const char *name, int flags, ...) {
    REAL(open);
    MODE(flags);
    STRUCK(AT_OPEN, faulty_open(AT_FDCWD, name, flags, mode));
    OPENED(AT_FDCWD, name, flags, real(name, flags, mode));
}

EXPORT int open64(const char *name, int flags, ...) {
    REAL(open64);
    MODE(flags);
    STRUCK(AT_OPEN, faulty_open(AT_FDCWD, name, flags, mode));
    OPENED(AT_FDCWD, name, flags, real(name, flags, mode));
}

EXPORT int openat(int directory, const char *name, int flags, ...) {
    REAL(openat);
    MODE(flags);
    STRUCK(AT_OPEN, faulty_open(directory, name, flags, mode));
    OPENED(directory, name, flags, real(directory, name, flags, mode));
}

EXPORT int openat64(int directory, const char *name, int flags, ...) {
    REAL(openat64);
    MODE(flags);
    STRUCK(AT_OPEN, faulty_open(directory, name, flags, mode));
    OPENED(directory, name, flags, real(directory, name, flags, mode));
}

EXPORT int __open_2(const char *name, int flags) { FORWARD(int, open(name, flags)); }
EXPORT int __open64_2(const char *name, int flags) { FORWARD(int, open64(name, flags)); }
EXPORT int __openat_2(int directory, const char *name, int flags) { FORWARD(int, openat(directory, name, flags)); }
EXPORT int __openat64_2(int directory, const char *name, int flags) { FORWARD(int, openat64(directory, name, flags)); }
EXPORT int creat(const char *name, mode_t mode) { FORWARD(int, open(name, O_WRONLY | O_CREAT | O_TRUNC, mode)); }
EXPORT int creat64(const char *name, mode_t mode) { FORWARD(int, open64(name, O_WRONLY | O_CREAT | O_TRUNC, mode)); }

static int made_temporary(int fd, const char *name, int flags, uint64_t start) {
    int error = errno;
    char path[PATH_MAX];
    inside++;
    if (fd >= 0 && absolute(AT_FDCWD, name, path) && wanted(path))
        opened(fd, error, path, flags | O_RDWR | O_CREAT | O_EXCL, start);
    inside--;
    errno = error;
    return fd;
}

#define TEMPORARY(name, parameters, arguments, pattern, flags) \
    EXPORT int name parameters { \
        REAL(name); \
        uint64_t start = now(); \
        int fd = real arguments; \
        return listening() ? made_temporary(fd, pattern, flags, start) : fd; \
    }
TEMPORARY(mkstemp, (char *pattern), (pattern), pattern, 0)
TEMPORARY(mkstemp64, (char *pattern), (pattern), pattern, 0)
TEMPORARY(mkostemp, (char *pattern, int flags), (pattern, flags), pattern, flags)
TEMPORARY(mkostemp64, (char *pattern, int flags), (pattern, flags), pattern, flags)
TEMPORARY(mkstemps, (char *pattern, int suffix), (pattern, suffix), pattern, 0)

/* -- calls on a descriptor -------------------------------------------------------------------------- */

#define DESCRIPTOR(op_kind, fd) \
    struct operation op = {.kind = op_kind, .handle = -1}; \
    char path[PATH_MAX]; \
    int directory = 0, error; \
    if (!listening()) goto plain; \
    inside++; \
    int found = find(fd, &op, path, &directory); \
    inside--; \
    if (!found) goto plain; \
    int open_flags = (int)op.flags; \
    (void)open_flags; \
    op.flags = 0; \
    inside++; \
    op.start = now()

#define DONE(result) \
    error = errno; \
    if ((result) < 0) op.error = error; \
    append(&op, NULL, 0, 0); \
    inside--; \
    errno = error; \
    return result

static int64_t place_of(int fd, int64_t offset, int flags, ssize_t written) {
    struct stat state;
    if (offset < 0) return syscall(SYS_lseek, fd, 0L, SEEK_CUR) - (written > 0 ? written : 0);
    if (flags & O_APPEND && !stat_of(fd, &state)) return state.st_size - (written > 0 ? written : 0);
    return offset;
}

#define WRITTEN(fd, at, vector, vector_count, call) \
    ssize_t written = call; \
    error = errno; \
    if (written < 0) op.error = error; \
    op.offset = place_of(fd, at, open_flags, written); \
    if (written < 0) op.offset = (at) < 0 ? 0 : (at); \
    append(&op, vector, vector_count, written > 0 ? (size_t)written : 0); \
    inside--; \
    errno = error; \
    return written

#define WRITE_WITH(own_flags, own_faulty_flags, name, type, parameters, arguments, at, vector, vector_count) \
    EXPORT type name parameters { \
        REAL(name); \
        STRUCK(AT_WRITE, faulty_write(fd, vector, vector_count, at, own_faulty_flags)); \
        DESCRIPTOR("write", fd); \
        op.flags = own_flags; \
        WRITTEN(fd, at, vector, vector_count, real arguments); \
    plain: \
        return real arguments; \
    }
#define WRITE(...) WRITE_WITH(0, 0, __VA_ARGS__)
/* A write's own flags as those of open that mean the same. */
#define WAITS_FOR_DISK (flags & RWF_SYNC ? O_SYNC : flags & RWF_DSYNC ? O_DSYNC : 0)
#define ONE (&(struct iovec){(void *)data, size})

WRITE(write, ssize_t, (int fd, const void *data, size_t size), (fd, data, size), -1, ONE, 1)
WRITE(pwrite, ssize_t, (int fd, const void *data, size_t size, off_t offset), (fd, data, size, offset), offset, ONE, 1)
WRITE(pwrite64, ssize_t, (int fd, const void *data, size_t size, off_t offset), (fd, data, size, offset), offset, ONE, 1)
WRITE(writev, ssize_t, (int fd, const struct iovec *v, int n), (fd, v, n), -1, v, n)
WRITE(pwritev, ssize_t, (int fd, const struct iovec *v, int n, off_t offset), (fd, v, n, offset), offset, v, n)
WRITE(pwritev64, ssize_t, (int fd, const struct iovec *v, int n, off_t offset), (fd, v, n, offset), offset, v, n)
WRITE_WITH(WAITS_FOR_DISK, flags, pwritev2, ssize_t, (int fd, const struct iovec *v, int n, off_t offset, int flags),
           (fd, v, n, offset, flags), offset, v, n)
WRITE_WITH(WAITS_FOR_DISK, flags, pwritev64v2, ssize_t, (int fd, const struct iovec *v, int n, off_t offset, int flags),
           (fd, v, n, offset, flags), offset, v, n)

static ssize_t copied(struct operation *op, int to, int64_t at, int open_flags, int from, int64_t from_offset,
                      ssize_t count) {
    /* the content, from where it was read; a file that is written meanwhile is the program's own business */
    size_t size = count > 0 ? (size_t)count : 0;
    int error = errno;
    char *data = size ? malloc(size) : NULL;
    size_t got = 0;
    while (data && got < size) {
        ssize_t n = syscall(SYS_pread64, from, data + got, size - got, from_offset + (int64_t)got);
        if (n <= 0) break;
        got += (size_t)n;
    }
    if (count < 0) op->error = error;
    op->offset = count < 0 ? 0 : place_of(to, at, open_flags, count);
    if (size || count < 0) append(op, &(struct iovec){data, got}, 1, got);
    free(data);
    inside--;
    errno = error;
    return count;
}

#define COPY(name, parameters, arguments, to, from, to_pointer, to_place, from_place) \
    EXPORT ssize_t name parameters { \
        REAL(name); \
        STRUCK(AT_WRITE, faulty_copy(to, to_pointer, from, from_place, size)); \
        DESCRIPTOR("write", to); \
        if (size > COPY_MAX) size = COPY_MAX; \
        int64_t from_offset = from_place ? (int64_t)*from_place : syscall(SYS_lseek, from, 0L, SEEK_CUR); \
        int64_t at = (int64_t)(to_place); \
        ssize_t count = real arguments; \
        (void)error; \
        return copied(&op, to, at, open_flags, from, from_offset, count); \
    plain: \
        return real arguments; \
    }

COPY(sendfile, (int to, int from, off_t *offset, size_t size), (to, from, offset, size), to, from, NULL, -1, offset)
COPY(sendfile64, (int to, int from, off_t *offset, size_t size), (to, from, offset, size), to, from, NULL, -1, offset)
COPY(copy_file_range,
     (int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned int flags),
     (from, from_at, to, to_at, size, flags), to, from, to_at, (to_at ? *to_at : -1), from_at)

#define SIZED(name, parameters, arguments, op_offset) \
    EXPORT int name parameters { \
        REAL(name); \
        STRUCK(AT_TRUNCATE, FAULTY_DESCRIPTOR(AT_TRUNCATE, fd, name arguments)); \
        DESCRIPTOR("truncate", fd); \
        op.offset = op_offset; \
        int result = real arguments; \
        DONE(result); \
    plain: \
        return real arguments; \
    }
SIZED(ftruncate, (int fd, off_t size), (fd, size), size)
SIZED(ftruncate64, (int fd, off_t size), (fd, size), size)

/* Space that is taken changes the content only where the file grows: then it is a truncate to the larger size. */
static int64_t size_of(int fd) {
    struct stat state;
    return stat_of(fd, &state) ? 0 : state.st_size;
}

static int allocated(struct operation *op, int fd, int64_t before, int64_t end, int result, int failed) {
    int error = errno;
    int64_t after = size_of(fd);
    op->offset = failed ? end : after;
    op->error = failed;
    if (failed || after > before) append(op, NULL, 0, 0);
    inside--;
    errno = error;
    return result;
}

#define ALLOCATE(name, parameters, arguments, failure) \
    EXPORT int name parameters { \
        REAL(name); \
        STRUCK(AT_TRUNCATE, FAULTY_NUMBER(FAULTY_DESCRIPTOR(AT_TRUNCATE, fd, allocate(fd, offset, size)))); \
        DESCRIPTOR("truncate", fd); \
        int64_t before = size_of(fd); \
        int result = real arguments; \
        (void)error; \
        return allocated(&op, fd, before, offset + size, result, failure); \
    plain: \
        return real arguments; \
    }
ALLOCATE(posix_fallocate, (int fd, off_t offset, off_t size), (fd, offset, size), result)
ALLOCATE(posix_fallocate64, (int fd, off_t offset, off_t size), (fd, offset, size), result)

static int punches(int mode, const char *path) {
    if (!(mode & ~1)) return 0;
    char sentence[PATH_MAX + 64];
    snprintf(sentence, sizeof sentence, "fallocate with mode %d on %s is not recorded", mode, path);
    note(sentence);
    return 1;
}

#define FALLOCATE(name) \
    EXPORT int name(int fd, int mode, off_t offset, off_t size) { \
        REAL(name); \
        STRUCK(AT_TRUNCATE, FAULTY_DESCRIPTOR(AT_TRUNCATE, fd, name(fd, mode, offset, size))); \
        DESCRIPTOR("truncate", fd); \
        int64_t before = size_of(fd); \
        int result = real(fd, mode, offset, size); \
        error = errno; \
        punches(mode, path); \
        errno = error; \
        return allocated(&op, fd, before, offset + size, result, result < 0 ? error : 0); \
    plain: \
        return real(fd, mode, offset, size); \
    }
FALLOCATE(fallocate)
FALLOCATE(fallocate64)

#define SYNC(name) \
    EXPORT int name(int fd) { \
        REAL(name); \
        STRUCK(AT_FSYNC, FAULTY_DESCRIPTOR(AT_FSYNC, fd, name(fd))); \
        DESCRIPTOR(#name, fd); \
        if (directory) op.kind = "fsync_directory"; \
        int result = real(fd); \
        DONE(result); \
    plain: \
        return real(fd); \
    }
SYNC(fsync)
SYNC(fdatasync)

EXPORT void sync(void) {
    REAL(sync);
    if (!listening()) {
        real();
        return;
    }
    inside++;
    struct operation op = {.kind = "sync", .path = roots[0], .name = "sync", .start = now(), .handle = -1};
    real();
    append(&op, NULL, 0, 0);
    inside--;
}

EXPORT int syncfs(int fd) {
    REAL(syncfs);
    struct stat state, root;
    if (!listening() || stat_of(fd, &state) || syscall(SYS_newfstatat, AT_FDCWD, roots[0], &root, 0) ||
        state.st_dev != root.st_dev)
        return real(fd);
    inside++;
    struct operation op = {.kind = "sync", .path = roots[0], .name = "syncfs", .start = now(), .handle = -1};
    int result = real(fd), error;
    DONE(result);
}

EXPORT int close(int fd) {
    REAL(close);
    STRUCK(AT_CLOSE, FAULTY_DESCRIPTOR(AT_CLOSE, fd, close(fd)));
    if (active && fd == spool && fd >= 0 && !inside && getpid() == owner) {
        errno = EBADF; /* a program that closes all descriptors it does not know */
        return -1;
    }
    DESCRIPTOR("close", fd);
    forget(fd);
    int result = real(fd);
    DONE(result);
plain:
    return real(fd);
}

static int duplicated(int fd, int copy) {
    if (copy < 0 || !listening()) return copy;
    int error = errno;
    inside++;
    struct operation op = {.handle = -1};
    char path[PATH_MAX];
    int directory;
    struct stat state;
    if (find(fd, &op, path, &directory) && !stat_of(copy, &state)) {
        pthread_mutex_lock(&lock);
        keep(copy, path, (int)op.flags, (int)op.handle, &state);
        pthread_mutex_unlock(&lock);
    } else {
        forget(copy);
    }
    inside--;
    errno = error;
    return copy;
}

static void closes(int fd, int other) {
    struct operation op = {.kind = "close", .handle = -1, .start = now()};
    char path[PATH_MAX];
    int directory;
    if (fd == other || !listening()) return;
    inside++;
    if (find(other, &op, path, &directory)) {
        op.flags = 0;
        forget(other);
        append(&op, NULL, 0, 0);
    }
    inside--;
}

EXPORT int dup(int fd) {
    REAL(dup);
    return duplicated(fd, real(fd));
}

EXPORT int dup2(int fd, int other) {
    REAL(dup2);
    closes(fd, other);
    return duplicated(fd, real(fd, other));
}

EXPORT int dup3(int fd, int other, int flags) {
    REAL(dup3);
    closes(fd, other);
    return duplicated(fd, real(fd, other, flags));
}

#define FCNTL(name) \
    EXPORT int name(int fd, int command, ...) { \
        REAL(name); \
        va_list more; \
        va_start(more, command); \
        void *argument = va_arg(more, void *); \
        va_end(more); \
        int result = real(fd, command, argument); \
        return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result; \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

#define MAP(name) \
    EXPORT void *name(void *where, size_t size, int protection, int flags, int fd, off_t offset) { \
        void *result = (void *)syscall(SYS_mmap, where, size, protection, flags, fd, offset); \
        if (active && fd >= 0 && protection & PROT_WRITE && (flags & MAP_TYPE) != MAP_PRIVATE && listening()) { \
            struct operation op = {.handle = -1}; \
            char path[PATH_MAX], sentence[PATH_MAX + 64]; \
            int directory, error = errno; \
            inside++; \
            if (find(fd, &op, path, &directory)) { \
                snprintf(sentence, sizeof sentence, "writes through a memory map of %s are not recorded", path); \
                note(sentence); \
            } \
            inside--; \
            errno = error; \
        } \
        return result; \
    }
MAP(mmap)
MAP(mmap64)

/* -- calls on names --------------------------------------------------------------------------------- */

static int named(struct operation *op, char *path, char *target, int from_directory, const char *from,
                 int to_directory, const char *to) {
    if (!listening()) return 0;
    inside++;
    int known = absolute(from_directory, from, path) && (!to || absolute(to_directory, to, target));
    known = known && (wanted(path) || (to && wanted(target)));
    op->path = path;
    op->target = to ? target : "";
    op->handle = -1;
    if (!known) inside--;
    return known;
}

#define NAMED(kind_text, look, from_directory, from, to_directory, to) \
    struct operation op = {.kind = kind_text}; \
    char path[PATH_MAX], target[PATH_MAX]; \
    int error; \
    if (!named(&op, path, target, from_directory, from, to_directory, to)) goto plain; \
    if (look >= 0) identify_name(path, &op, look); \
    op.start = now()

#define NAME_CALL(name, parameters, arguments, place, kind_text, look, from_directory, from, to_directory, to) \
    EXPORT int name parameters { \
        REAL(name); \
        STRUCK(place, FAULTY_NAMES(place, from_directory, from, to_directory, to, name arguments)); \
        NAMED(kind_text, look, from_directory, from, to_directory, to); \
        int result = real arguments; \
        DONE(result); \
    plain: \
        return real arguments; \
    }

#define LOOK AT_SYMLINK_NOFOLLOW
NAME_CALL(rename, (const char *a, const char *b), (a, b), AT_RENAME, "rename", LOOK, AT_FDCWD, a, AT_FDCWD, b)
NAME_CALL(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), AT_RENAME, "rename", LOOK, d, a, e, b)
NAME_CALL(link, (const char *a, const char *b), (a, b), AT_LINK, "link", LOOK, AT_FDCWD, a, AT_FDCWD, b)
NAME_CALL(linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f), AT_LINK, "link", LOOK, d, a, e, b)
NAME_CALL(unlink, (const char *a), (a), AT_UNLINK, "unlink", LOOK, AT_FDCWD, a, 0, NULL)
NAME_CALL(rmdir, (const char *a), (a), AT_RMDIR, "rmdir", LOOK, AT_FDCWD, a, 0, NULL)
NAME_CALL(unlinkat, (int d, const char *a, int f), (d, a, f), AT_UNLINK, f & AT_REMOVEDIR ? "rmdir" : "unlink", LOOK, d, a, 0, NULL)
NAME_CALL(truncate, (const char *a, off_t size), (a, size), AT_TRUNCATE, (op.offset = size, "truncate"), 0, AT_FDCWD, a, 0, NULL)
NAME_CALL(truncate64, (const char *a, off_t size), (a, size), AT_TRUNCATE, (op.offset = size, "truncate"), 0, AT_FDCWD, a, 0, NULL)

EXPORT int renameat2(int d, const char *a, int e, const char *b, unsigned int flags) {
    REAL(renameat2);
    STRUCK(AT_RENAME, FAULTY_NAMES(AT_RENAME, d, a, e, b, renameat2(d, a, e, b, flags)));
    NAMED("rename", LOOK, d, a, e, b);
    if (flags & 2) note("renameat2 with RENAME_EXCHANGE is recorded as a plain rename");
    int result = real(d, a, e, b, flags);
    DONE(result);
plain:
    return real(d, a, e, b, flags);
}

EXPORT int remove(const char *a) {
    struct stat state;
    int directory = !syscall(SYS_newfstatat, AT_FDCWD, a, &state, LOOK) && S_ISDIR(state.st_mode);
    FORWARD(int, directory ? rmdir(a) : unlink(a));
}

/* The file is known only after the call. */
#define MAKE_CALL(name, parameters, arguments, place, kind_text, from_directory, from, target_text) \
    EXPORT int name parameters { \
        REAL(name); \
        STRUCK(place, FAULTY_NAMES(place, from_directory, from, 0, NULL, name arguments)); \
        NAMED(kind_text, -1, from_directory, from, 0, NULL); \
        int result = real arguments; \
        error = errno; \
        op.target = target_text; \
        if (!result) identify_name(path, &op, LOOK); \
        errno = error; \
        DONE(result); \
    plain: \
        return real arguments; \
    }
MAKE_CALL(mkdir, (const char *a, mode_t mode), (a, mode), AT_MKDIR, "mkdir", AT_FDCWD, a, "")
MAKE_CALL(mkdirat, (int d, const char *a, mode_t mode), (d, a, mode), AT_MKDIR, "mkdir", d, a, "")
MAKE_CALL(symlink, (const char *text, const char *a), (text, a), AT_LINK, "symlink", AT_FDCWD, a, text)
MAKE_CALL(symlinkat, (const char *text, int d, const char *a), (text, d, a), AT_LINK, "symlink", d, a, text)

/* -- stdio ------------------------------------------------------------------------------------------ */

static int flags_of(const char *mode) {
    int flags = mode[0] == 'r' ? 0 : mode[0] == 'w' ? O_CREAT | O_TRUNC : O_CREAT | O_APPEND;
    if (strchr(mode, 'x')) flags |= O_EXCL;
    if (strchr(mode, 'e')) flags |= O_CLOEXEC;
    return flags | (strchr(mode, '+') ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY);
}

#define STREAMS_MAX 256 /* beyond it, what a stream holds at exit goes unseen, and the check against the disk says so */
static FILE *volatile streams[STREAMS_MAX];
static void flush_all(void);

static void swap_stream(FILE *from, FILE *to) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < STREAMS_MAX; i++)
        if (streams[i] == from) {
            streams[i] = to;
            break;
        }
    pthread_mutex_unlock(&lock);
}

static int is_kept(FILE *stream) {
    for (int i = 0; i < STREAMS_MAX; i++)
        if (streams[i] == stream) return 1;
    return 0;
}

#define FOPEN(name) \
    EXPORT FILE *name(const char *file, const char *mode) { \
        REAL(name); \
        STRUCK(AT_OPEN, faulty_fopen(file, mode)); \
        char path[PATH_MAX]; \
        if (!listening() || !absolute(AT_FDCWD, file, path) || !wanted(path)) return real(file, mode); \
        inside++; \
        uint64_t start = now(); \
        FILE *stream = real(file, mode); \
        int error = errno; \
        opened(stream ? fileno(stream) : -1, error, path, flags_of(mode), start); \
        if (stream) swap_stream(NULL, stream); \
        inside--; \
        errno = error; \
        return stream; \
    }
FOPEN(fopen)
FOPEN(fopen64)

EXPORT FILE *fdopen(int fd, const char *mode) {
    REAL(fdopen);
    FILE *stream = real(fd, mode);
    if (stream && listening()) {
        struct operation op = {.handle = -1};
        char path[PATH_MAX];
        int directory, error = errno;
        inside++;
        if (find(fd, &op, path, &directory)) swap_stream(NULL, stream);
        inside--;
        errno = error;
    }
    return stream;
}

/* A call on a stream: what it made the C library write is where the position moved over. */
struct flush {
    struct operation op;
    char path[PATH_MAX];
    int fd, seen;
    int64_t before, size;
};

static void look(struct flush *f, FILE *stream) {
    int directory;
    f->seen = 0;
    if (!stream || !listening()) return;
    inside++;
    f->fd = fileno(stream);
    f->op = (struct operation){.kind = "write", .handle = -1, .start = now()};
    if (f->fd >= 0 && find(f->fd, &f->op, f->path, &directory) && (f->op.flags & O_ACCMODE) != O_RDONLY) {
        f->before = syscall(SYS_lseek, f->fd, 0L, SEEK_CUR);
        f->size = size_of(f->fd);
        f->seen = 1;
    } else {
        inside--;
    }
}

static void tell(struct flush *f, int fd) {
    if (!f->seen) return;
    int error = errno;
    int64_t after = syscall(SYS_lseek, fd, 0L, SEEK_CUR);
    int64_t start = f->op.flags & O_APPEND ? f->size : f->before;
    if (f->op.flags & O_APPEND) after = size_of(fd);
    if (after > start) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int copy = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
        size_t size = (size_t)(after - start), got = 0;
        char *data = copy >= 0 ? malloc(size) : NULL;
        while (data && got < size) {
            ssize_t n = syscall(SYS_pread64, copy, data + got, size - got, start + (int64_t)got);
            if (n <= 0) break;
            got += (size_t)n;
        }
        f->op.offset = start;
        f->op.flags = 0;
        append(&f->op, &(struct iovec){data, got}, 1, got);
        free(data);
        if (copy >= 0) syscall(SYS_close, copy);
    }
    inside--;
    errno = error;
}

#define STREAM(type, name, parameters, arguments, stream) STREAM_WITH(, type, name, parameters, arguments, stream)
#define STREAM_WITH(struck, type, name, parameters, arguments, stream) \
    EXPORT type name parameters { \
        REAL(name); \
        struck; \
        struct flush f; \
        look(&f, stream); \
        type result = real arguments; \
        tell(&f, f.fd); \
        return result; \
    }
#undef fwrite_unlocked
#undef fputs_unlocked
STREAM_WITH(STRUCK(AT_WRITE, faulty_fwrite(data, size, n, stream)), size_t, fwrite, (const void *data, size_t size, size_t n, FILE *stream), (data, size, n, stream), stream)
STREAM_WITH(STRUCK(AT_WRITE, faulty_fwrite(data, size, n, stream)), size_t, fwrite_unlocked, (const void *data, size_t size, size_t n, FILE *stream), (data, size, n, stream), stream)
STREAM(int, fputs, (const char *text, FILE *stream), (text, stream), stream)
STREAM(int, fputs_unlocked, (const char *text, FILE *stream), (text, stream), stream)
STREAM(int, vfprintf, (FILE *stream, const char *format, va_list more), (stream, format, more), stream)
#undef putc
#undef fputc
STREAM(int, fputc, (int c, FILE *stream), (c, stream), stream)
STREAM(int, putc, (int c, FILE *stream), (c, stream), stream)

EXPORT int fprintf(FILE *stream, const char *format, ...) {
    va_list more;
    va_start(more, format);
    int result = vfprintf(stream, format, more);
    va_end(more);
    return result;
}

EXPORT int __fprintf_chk(FILE *stream, int flag, const char *format, ...) {
    va_list more;
    (void)flag;
    va_start(more, format);
    int result = vfprintf(stream, format, more);
    va_end(more);
    return result;
}

EXPORT int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list more) {
    (void)flag;
    return vfprintf(stream, format, more);
}

EXPORT int fflush(FILE *stream) {
    REAL(fflush);
    if (!stream && listening()) flush_all();
    struct flush f;
    look(&f, stream);
    int result = real(stream);
    tell(&f, f.fd);
    return result;
}

/* A seek writes what is held, and moves: two things, so they are done apart. */
#define SEEK(name, offset_type) \
    EXPORT int name(FILE *stream, offset_type offset, int whence) { \
        REAL(name); \
        if (listening() && is_kept(stream)) fflush(stream); \
        return real(stream, offset, whence); \
    }
SEEK(fseek, long)
SEEK(fseeko, off_t)
SEEK(fseeko64, off_t)

EXPORT void rewind(FILE *stream) {
    REAL(rewind);
    if (listening() && is_kept(stream)) fflush(stream);
    real(stream);
}

static void flush_all(void) {
    for (int i = 0; i < STREAMS_MAX; i++) {
        FILE *stream = streams[i];
        if (stream) fflush(stream);
    }
}

EXPORT int fclose(FILE *stream) {
    REAL(fclose);
    if (stream) STRUCK(AT_CLOSE, faulty_fclose(stream));
    if (!stream || !listening()) return real(stream);
    swap_stream(stream, NULL);
    fflush(stream); /* its writes are seen here; what follows is the close alone */
    struct operation op = {.kind = "close", .handle = -1};
    char path[PATH_MAX];
    int directory, error;
    inside++;
    if (!find(fileno(stream), &op, path, &directory)) {
        inside--;
        return real(stream);
    }
    op.flags = 0;
    op.start = now();
    forget(fileno(stream));
    int result = real(stream);
    DONE(result);
}

/* -- what is only read: faulted, and not recorded ---------------------------------------------------- */

#define READ(name, type, parameters, arguments, vector, vector_count, at) \
    EXPORT type name parameters { \
        REAL(name); \
        STRUCK(AT_READ, faulty_read(fd, vector, vector_count, at)); \
        return real arguments; \
    }
READ(read, ssize_t, (int fd, void *data, size_t size), (fd, data, size), ONE, 1, -1)
READ(pread, ssize_t, (int fd, void *data, size_t size, off_t offset), (fd, data, size, offset), ONE, 1, offset)
READ(pread64, ssize_t, (int fd, void *data, size_t size, off_t offset), (fd, data, size, offset), ONE, 1, offset)
READ(readv, ssize_t, (int fd, const struct iovec *v, int n), (fd, v, n), v, n, -1)
READ(preadv, ssize_t, (int fd, const struct iovec *v, int n, off_t offset), (fd, v, n, offset), v, n, offset)
READ(preadv64, ssize_t, (int fd, const struct iovec *v, int n, off_t offset), (fd, v, n, offset), v, n, offset)

#define LOOK_UP(name, parameters, arguments, directory, path) \
    EXPORT int name parameters { \
        REAL(name); \
        STRUCK(AT_STAT, FAULTY_NAMES(AT_STAT, directory, path, 0, NULL, name arguments)); \
        return real arguments; \
    }
LOOK_UP(stat, (const char *a, struct stat *state), (a, state), AT_FDCWD, a)
LOOK_UP(stat64, (const char *a, struct stat64 *state), (a, state), AT_FDCWD, a)
LOOK_UP(lstat, (const char *a, struct stat *state), (a, state), AT_FDCWD, a)
LOOK_UP(lstat64, (const char *a, struct stat64 *state), (a, state), AT_FDCWD, a)
LOOK_UP(fstatat, (int d, const char *a, struct stat *state, int flags), (d, a, state, flags), d, a)
LOOK_UP(fstatat64, (int d, const char *a, struct stat64 *state, int flags), (d, a, state, flags), d, a)
LOOK_UP(statx, (int d, const char *a, int flags, unsigned mask, struct statx *state), (d, a, flags, mask, state), d, a)
LOOK_UP(access, (const char *a, int mode), (a, mode), AT_FDCWD, a)
LOOK_UP(faccessat, (int d, const char *a, int mode, int flags), (d, a, mode, flags), d, a)

/* -- the size of Python's buffers, where it is forced ----------------------------------------------- */

#define FSTAT(name) \
    EXPORT int name(int fd, struct stat *state) { \
        int result = stat_of(fd, state); \
        if (!result && block_size && S_ISREG(state->st_mode) && listening()) { \
            struct operation op; \
            char path[PATH_MAX]; \
            int directory; \
            inside++; \
            if (find(fd, &op, path, &directory)) state->st_blksize = block_size; \
            inside--; \
        } \
        return result; \
    }
FSTAT(fstat)
EXPORT int fstat64(int fd, struct stat64 *state) { return fstat(fd, (struct stat *)state); }

/* -- system calls that go past the C library -------------------------------------------------------- */

/* Rust's rustix and others have system call instructions of their own.  Linux can send a signal for each that is not
 * made from one region of memory (syscall user dispatch); the region is the C library's code, and the handler does the
 * call by way of the functions above.  It holds for one thread, so each new one asks for it; a thread that blocked the
 * signal would be ended by the system, and so would a process that took the handler away, as those do that put back
 * the handlers of all signals: nobody may do either.  Without it (another processor, an older kernel) such calls go
 * unseen, and the check against the disk says so. */
#if defined(__x86_64__) && defined(__linux__)
#define PR_DISPATCH 59
static __thread volatile char selector; /* 0: let everything pass */
static char *library_start;
static size_t library_size;

static int locate(struct dl_phdr_info *info, size_t size, void *inside_library) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        char *start = (char *)info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && part->p_flags & PF_X && (char *)inside_library >= start &&
            (char *)inside_library < start + part->p_memsz) {
            library_start = start;
            library_size = part->p_memsz;
            return 1;
        }
    }
    return 0;
}

#define PATH_AT(n) ((const char *)a[n])
static long done_here(long number, const long *a, int *known) {
    switch (number) {
    case SYS_open: return open(PATH_AT(0), (int)a[1], (mode_t)a[2]);
    case SYS_openat: return openat((int)a[0], PATH_AT(1), (int)a[2], (mode_t)a[3]);
    case SYS_creat: return creat(PATH_AT(0), (mode_t)a[1]);
    case SYS_close: return close((int)a[0]);
    case SYS_read: return read((int)a[0], (void *)a[1], (size_t)a[2]);
    case SYS_pread64: return pread((int)a[0], (void *)a[1], (size_t)a[2], a[3]);
    case SYS_readv: return readv((int)a[0], (struct iovec *)a[1], (int)a[2]);
    case SYS_preadv: return preadv((int)a[0], (struct iovec *)a[1], (int)a[2], a[3]);
    case SYS_newfstatat: return fstatat((int)a[0], PATH_AT(1), (struct stat *)a[2], (int)a[3]);
    case SYS_statx: return statx((int)a[0], PATH_AT(1), (int)a[2], (unsigned)a[3], (struct statx *)a[4]);
    case SYS_stat: return stat(PATH_AT(0), (struct stat *)a[1]);
    case SYS_lstat: return lstat(PATH_AT(0), (struct stat *)a[1]);
    case SYS_access: return access(PATH_AT(0), (int)a[1]);
    case SYS_faccessat: return faccessat((int)a[0], PATH_AT(1), (int)a[2], 0);
    case SYS_write: return write((int)a[0], (void *)a[1], (size_t)a[2]);
    case SYS_pwrite64: return pwrite((int)a[0], (void *)a[1], (size_t)a[2], a[3]);
    case SYS_writev: return writev((int)a[0], (struct iovec *)a[1], (int)a[2]);
    case SYS_pwritev: return pwritev((int)a[0], (struct iovec *)a[1], (int)a[2], a[3]);
    case SYS_pwritev2: return pwritev2((int)a[0], (struct iovec *)a[1], (int)a[2], a[3], (int)a[5]);
    case SYS_sendfile: return sendfile((int)a[0], (int)a[1], (off_t *)a[2], (size_t)a[3]);
    case SYS_copy_file_range:
        return copy_file_range((int)a[0], (off_t *)a[1], (int)a[2], (off_t *)a[3], (size_t)a[4], (unsigned)a[5]);
    case SYS_ftruncate: return ftruncate((int)a[0], a[1]);
    case SYS_truncate: return truncate(PATH_AT(0), a[1]);
    case SYS_fallocate: return fallocate((int)a[0], (int)a[1], a[2], a[3]);
    case SYS_fsync: return fsync((int)a[0]);
    case SYS_fdatasync: return fdatasync((int)a[0]);
    case SYS_sync: sync(); return 0;
    case SYS_syncfs: return syncfs((int)a[0]);
    case SYS_dup: return dup((int)a[0]);
    case SYS_dup2: return dup2((int)a[0], (int)a[1]);
    case SYS_dup3: return dup3((int)a[0], (int)a[1], (int)a[2]);
    case SYS_rename: return rename(PATH_AT(0), PATH_AT(1));
    case SYS_renameat: return renameat((int)a[0], PATH_AT(1), (int)a[2], PATH_AT(3));
    case SYS_renameat2: return renameat2((int)a[0], PATH_AT(1), (int)a[2], PATH_AT(3), (unsigned)a[4]);
    case SYS_link: return link(PATH_AT(0), PATH_AT(1));
    case SYS_linkat: return linkat((int)a[0], PATH_AT(1), (int)a[2], PATH_AT(3), (int)a[4]);
    case SYS_symlink: return symlink(PATH_AT(0), PATH_AT(1));
    case SYS_symlinkat: return symlinkat(PATH_AT(0), (int)a[1], PATH_AT(2));
    case SYS_unlink: return unlink(PATH_AT(0));
    case SYS_unlinkat: return unlinkat((int)a[0], PATH_AT(1), (int)a[2]);
    case SYS_mkdir: return mkdir(PATH_AT(0), (mode_t)a[1]);
    case SYS_mkdirat: return mkdirat((int)a[0], PATH_AT(1), (mode_t)a[2]);
    case SYS_rmdir: return rmdir(PATH_AT(0));
    }
    *known = 0;
    return 0;
}

static int is_listening(void) { return listening() || (faulty_places && !passing && !inside); }

static void dispatched(int number, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    long call = info->si_syscall;
    (void)number;
    if (call == SYS_clone || call == SYS_clone3 || call == SYS_fork || call == SYS_vfork || call == SYS_rt_sigreturn) {
        selector = 0; /* these cannot be done from here: let the instruction itself do it, and what follows pass */
        r[REG_RIP] -= 2;
        return;
    }
    long a[6] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]};
    int before = errno, known = is_listening();
    long result = known ? done_here(call, a, &known) : 0;
    if (!known) result = syscall(call, a[0], a[1], a[2], a[3], a[4], a[5]);
    r[REG_RAX] = result == -1 ? -errno : result;
    errno = before;
}

typedef void (*handler)(int);
static struct sigaction asked; /* for SIGSYS by others: kept, and not done */

EXPORT int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    REAL(sigaction);
    if (number != SIGSYS || (!active && !faulty_places)) return real(number, action, old);
    struct sigaction before = asked;
    if (action) asked = *action;
    if (old) *old = before;
    return 0;
}

EXPORT handler signal(int number, handler function) {
    REAL(signal);
    if (number != SIGSYS || (!active && !faulty_places)) return real(number, function);
    handler before = asked.sa_handler;
    asked = (struct sigaction){.sa_handler = function};
    return before;
}

static void dispatch_on(void) {
    static __typeof__(&sigaction) install;
    if (!install) install = dlsym(RTLD_NEXT, "sigaction");
    if (!library_size && !dl_iterate_phdr(locate, dlsym(RTLD_NEXT, "syscall"))) return;
    struct sigaction action = {.sa_sigaction = dispatched, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    if (!install || install(SIGSYS, &action, NULL)) return;
    selector = 0;
    if (!prctl(PR_DISPATCH, 1, library_start, library_size, &selector)) selector = 1;
}

static void dispatch_off(void) {
    selector = 0;
    prctl(PR_DISPATCH, 0, 0, 0, 0);
}

struct beginning {
    void *(*function)(void *);
    void *argument;
};

static void *begin_thread(void *given) {
    struct beginning begun = *(struct beginning *)given;
    free(given);
    dispatch_on();
    return begun.function(begun.argument);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument) {
    REAL(pthread_create);
    struct beginning *begun = active || faulty_places ? malloc(sizeof *begun) : NULL;
    if (!begun) return real(thread, attributes, function, argument);
    *begun = (struct beginning){function, argument};
    int result = real(thread, attributes, begin_thread, begun);
    if (result) free(begun);
    return result;
}

#define MASK(name) \
    EXPORT int name(int how, const sigset_t *set, sigset_t *old) { \
        REAL(name); \
        sigset_t without; \
        if ((!active && !faulty_places) || !set || how == SIG_UNBLOCK) return real(how, set, old); \
        without = *set; \
        sigdelset(&without, SIGSYS); \
        return real(how, &without, old); \
    }
MASK(pthread_sigmask)
MASK(sigprocmask)
#else
static void dispatch_on(void) {}
static void dispatch_off(void) {}
#endif

/* -- starting --------------------------------------------------------------------------------------- */

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void in_parent(void) { pthread_mutex_unlock(&lock); }

static void in_child(void) {
    owner = getpid();
    faulty_child();
    if (spool >= 0) syscall(SYS_close, spool);
    spool = -1;
    pthread_mutex_unlock(&lock);
    if (active && !inside) {
        inside++;
        begin();
        inside--;
    }
    if (active || faulty_places) dispatch_on();
}

/* Record from now on.  `roots_text` has one name a line.  A rank of -1 is not known. */
EXPORT int faultkit_start(const char *directory, const char *roots_text, int rank, long block_bytes) {
    if (strlen(directory) >= PATH_MAX) return -1;
    owner = getpid();
    strcpy(spool_directory, directory);
    root_count = 0;
    for (const char *p = roots_text; *p && root_count < ROOTS_MAX;) {
        size_t n = strcspn(p, "\n");
        if (n && n < PATH_MAX) {
            memcpy(roots[root_count], p, n);
            roots[root_count++][n] = 0;
        }
        p += n + (p[n] == '\n');
    }
    rank_number = rank;
    block_size = block_bytes;
    inside++;
    begin();
    inside--;
    active = 1;
    dispatch_on();
    return spool < 0 ? -1 : 0;
}

EXPORT void faultkit_stop(void) {
    active = 0;
    if (!faulty_places) dispatch_off();
    pthread_mutex_lock(&lock);
    if (spool >= 0) syscall(SYS_close, spool);
    spool = -1;
    for (int i = 0; i < table_size; i++) table[i].handle = -1;
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void loaded(void) {
    owner = getpid();
    pthread_atfork(before_fork, in_parent, in_child);
    const char *directory = getenv("FAULTKIT_RECORD_SPOOLS"), *names = getenv("FAULTKIT_RECORD_ROOTS");
    const char *files = getenv("FAULTKIT_RECORD_FILES"), *rank = getenv("RANK"), *size = getenv("FAULTKIT_RECORD_BLOCK_SIZE");
    if (directory && names && files && !strcmp(files, "0"))
        faultkit_start(directory, names, rank && *rank ? atoi(rank) : -1, size && *size ? atol(size) : 0);
}

/* What stdio holds at the end is written by the C library itself, after this: so have it written now. */
__attribute__((destructor)) static void unloaded(void) {
    if (listening()) flush_all();
}
