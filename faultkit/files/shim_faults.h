/* Faults in calls of the C library that Python's layer does not see: of C++ and Rust code, and of forked children.
 *
 * Promised.  Between faultkit_arm and faultkit_disarm each call on a file is held to the table of faults in memory
 * that the process shares with who watches it and with the children that it forks: calls are counted there, by all of
 * them together, and what fires is written there before it happens.  A call that the interpreter itself makes is left
 * to the faults of `faultkit/injection/files_raw.py`, save in a forked child, where those are not armed: it is told by
 * the address that it returns to.  Unplanned places cost one comparison.  No lock is held and no interpreter is asked,
 * so that threads that know nothing of Python are met as well.
 *
 * A fault that native code cannot be given (an exception without an error number, old versions that were remembered
 * in Python) is written down as refused, once, and does not fire.
 *
 * Left out: reading directories, memory maps, io_uring, system calls past the C library of threads that were there
 * before (see shim.c), and of stdio all but fopen, fwrite and fclose: each fwrite counts as one write.
 */
#define SITES_MAX 256
#define FAULTS_MAX 1024
#define CHANGES_MAX 8
#define FAILURES_MAX 64
#define POOL_BYTES (512 << 10)
#define TEMPLATE_MAX 8192

enum place { AT_OPEN, AT_READ, AT_WRITE, AT_TRUNCATE, AT_FSYNC, AT_CLOSE, AT_RENAME, AT_LINK, AT_UNLINK, AT_RMDIR, AT_MKDIR,
             AT_STAT };
enum action { ACT_RAISE, ACT_DELAY, ACT_HANG, ACT_HANG_NATIVE, ACT_STOP, ACT_EXIT, ACT_KILL, ACT_SEGFAULT, ACT_LIMIT,
              ACT_FULL, ACT_SHORT, ACT_TORN, ACT_LIE, ACT_FLIP, ACT_ZERO, ACT_CUT, ACT_STALE, ACT_MISSING, ACT_REFUSED };
enum opened { FOR_READ = 1, FOR_WRITE = 2 };

struct faulty_site {
    int32_t place, reads, role; /* role: 0 any, 1 main, 2 helper */
    uint32_t glob; /* in the pool; 0: any file */
    int64_t count;
};

struct faulty_fault {
    int32_t site, is_after, action, error, hits, again, refused;
    int64_t low, high, a, b; /* calls; arguments, -1 where there is none */
    double seconds;
    uint32_t text, fired, called, told; /* in the pool: the argument that is text, and the records to write */
    uint32_t fired_size, called_size, told_size;
    int64_t left; /* of a full disk; -1: not begun */
};

struct faulty_failure {
    int32_t used, place, fault, again, opens, thread;
    int64_t call;
    uint32_t path;
};

struct faulty_table {
    int32_t armed, spent, site_count, fault_count, failure_count, main_thread;
    uint32_t pool_used, included, excluded; /* texts with one name a line */
    struct faulty_site sites[SITES_MAX];
    struct faulty_fault faults[FAULTS_MAX];
    struct faulty_failure failures[FAILURES_MAX];
    char pool[POOL_BYTES];
};

static struct faulty_table *faulty;
static char *faulty_log; /* before the table: how much is taken, how many records found no room, the records */
static uint64_t *faulty_reserved, *faulty_dropped, faulty_log_size;
static volatile unsigned faulty_places; /* a bit for each place that has a fault */
static int python_sees; /* whether Python's own calls are faulted above */
static char *python_start, *python_end;
static pid_t child_main; /* in a forked child: its first thread */
static struct rlimit limit_before;
static int is_limited;
static __thread int passing; /* within a call that was looked at already */
static __thread int in_step;

static int python_made(const void *address) {
    return python_sees && (char *)address >= python_start && (char *)address < python_end;
}

#define STRUCK(place, expression) \
    if (__builtin_expect(faulty_places & 1u << (place), 0) && !passing && !inside && \
        !python_made(__builtin_return_address(0))) \
    return expression
