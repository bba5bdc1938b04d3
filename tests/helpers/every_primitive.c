/* The calls of the C library that Python does not make, under the directory that is the working directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void streams(void) {
    FILE *stream = fopen("stream", "w");
    fprintf(stream, "%s", "held");
    fsync(fileno(stream)); /* before its bytes are written */
    fflush(stream);
    fputs(" put", stream);
    fputc('c', stream);
    fseek(stream, 1, SEEK_SET);
    fwrite("WX", 1, 2, stream);
    fclose(stream);
    stream = fopen("stream", "a");
    char block[9000];
    for (int i = 0; i < (int)sizeof block; i++) block[i] = (char)('a' + i % 26);
    fwrite(block, 1, sizeof block, stream);
    fflush(NULL);
    fclose(stream);
    stream = fdopen(open("by_descriptor", O_WRONLY | O_CREAT, 0600), "w");
    fputs("through a descriptor", stream);
    fclose(stream);
    fopen("none/stream", "w");
}

static void descriptors(void) {
    int directory = open(".", O_RDONLY | O_DIRECTORY);
    int fd = openat(directory, "file", O_RDWR | O_CREAT, 0600);
    write(fd, "0123456789", 10);
    pwrite(fd, "ab", 2, 4);
    struct iovec parts[] = {{"x", 1}, {"yz", 2}};
    writev(fd, parts, 2);
    pwritev(fd, parts, 2, 30);
    fallocate(fd, 0, 0, 100);
    ftruncate(fd, 50);
    int other = creat("other", 0600);
    off_t place = 3;
    sendfile(other, fd, &place, 8);
    loff_t from = 0, to = 20;
    copy_file_range(fd, &from, other, &to, 5, 0);
    int copy = fcntl(other, F_DUPFD_CLOEXEC, 50);
    write(copy, "copy", 4);
    fdatasync(copy);
    dup2(fd, copy);
    write(copy, "!", 1);
    close(copy);
    close(other);
    close(fd);
    mkdirat(directory, "made", 0700);
    symlinkat("file", directory, "made/pointer");
    linkat(directory, "file", directory, "made/linked", 0);
    renameat2(directory, "other", directory, "made/other", RENAME_NOREPLACE);
    unlinkat(directory, "made/pointer", 0);
    remove("made/linked");
    rename("made/other", "./made/../other");
    unlinkat(directory, "made", AT_REMOVEDIR);
    truncate("other", 2);
    fsync(directory);
    close(directory);
    char pattern[] = "temporaryXXXXXX";
    close(mkstemp(pattern));
    unlink(pattern);
    rmdir("none");
}

#ifdef __x86_64__
/* As rustix does it: an instruction of its own, which no function of the C library sees. */
static long raw(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static void *past_the_library(void *unused) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    long fd = raw(SYS_openat, AT_FDCWD, (long)"raw", O_WRONLY | O_CREAT, 0600);
    raw(SYS_write, fd, (long)"past", 4, 0);
    raw(SYS_fsync, fd, 0, 0, 0);
    raw(SYS_close, fd, 0, 0, 0);
    if (raw(SYS_renameat, AT_FDCWD, (long)"raw", AT_FDCWD, (long)"renamed")) _exit(3);
    if (raw(SYS_rmdir, (long)"none", 0, 0, 0) != -ENOENT || raw(SYS_getpid, 0, 0, 0, 0) != getpid()) _exit(4);
    return unused;
}
#endif

int main(void) {
    streams();
    descriptors();
    pid_t child = fork();
    if (!child) {
        int fd = open("of_a_child", O_WRONLY | O_CREAT, 0600);
        write(fd, "child", 5);
        close(fd);
        _exit(0);
    }
    waitpid(child, NULL, 0);
#ifdef __x86_64__
    if (getenv("RAW")) {
        pthread_t thread;
        pthread_create(&thread, NULL, past_the_library, NULL);
        pthread_join(thread, NULL);
    }
#endif
    FILE *late = fopen("late", "w");
    fputs("written at exit", late);
    return 0;
}
