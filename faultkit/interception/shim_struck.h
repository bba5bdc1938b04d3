/* Each kind of call with what its faults do to it: on names, on descriptors, with data, and opening.
 *
 * Each function counts the call (`comes`), makes it, or another one, through the functions of shim.c, which look no
 * second time (`passing`), and ends it (`came_back`).  A close that fails has closed all the same; a file is shown
 * damaged, cut or old by an anonymous one in its place; what is lost of a write keeps what stood there before.
 */
/* -- names and descriptors -------------------------------------------------------------------------- */

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = fd < 0 ? -1 : syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n <= 0 || path[0] != '/') return 0;
    path[n] = 0;
    if (n > 10 && !strcmp(path + n - 10, " (deleted)")) path[n - 10] = 0;
    return strncmp(path, "/memfd:", 7) != 0;
}

static int opened_for(int flags) {
    int mode = flags & O_ACCMODE;
    return mode == O_RDONLY ? FOR_READ : mode == O_WRONLY ? FOR_WRITE : FOR_READ | FOR_WRITE;
}

/* Begin a call on a descriptor; 0 where it is none of a file. */
static int is_file(struct doing *d, enum place place, int fd, char *path) {
    int error = errno, found = path_of(fd, path);
    *d = (struct doing){.place = place, .path = path, .fd = fd};
    if (found) d->opened = opened_for((int)syscall(SYS_fcntl, fd, F_GETFL));
    errno = error;
    return found;
}

#define PASSED(result_type, call) \
    passing++; \
    result_type result = call; \
    passing--

/* A call on names that gives 0, or -1. */
#define FAULTY_NAMES(place, from_directory, from, to_directory, to, call) ({ \
    char a_path[PATH_MAX], b_path[PATH_MAX]; \
    const char *a_given = (from), *b_given = (to); \
    MAYBE_NULL(a_given); \
    int known = a_given && *a_given && absolute(from_directory, a_given, a_path) && (!b_given || absolute(to_directory, b_given, b_path)); \
    struct doing doing_it = {place, a_path, b_given ? b_path : "", FOR_WRITE, 0, -1}; \
    int answer = 0; \
    if (known && comes(&doing_it)) { \
        answer = errno ? -1 : 0; \
    } else { \
        PASSED(int, call); \
        answer = known && came_back(&doing_it, result >= 0) ? -1 : result; \
    } \
    answer; \
})

/* A call on a descriptor that gives 0, or -1.  A close that fails has closed all the same. */
#define FAULTY_DESCRIPTOR(place, fd, call) ({ \
    char a_path[PATH_MAX]; \
    struct doing doing_it; \
    int known = is_file(&doing_it, place, fd, a_path), answer = 0; \
    if (known && comes(&doing_it)) { \
        int failed = errno; \
        if (place == AT_CLOSE) { \
            PASSED(int, call); \
            (void)result; \
        } \
        errno = failed; \
        answer = failed ? -1 : 0; \
    } else { \
        PASSED(int, call); \
        answer = known && came_back(&doing_it, result >= 0) ? -1 : result; \
    } \
    answer; \
})

/* posix_fallocate gives the number of the error itself. */
static int allocate(int fd, off_t offset, off_t size) {
    int number = posix_fallocate(fd, offset, size);
    if (number) errno = number;
    return number ? -1 : 0;
}

#define FAULTY_NUMBER(call) ({ \
    int before = errno, failed = (call) < 0, number = failed ? errno : 0; \
    errno = before; \
    number; \
})

/* -- data ------------------------------------------------------------------------------------------- */

static char *content_of(int fd, int64_t offset, size_t size) { /* zeros where nothing stood */
    char link[64], *data = calloc(1, size + 1);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int copy = data ? (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0) : -1;
    for (size_t got = 0; copy >= 0 && got < size;) {
        ssize_t n = syscall(SYS_pread64, copy, data + got, size - got, offset + (int64_t)got);
        if (n <= 0) break;
        got += (size_t)n;
    }
    if (copy >= 0) syscall(SYS_close, copy);
    return data;
}