/* A function that calls another of these: what Python called is Python's. */
#define FORWARD(type, expression) \
    int made = python_made(__builtin_return_address(0)); \
    passing += made; \
    type forwarded = expression; \
    passing -= made; \
    return forwarded

static const char *pooled(uint32_t place) { return faulty->pool + place; }

static uint32_t pool(const char *data, size_t size) {
    uint32_t place = __atomic_fetch_add(&faulty->pool_used, (uint32_t)size + 1, __ATOMIC_RELAXED);
    if (size >= POOL_BYTES || place + size + 1 > POOL_BYTES) return 0;
    memcpy(faulty->pool + place, data, size);
    faulty->pool[place + size] = 0;
    return place;
}

/* -- globs, as faultkit.filters has them ------------------------------------------------------------- */

static const char *next_character(const char *p) {
    p++;
    while ((*p & 0xc0) == 0x80) p++;
    return p;
}

static uint32_t character(const char *p) {
    unsigned char c = (unsigned char)*p;
    uint32_t value = c < 0x80 ? c : c < 0xe0 ? c & 0x1f : c < 0xf0 ? c & 0x0f : c & 7;
    for (const char *q = p + 1; c >= 0x80 && (*q & 0xc0) == 0x80; q++) value = value << 6 | (*q & 0x3f);
    return value;
}

/* The end of a set that begins behind "[", NULL where it is none. */
static const char *end_of_set(const char *p, const char *end) {
    if (p < end && *p == '!') p++;
    if (p < end && *p == ']') p++;
    while (p < end && *p != ']') p++;
    return p < end ? p : NULL;
}

static int in_set(const char *p, const char *end, uint32_t c) {
    int negated = *p == '!', found = 0;
    if (negated) p++;
    while (p < end) {
        uint32_t low = character(p), high = low;
        p = next_character(p);
        if (p + 1 < end && *p == '-') {
            high = character(p + 1);
            p = next_character(p + 1);
        }
        found |= low <= c && c <= high;
    }
    return found != negated;
}

static int glob_matches(const char *glob, const char *glob_end, const char *name, const char *name_end) {
    const char *star = NULL, *retry = NULL;
    while (name < name_end || glob < glob_end) {
        if (glob < glob_end && *glob == '*') {
            star = ++glob;
            retry = name;
            continue;
        }
        if (name < name_end && glob < glob_end) {
            const char *set_end = *glob == '[' ? end_of_set(glob + 1, glob_end) : NULL;
            int same = set_end ? in_set(glob + 1, set_end, character(name))
                       : *glob == '?' || character(glob) == character(name);
            if (same) {
                glob = set_end ? set_end + 1 : next_character(glob);
                name = next_character(name);
                continue;
            }
        }
        if (!star || retry >= name_end) return 0;
        retry = next_character(retry);
        name = retry;
        glob = star;
    }
    return 1;
}

static int slashes(const char *p) {
    int n = 0;
    for (; *p; p++) n += *p == '/';
    return n;
}

/* Whether `glob` means the absolute name `path`: as many names at its end as the glob has, or all. */
EXPORT int faultkit_matches(const char *glob, const char *path) {
    int whole = glob[0] == '/';
    int wanted_names = slashes(glob) + !whole, names = slashes(path);
    if (names < wanted_names || (whole && names != wanted_names)) return 0;
    const char *p = path;
    for (int skipped = names - wanted_names; *p; p++)
        if (*p == '/' && skipped-- == 0) break;
    glob += whole;
    p++;
    for (;;) {
        const char *glob_end = glob + strcspn(glob, "/"), *name_end = p + strcspn(p, "/");
        if (!glob_matches(glob, glob_end, p, name_end)) return 0;
        if (!*glob_end || !*name_end) return !*glob_end && !*name_end;
        glob = glob_end + 1;
        p = name_end + 1;
    }
}

