/* Faults in calls of the C library that Python's layer does not see: of C++ and Rust code, and of forked children.
 *
 * Promised.  Between faultkit_arm and faultkit_disarm each call on a file is held to the table of faults in memory
 * that the process shares with who watches it and with the children that it forks: calls are counted there, by all of
 * them together, and what fires is written there before it happens.  A call that the interpreter itself makes is left
 * to the faults of `faultkit/injection/files/raw.py`, save in a forked child, where those are not armed: it is told by
 * the address that it returns to.  Unplanned places cost one comparison.  No lock is held and no interpreter is asked,
 * so that threads that know nothing of Python are met as well.
 *
 * A fault that native code cannot be given (an exception without an error number, old versions that were remembered
 * in Python) is written down as refused, once, and does not fire.
 *
 * Left out: reading directories, mkstemp, memory maps, io_uring, system calls past the C library of threads that were there
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
/* In the order of NUMBERED_ACTIONS in `faultkit/injection/files/native.py`; those from ACT_FULL to ACT_STALE change data. */
enum action { ACT_RAISE, ACT_DELAY, ACT_HANG, ACT_HANG_NATIVE, ACT_STOP, ACT_EXIT, ACT_KILL, ACT_SEGFAULT, ACT_LIMIT,
              ACT_FULL, ACT_SHORT, ACT_TORN, ACT_LIE, ACT_FLIP, ACT_ZERO, ACT_CUT, ACT_STALE, ACT_MISSING, ACT_REFUSED };
enum opened { FOR_READ = 1, FOR_WRITE = 2 };

struct faulty_site {
    int32_t place, reads, role; /* role: 0 any, 1 main, 2 helper, 3 any thread of a child */
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
    int32_t generation, armed, spent, site_count, fault_count, failure_count, main_thread;
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
static int generation; /* of the table that this process is armed with */
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

#include "shim_globs.h"

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

/* How many bytes the character in UTF-8 at `p` has; 0 where there is none. */
static int character_size(const unsigned char *p) {
    int size = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    for (int i = 1; i < size; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (size == 3 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f))) return 0;
    if (size == 4 && ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))) return 0;
    return size;
}

/* A record is text: what is none in a name is shown by "?". */
static void make_text(char *p) {
    while (*p) {
        int size = character_size((unsigned char *)p);
        if (!size) *p = '?';
        p += size ? size : 1;
    }
}

/* A record of the rank's memory: its length last, so that one that is cut short is none. */
static void put_record(uint32_t template, uint32_t template_size, int64_t call, const char *path, int opened) {
    char body[TEMPLATE_MAX + PATH_MAX + 256], shown[PATH_MAX], *p = body;
    size_t length = strlen(path);
    if (template_size > TEMPLATE_MAX || length >= PATH_MAX) return;
    memcpy(p, pooled(template), template_size);
    p = put_text(p + template_size, "call");
    p = put_int(p, call);
    p = put_text(p, "path");
    memcpy(shown, path, length + 1);
    make_text(shown);
    p = put_text(p, shown);
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
    int over = 0, error = 0, before = errno;
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
    errno = over ? error : before; /* who goes on finds what stood there, as in a `close` while an error is passed on */
    return over;
}

/* Count the call and perform what comes before it; 1 where it is over: with errno, or 0 where it is a lie. */
static int comes(struct doing *d) {
    const char *is = NULL;
    d->matched_count = d->change_count = 0;
    if (!faulty->armed || faulty->generation != generation) return 0;
    for (int i = 0; i < faulty->site_count; i++) {
        struct faulty_site *site = &faulty->sites[i];
        if (site->place != (int)d->place || (site->reads && !d->reads)) continue;
        if (!means(site, d->path) && !means(site, d->target)) continue;
        if (site->role == 3 && !child_main) continue;
        if (site->role && !is) is = role();
        if ((site->role == 1 || site->role == 2) && (site->role == 1) != !strcmp(is, "main")) continue;
        d->matched[d->matched_count].site = i;
        d->matched[d->matched_count++].call = __atomic_add_fetch(&site->count, 1, __ATOMIC_RELAXED);
    }
    return d->matched_count ? act(d, 0) : 0;
}

/* What comes after a call that came back; 1 where it then fails after all, with errno. */
static int came_back(struct doing *d, int well) {
    int error = errno;
    if (!faulty->armed || faulty->generation != generation) return 0;
    if (well) {
        went_well(d);
        if (d->matched_count && act(d, 1)) return 1;
    }
    errno = error;
    return 0;
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
    faulty->generation++; /* what a child of an earlier run comes by is no longer counted */
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
    generation = faulty->generation;
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