/* Damage `data`; gives its new size, or -1 where nothing changes. */
static int64_t damaged(const struct faulty_fault *f, char *data, int64_t size) {
    if (f->action == ACT_FLIP) {
        int64_t at = f->a >= 0 ? f->a : size / 2;
        if (at >= size) return -1;
        data[at] ^= (char)(1 << f->b);
    } else if (f->action == ACT_ZERO) {
        int64_t start = f->b >= 0 ? f->b : size > f->a ? (size - f->a) / 2 : 0;
        int64_t end = start + f->a < size ? start + f->a : size, differs = 0;
        for (int64_t i = start; i < end; i++) differs |= data[i];
        if (!differs) return -1;
        memset(data + start, 0, (size_t)(end - start));
    } else if (f->action == ACT_CUT) {
        int64_t kept = f->a >= 0 ? f->a : size / 2;
        if (kept >= size) return -1;
        return kept;
    } else {
        return -1;
    }
    return size;
}

/* What the faults make of a write: the data for the file, what is reported, how it ends. */
struct made {
    char *data;
    int64_t size, reported;
    int changed, fault, ends; /* ends: 0, or 1: dies or fails after the data, 2: the next write fails */
};

static void make(struct made *m, struct doing *d, int64_t place) {
    for (int i = 0; i < d->change_count && !m->ends; i++) {
        int number = d->changes[i].fault;
        struct faulty_fault *f = &faulty->faults[number];
        int64_t size = m->size, kept = size, lost = 0;
        int changes = 1, is_error = 0;
        int64_t half = f->a < 0 ? (size + 1) / 2 : f->a < size ? f->a : size;
        switch (f->action) {
        case ACT_FULL: {
            int64_t unset = -1;
            __atomic_compare_exchange_n(&f->left, &unset, f->a, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
            int64_t left = __atomic_load_n(&f->left, __ATOMIC_ACQUIRE);
            while (!__atomic_compare_exchange_n(&f->left, &left, left - (left < size ? left : size), 0, __ATOMIC_ACQ_REL,
                                                __ATOMIC_ACQUIRE)) {}
            kept = left < size ? left : size;
            changes = kept != size;
            if (changes) m->ends = kept ? 2 : 1, is_error = 1;
            break;
        }
        case ACT_SHORT:
            kept = half ? half : 1;
            changes = kept < size;
            if (changes) m->reported = kept;
            break;
        case ACT_TORN:
            kept = half;
            m->ends = 1, is_error = f->error > 0;
            break;
        case ACT_LIE: kept = 0, lost = size; break;
        case ACT_CUT:
            kept = f->a < 0 ? size / 2 : f->a;
            changes = kept < size;
            lost = size - kept;
            break;
        default: changes = damaged(f, m->data, size) >= 0;
        }
        if (!changes) continue;
        strike(number, d->changes[i].call, d, is_error);
        m->changed = 1;
        m->fault = number;
        if (lost > 0) { /* what stood there before stays */
            char *before = content_of(d->fd, place + kept, (size_t)lost);
            if (before) memcpy(m->data + kept, before, (size_t)lost);
            free(before);
        } else {
            m->size = kept;
        }
    }
}

static ssize_t put(int fd, const struct iovec *v, int n, int64_t at, int flags) {
    if (flags) return pwritev2(fd, v, n, at, flags);
    if (at >= 0) return n == 1 ? pwrite(fd, v->iov_base, v->iov_len, at) : pwritev(fd, v, n, at);
    return n == 1 ? write(fd, v->iov_base, v->iov_len) : writev(fd, v, n);
}

/* Write what faults made of it; gives what is reported. */
static ssize_t put_made(struct made *m, int fd, int64_t at, int flags) {
    struct faulty_fault *f = &faulty->faults[m->fault];
    int64_t done = 0;
    while (done < m->size) {
        struct iovec rest = {m->data + done, (size_t)(m->size - done)};
        ssize_t written = put(fd, &rest, 1, at < 0 ? at : at + done, flags);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return done ? done : -1;
        done += written;
    }
    if (m->ends == 2) return done; /* as a real disk does: the next write is the one that fails */
    if (m->ends) {
        if (f->error <= 0) end_by(SIGKILL);
        errno = f->error;
        return -1;
    }
    return m->reported;
}

static ssize_t faulty_write(int fd, const struct iovec *v, int n, int64_t at, int flags) {
    char path[PATH_MAX];
    struct doing d;
    int known = is_file(&d, AT_WRITE, fd, path);
    if (known && comes(&d)) return -1;
    struct made m = {0};
    for (int i = 0; i < n; i++) m.size += (int64_t)v[i].iov_len;
    if (known && d.change_count && (m.data = malloc((size_t)m.size + 1))) {
        char *p = m.data;
        for (int i = 0; i < n; i++) p = mempcpy(p, v[i].iov_base, v[i].iov_len);
        m.reported = m.size;
        make(&m, &d, place_of(fd, at, (int)syscall(SYS_fcntl, fd, F_GETFL), 0));
    }
    passing++;
    ssize_t result = m.changed ? put_made(&m, fd, at, flags) : put(fd, v, n, at, flags);
    passing--;
    int error = errno;
    free(m.data);
    errno = error;
    if (known && came_back(&d, result >= 0)) return -1;
    return result;
}

static ssize_t faulty_copy(int to, int64_t *to_at, int from, int64_t *from_at, size_t size) {
    int64_t place = from_at ? *from_at : syscall(SYS_lseek, from, 0L, SEEK_CUR);
    if (size > COPY_MAX) size = COPY_MAX;
    char *data = malloc(size + 1);
    ssize_t got = data ? syscall(SYS_pread64, from, data, size, place) : -1;
    struct iovec one = {data, got > 0 ? (size_t)got : 0};
    ssize_t written = got > 0 ? faulty_write(to, &one, 1, to_at ? *to_at : -1, 0) : got;
    int error = errno;
    free(data);
    if (written > 0) {
        if (from_at) *from_at += written;
        else syscall(SYS_lseek, from, place + written, SEEK_SET);
        if (to_at) *to_at += written;
    }
    errno = error;
    return written;
}

static ssize_t get(int fd, const struct iovec *v, int n, int64_t at) {
    if (at >= 0) return n == 1 ? pread(fd, v->iov_base, v->iov_len, at) : preadv(fd, v, n, at);
    return n == 1 ? read(fd, v->iov_base, v->iov_len) : readv(fd, v, n);
}

static ssize_t faulty_read(int fd, const struct iovec *v, int n, int64_t at) {
    char path[PATH_MAX];
    struct doing d;
    int known = is_file(&d, AT_READ, fd, path);
    if (known && comes(&d)) return -1;
    passing++;
    ssize_t count = get(fd, v, n, at);
    passing--;
    for (int i = 0; known && count > 0 && i < d.change_count; i++) {
        struct faulty_fault *f = &faulty->faults[d.changes[i].fault];
        if (f->action == ACT_SHORT) {
            int64_t kept = f->a < 0 ? (count + 1) / 2 : f->a;
            kept = kept < 1 ? 1 : kept;
            if (kept >= count) continue;
            strike(d.changes[i].fault, d.changes[i].call, &d, 0);
            if (at < 0) syscall(SYS_lseek, fd, kept - count, SEEK_CUR);
            count = kept;
            continue;
        }
        char *data = malloc((size_t)count), *p = data;
        size_t left = (size_t)count;
        for (int k = 0; data && k < n && left; k++) {
            size_t part = v[k].iov_len < left ? v[k].iov_len : left;
            p = mempcpy(p, v[k].iov_base, part);
            left -= part;
        }
        if (data && damaged(f, data, count) >= 0) {
            strike(d.changes[i].fault, d.changes[i].call, &d, 0);
            left = (size_t)count, p = data;
            for (int k = 0; k < n && left; k++) {
                size_t part = v[k].iov_len < left ? v[k].iov_len : left;
                memcpy(v[k].iov_base, p, part);
                p += part;
                left -= part;
            }
        }
        free(data);
    }
    return known && came_back(&d, count >= 0) ? -1 : count;
}

/* -- opening ---------------------------------------------------------------------------------------- */

static int is_regular(int fd, const char *path) {
    struct stat state;
    int failed = fd >= 0 ? stat_of(fd, &state) : (int)syscall(SYS_newfstatat, AT_FDCWD, path, &state, 0);
    return !failed && S_ISREG(state.st_mode);
}

/* From now on `fd` stands for an anonymous file that holds this. */
static void show(int fd, const char *data, int64_t size) {
    int anonymous = (int)syscall(SYS_memfd_create, "faultkit-view", MFD_CLOEXEC);
    int64_t done = 0;
    while (anonymous >= 0 && done < size) {
        ssize_t n = syscall(SYS_write, anonymous, data + done, (size_t)(size - done));
        if (n <= 0) break;
        done += n;
    }
    if (anonymous < 0) return;
    syscall(SYS_lseek, anonymous, 0L, SEEK_SET);
    syscall(SYS_dup3, anonymous, fd, syscall(SYS_fcntl, fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0);
    syscall(SYS_close, anonymous);
}

static void show_changes(struct doing *d, int fd) {
    struct stat state;
    for (int i = 0; i < d->change_count && !stat_of(fd, &state); i++) {
        int number = d->changes[i].fault;
        struct faulty_fault *f = &faulty->faults[number];
        int64_t size = state.st_size, seen = -1;
        char *data = content_of(fd, 0, (size_t)size);
        if (f->action == ACT_STALE) {
            char other[2 * PATH_MAX];
            struct stat old;
            const char *slash = strrchr(d->path, '/');
            snprintf(other, sizeof other, "%.*s/%s", (int)(slash - d->path), d->path, pooled(f->text));
            int from = (int)syscall(SYS_openat, AT_FDCWD, other, O_RDONLY | O_CLOEXEC, 0);
            if (from >= 0 && !stat_of(from, &old)) {
                char *older = content_of(from, 0, (size_t)old.st_size);
                if (older && data && (old.st_size != size || memcmp(older, data, (size_t)size))) seen = old.st_size;
                free(data);
                data = older;
            }
            if (from >= 0) syscall(SYS_close, from);
        } else if (data) {
            seen = damaged(f, data, size);
        }
        if (data && seen >= 0) {
            strike(number, d->changes[i].call, d, 0);
            show(fd, data, seen);
        }
        free(data);
    }
}

/* Begin an open; 1 where it is over: with errno. */
static int opening(struct doing *d, char *path, int directory, const char *name, int flags) {
    if (!absolute(directory, name, path)) {
        *d = (struct doing){.place = AT_OPEN, .path = ""};
        return 0;
    }
    *d = (struct doing){.place = AT_OPEN, .path = path, .opened = opened_for(flags), .fd = -1};
    d->reads = d->opened == FOR_READ && !(flags & O_DIRECTORY) && is_regular(-1, path);
    return comes(d);
}

static int faulty_open(int directory, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    struct doing d;
    if (opening(&d, path, directory, name, flags)) return -1;
    passing++;
    int fd = openat(directory, name, flags, mode);
    passing--;
    int error = errno;
    if (fd >= 0 && d.change_count) show_changes(&d, fd);
    errno = error;
    if (*d.path && came_back(&d, fd >= 0)) {
        error = errno;
        syscall(SYS_close, fd);
        errno = error;
        return -1;
    }
    return fd;
}

static FILE *faulty_fopen(const char *name, const char *mode) {
    char path[PATH_MAX];
    struct doing d;
    if (opening(&d, path, AT_FDCWD, name, flags_of(mode))) return NULL;
    passing++;
    FILE *stream = fopen(name, mode);
    passing--;
    int error = errno;
    if (stream && d.change_count) show_changes(&d, fileno(stream));
    errno = error;
    if (*d.path && came_back(&d, stream != NULL)) {
        error = errno;
        passing++;
        fclose(stream);
        passing--;
        errno = error;
        return NULL;
    }
    return stream;
}

static size_t faulty_fwrite(const void *data, size_t size, size_t count, FILE *stream) {
    char path[PATH_MAX];
    struct doing d;
    int known = is_file(&d, AT_WRITE, fileno(stream), path), failed = 0;
    size_t result = 0;
    if (!known || !size || !count) {
        passing++;
        result = fwrite(data, size, count, stream);
        passing--;
        return result;
    }
    if (comes(&d)) {
        failed = 1;
    } else if (d.change_count) {
        passing++;
        fflush(stream);
        struct made m = {malloc(size * count + 1), (int64_t)(size * count), (int64_t)(size * count)};
        if (m.data) memcpy(m.data, data, size * count);
        if (m.data) make(&m, &d, syscall(SYS_lseek, d.fd, 0L, SEEK_CUR));
        if (m.changed) {
            ssize_t reported = put_made(&m, d.fd, -1, 0);
            int error = errno;
            fseeko(stream, syscall(SYS_lseek, d.fd, 0L, SEEK_CUR), SEEK_SET);
            errno = error;
            failed = reported < 0;
            result = failed ? 0 : (size_t)reported / size;
        } else {
            result = fwrite(data, size, count, stream);
        }
        passing--;
        int error = errno;
        free(m.data);
        errno = error;
    } else {
        passing++;
        result = fwrite(data, size, count, stream);
        passing--;
    }
    if (!failed && came_back(&d, result == count)) failed = 1;
    if (failed) {
#ifdef __GLIBC__
        stream->_flags |= 0x20; /* what ferror looks at */
#endif
        return 0;
    }
    return result;
}

static int faulty_fclose(FILE *stream) {
    int answer = FAULTY_DESCRIPTOR(AT_CLOSE, fileno(stream), fclose(stream));
    return answer < 0 ? EOF : answer;
}