static int begins_with_one(uint32_t lines, const char *path, int whole_names) {
    for (const char *p = pooled(lines); lines && *p;) {
        size_t n = strcspn(p, "\n");
        if (n && !strncmp(p, path, n) && (!whole_names || path[n] == '/' || !path[n])) return 1;
        p += n + (p[n] == '\n');
    }
    return 0;
}

/* Whether a fault without a path means this file. */
static int is_any_file(const char *path) {
    size_t n = strlen(path);
    if (faulty->included) return begins_with_one(faulty->included, path, 1);
    if (begins_with_one(faulty->excluded, path, 0) && strncmp(path, "/dev/shm/", 9)) return 0;
    return !((n > 3 && !strcmp(path + n - 3, ".py")) || (n > 4 && !strcmp(path + n - 4, ".pyc")));
}

static int means(const struct faulty_site *site, const char *path) {
    return path && *path && (site->glob ? faultkit_matches(pooled(site->glob), path) : is_any_file(path));
}

/* -- what is written down --------------------------------------------------------------------------- */

struct doing { /* one call */
    enum place place;
    const char *path, *target;
    int opened, reads, fd;
    int matched_count, change_count;
    struct { int site; int64_t call; } matched[SITES_MAX];
    struct { int fault; int64_t call; } changes[CHANGES_MAX];
};

static const char *role(void) {
    pid_t thread = (pid_t)syscall(SYS_gettid);
    return in_step || thread == (child_main ? child_main : faulty->main_thread) ? "main" : "helper";
}

/* A record of the rank's memory: its length last, so that one that is cut short is none. */
static void put_record(uint32_t template, uint32_t template_size, int64_t call, const char *path, int opened) {
    char body[TEMPLATE_MAX + PATH_MAX + 256], *p = body;
    size_t length = strlen(path);
    if (template_size > TEMPLATE_MAX || length >= PATH_MAX) return;
    memcpy(p, pooled(template), template_size);
    p = put_text(p + template_size, "call");
    p = put_int(p, call);
    p = put_text(p, "path");
    p = put_text(p, path);
    p = put_text(p, "thread");
    p = put_text(p, role());
    p = put_text(p, "opened");
    p = put_int(p, opened);
    p = put_text(p, "child");
    *p++ = (char)(child_main ? 0xc3 : 0xc2);
    uint32_t size = (uint32_t)(p - body);
    uint64_t time = now(), start = __atomic_fetch_add(faulty_reserved, size + 12, __ATOMIC_RELAXED);
    if (start + size + 12 > faulty_log_size) {
        __atomic_fetch_add(faulty_dropped, 1, __ATOMIC_RELAXED);
        return;
    }
    memcpy(faulty_log + start + 4, &time, 8);
    memcpy(faulty_log + start + 12, body, size);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    *(volatile uint32_t *)(faulty_log + start) = size;
}

static int opens_again(enum place place, int opened) {
    if (place == AT_STAT) return FOR_READ | FOR_WRITE;
    if (place == AT_READ || ((place == AT_OPEN || place == AT_CLOSE) && !(opened & FOR_WRITE))) return FOR_READ;
    return FOR_WRITE;
}

static void remember_failure(int fault, int64_t call, const struct doing *d) {
    for (int i = 0; i < FAILURES_MAX; i++) {
        struct faulty_failure *f = &faulty->failures[i];
        int unused = 0;
        if (!__atomic_compare_exchange_n(&f->used, &unused, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
        f->place = d->place;
        f->fault = fault;
        f->again = faulty->faults[fault].again;
        f->opens = opens_again(d->place, d->opened);
        f->thread = (int32_t)syscall(SYS_gettid);
        f->call = call;
        f->path = pool(d->path, strlen(d->path));
        __atomic_store_n(&f->used, f->path ? 2 : 0, __ATOMIC_RELEASE);
        __atomic_fetch_add(&faulty->failure_count, 1, __ATOMIC_RELEASE);
        return;
    }
}

/* This call is what makes good for errors that were injected before. */
static void went_well(const struct doing *d) {
    if (!__atomic_load_n(&faulty->failure_count, __ATOMIC_ACQUIRE)) return;
    int error = errno;
    for (int i = 0; i < FAILURES_MAX; i++) {
        struct faulty_failure *f = &faulty->failures[i];
        if (__atomic_load_n(&f->used, __ATOMIC_ACQUIRE) != 2 || strcmp(pooled(f->path), d->path)) continue;
        int streams = f->place == AT_READ || f->place == AT_WRITE || f->place == AT_TRUNCATE || f->place == AT_CLOSE;
        int good = d->place == AT_OPEN
                       ? f->opens & d->opened
                       : f->place == (int)d->place && (!streams || (f->again && f->thread == (int32_t)syscall(SYS_gettid)));
        int kept = 2;
        if (!good || !__atomic_compare_exchange_n(&f->used, &kept, 3, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
        struct faulty_fault *fault = &faulty->faults[f->fault];
        put_record(fault->called, fault->called_size, f->call + 1, d->path, d->opened);
        __atomic_fetch_sub(&faulty->failure_count, 1, __ATOMIC_RELEASE);
        __atomic_store_n(&f->used, 0, __ATOMIC_RELEASE);
    }
    errno = error;
}

static void strike(int number, int64_t call, const struct doing *d, int is_error) {
    struct faulty_fault *fault = &faulty->faults[number];
    put_record(fault->fired, fault->fired_size, call, d->path, d->opened);
    if (is_error) remember_failure(number, call, d);
}

/* -- what happens ----------------------------------------------------------------------------------- */

static void sleep_seconds(double seconds) {
    struct timespec left = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&left, &left) && errno == EINTR) {}
}

static void hang(int keeps_interpreter) {
    int (*take)(void) = keeps_interpreter ? (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure") : NULL;
    if (take) take();
    int word = 0; /* a wait for a lock, by which who watches tells it from work */
    for (;;) syscall(SYS_futex, &word, 128, 0, NULL, NULL, 0);
}

static void end_by(int number) {
    struct rlimit core;
    if (!getrlimit(RLIMIT_CORE, &core)) {
        core.rlim_cur = 0;
        setrlimit(RLIMIT_CORE, &core);
    }
    struct sigaction now_set;
    int is_default = !sigaction(number, NULL, &now_set) && now_set.sa_handler == SIG_DFL;
    kill(getpid(), number);
    if (is_default && number != SIGSTOP && number != SIGCHLD && number != SIGCONT && number != SIGURG &&
        number != SIGWINCH)
        sleep_seconds(5); /* another thread may get it; nothing after this may happen meanwhile */
}

/* Perform what is no change of the data; 1 where the call is over, with `*error`. */
static int perform(struct faulty_fault *f, int *error) {
    struct rlimit limit;
    switch (f->action) {
    case ACT_RAISE:
    case ACT_MISSING: *error = f->action == ACT_MISSING ? ENOENT : f->error; return 1;
    case ACT_DELAY: sleep_seconds(f->seconds); break;
    case ACT_HANG:
    case ACT_HANG_NATIVE: hang(f->action == ACT_HANG_NATIVE); break;
    case ACT_STOP: kill(getpid(), SIGSTOP); break;
    case ACT_EXIT: _exit((int)f->a);
    case ACT_KILL: end_by((int)f->a); break;
    case ACT_SEGFAULT: end_by(SIGSEGV); abort();
    case ACT_LIMIT:
        if (getrlimit(RLIMIT_FSIZE, &limit)) break;
        if (!is_limited) limit_before = limit, is_limited = 1;
        limit.rlim_cur = limit.rlim_max != RLIM_INFINITY && (rlim_t)f->a > limit.rlim_max ? limit.rlim_max : (rlim_t)f->a;
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    return 0;
}

static void refuse(int number, int64_t call, const struct doing *d) {
    struct faulty_fault *f = &faulty->faults[number];
    if (!__atomic_exchange_n(&f->refused, 1, __ATOMIC_RELAXED)) put_record(f->told, f->told_size, call, d->path, d->opened);
}

static int hits(const struct faulty_fault *f, int number_of_site, int64_t call) {
    return f->site == number_of_site && f->hits && call >= f->low && (f->high < 0 || call <= f->high);
}

static int act(struct doing *d, int is_after) {
    int over = 0, error = 0;
    if (__atomic_load_n(&faulty->spent, __ATOMIC_RELAXED)) return 0;
    for (int i = 0; i < faulty->fault_count && !over; i++) {
        struct faulty_fault *f = &faulty->faults[i];
        for (int m = 0; m < d->matched_count && !over; m++) {
            int64_t call = d->matched[m].call;
            if (f->is_after != is_after || !hits(f, d->matched[m].site, call)) continue;
            int is_data = d->place == AT_WRITE || d->place == AT_READ || (d->place == AT_OPEN && f->action != ACT_MISSING);
            if (f->action == ACT_REFUSED || (f->action == ACT_STOP && f->seconds >= 0 && child_main)) {
                refuse(i, call, d);
            } else if (f->action == ACT_LIE && !is_data) {
                strike(i, call, d, 0);
                over = 1, error = 0;
            } else if (f->action >= ACT_FULL && f->action < ACT_MISSING) {
                if (d->change_count < CHANGES_MAX) {
                    d->changes[d->change_count].fault = i;
                    d->changes[d->change_count++].call = call;
                }
            } else {
                strike(i, call, d, f->action == ACT_RAISE);
                over = perform(f, &error);
            }
        }
    }
    errno = error;
    return over;
}

/* Count the call and perform what comes before it; 1 where it is over: with errno, or 0 where it is a lie. */
static int comes(struct doing *d) {
    const char *is = NULL;
    d->matched_count = d->change_count = 0;
    if (!faulty->armed) return 0;
    for (int i = 0; i < faulty->site_count; i++) {
        struct faulty_site *site = &faulty->sites[i];
        if (site->place != (int)d->place || (site->reads && !d->reads)) continue;
        if (!means(site, d->path) && !means(site, d->target)) continue;
        if (site->role && !is) is = role();
        if (site->role && (site->role == 1) != !strcmp(is, "main")) continue;
        d->matched[d->matched_count].site = i;
        d->matched[d->matched_count++].call = __atomic_add_fetch(&site->count, 1, __ATOMIC_RELAXED);
    }
    return d->matched_count ? act(d, 0) : 0;
}

/* What comes after a call that came back; 1 where it then fails after all, with errno. */
static int came_back(struct doing *d, int well) {
    int error = errno;
    if (!faulty->armed) return 0;
    if (well) {
        went_well(d);
        if (d->matched_count && act(d, 1)) return 1;
    }
    errno = error;
    return 0;
}

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
    const char *b_given = (to); \
    int known = *(from) && absolute(from_directory, from, a_path) && (!b_given || absolute(to_directory, b_given, b_path)); \
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
    } else {
        int64_t kept = f->a >= 0 ? f->a : size / 2;
        if (kept >= size) return -1;
        return kept;
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

/* -- the table -------------------------------------------------------------------------------------- */

static int around(struct dl_phdr_info *info, size_t size, void *wanted_address) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        char *start = (char *)info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && part->p_flags & PF_X && (char *)wanted_address >= start &&
            (char *)wanted_address < start + part->p_memsz) {
            python_start = start;
            python_end = start + part->p_memsz;
            return 1;
        }
    }
    return 0;
}

/* Begin a table in `memory`, behind the `log_size` bytes of its log; gives 0, or -1 where it does not fit or no
 * interpreter is there. */
EXPORT int faultkit_table(char *memory, uint64_t log_size, uint64_t size, int main_thread, const char *excluded,
                          const char *included) {
    void *interpreter = dlsym(RTLD_DEFAULT, "Py_BytesMain");
    if (size < log_size + sizeof(struct faulty_table) || !interpreter || !dl_iterate_phdr(around, interpreter)) return -1;
    faulty_reserved = (uint64_t *)memory;
    faulty_dropped = faulty_reserved + 1;
    faulty_log = memory + 16;
    faulty_log_size = log_size - 16;
    faulty = (struct faulty_table *)(memory + log_size);
    faulty->armed = faulty->spent = faulty->site_count = faulty->fault_count = faulty->failure_count = 0;
    memset(faulty->failures, 0, sizeof faulty->failures);
    faulty->pool_used = 1;
    faulty->main_thread = main_thread;
    faulty->excluded = pool(excluded, strlen(excluded));
    faulty->included = *included ? pool(included, strlen(included)) : 0;
    return faulty->excluded ? 0 : -1;
}

/* A new site; its number, or -1 where there is no room. */
EXPORT int faultkit_site(int place, const char *glob, int role_number, int reads) {
    if (faulty->site_count == SITES_MAX) return -1;
    struct faulty_site *site = &faulty->sites[faulty->site_count];
    *site = (struct faulty_site){place, reads, role_number, *glob ? pool(glob, strlen(glob)) : 0, 0};
    return *glob && !site->glob ? -1 : faulty->site_count++;
}

EXPORT int faultkit_fault(int site, int is_after, int action, int error, int again, int64_t low, int64_t high, int64_t a,
                          int64_t b, double seconds, const char *text, const char *fired, int fired_size,
                          const char *called, int called_size, const char *told, int told_size) {
    if (faulty->fault_count == FAULTS_MAX) return -1;
    struct faulty_fault *f = &faulty->faults[faulty->fault_count];
    *f = (struct faulty_fault){site, is_after, action, error, 0, again, 0, low, high, a, b, seconds};
    f->text = pool(text, strlen(text));
    f->fired = pool(fired, (size_t)fired_size), f->fired_size = (uint32_t)fired_size;
    f->called = pool(called, (size_t)called_size), f->called_size = (uint32_t)called_size;
    f->told = pool(told, (size_t)told_size), f->told_size = (uint32_t)told_size;
    f->left = -1;
    if (!f->text || !f->fired || !f->called || !f->told) return -1;
    return faulty->fault_count++;
}

EXPORT void faultkit_aim(int fault, int does_hit) { faulty->faults[fault].hits = does_hit; }

EXPORT void faultkit_step(int change) { in_step += change; }

EXPORT void faultkit_spend(int is_spent) {
    faulty->spent = is_spent;
    if (is_spent && is_limited) {
        setrlimit(RLIMIT_FSIZE, &limit_before);
        is_limited = 0;
    }
}

/* Python's layer comes by a call of a site: its number. */
EXPORT int64_t faultkit_count(int site) { return __atomic_add_fetch(&faulty->sites[site].count, 1, __ATOMIC_RELAXED); }

/* How much of `wanted` still fits on the full disk of a fault, which is then taken. */
EXPORT int64_t faultkit_take(int fault, int64_t size) {
    struct faulty_fault *f = &faulty->faults[fault];
    int64_t unset = -1;
    __atomic_compare_exchange_n(&f->left, &unset, f->a, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    int64_t left = __atomic_load_n(&f->left, __ATOMIC_ACQUIRE);
    while (!__atomic_compare_exchange_n(&f->left, &left, left - (left < size ? left : size), 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {}
    return left < size ? left : size;
}

EXPORT void faultkit_arm(unsigned places) {
    python_sees = 1;
    child_main = 0;
    faulty->armed = 1;
    faulty_places = places;
    dispatch_on();
}

/* For this process and for the children that it forked. */
EXPORT void faultkit_disarm(void) {
    faulty_places = 0;
    if (!active) dispatch_off();
    if (faulty) {
        faulty->armed = 0;
        faultkit_spend(1);
    }
}

static void faulty_child(void) {
    python_sees = 0;
    child_main = faulty_places ? (pid_t)syscall(SYS_gettid) : 0;
}
