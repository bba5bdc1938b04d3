"""A process between the caller and a command: when the command or the caller ends, nothing of the command is left.

Guarantees: every process that the command started is ended, also those in sessions of their own, since orphans come
to this process; then its status is written.  The caller's end of a pipe tells that it lives: where that closes
without a word, the caller is gone.  The directory of the spools is made here, and removed here at the end, so that it
goes whenever the caller is killed.  Run by its path under ``python -I -S``, so it
imports nothing but the interpreter's own modules.

`adopt_orphans` and `end_all` are also for other processes that run what they do not know, one after the other.
"""

import ctypes
import os
import select
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36
ROUND_COUNT_MAX = 100
END, QUIT = b"e", b"q"  # what the caller says: end the command; that is all


def main(life: int, status: int, spools: str, argv: list[str]) -> None:
    """Run `argv` until it ends, or the pipe `life` says so; write the status to `status`; stay until `life` ends."""
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
    for descriptor in (life, status):
        os.set_inheritable(descriptor, False)
    word = END
    try:
        os.mkdir(spools, 0o700)
        command = start(argv)
    except OSError as error:
        told = f"error {error.errno}"
    else:
        told, word = wait_for_end(command, life, wakeup_read)
    end_all()
    if word == END:
        try:
            os.write(status, told.encode())
        except BrokenPipeError:
            pass
        os.close(status)  # which says the same where the caller ended the command
        while word == END:
            word = os.read(life, 1)
    import shutil

    shutil.rmtree(spools, ignore_errors=True)


def start(argv: list[str]) -> int:
    """Start the command, with the library in it where one is named.  Raises OSError."""
    preload = os.environ.pop("FAULTKIT_RECORD_PRELOAD", "")
    environment = {**os.environ, **({"LD_PRELOAD": preload} if preload else {})}
    signals = [signal.SIGINT, signal.SIGCHLD]
    return os.posix_spawnp(argv[0], argv, environment, setsigdef=signals, setpgroup=0)


def wait_for_end(command: int, life: int, wakeup: int) -> tuple[str, bytes]:
    """(status of the command in digits, "" where the caller ended it; what the caller said, b"" where it is gone)."""
    poller = select.poll()
    poller.register(life, select.POLLIN)
    poller.register(wakeup, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poller.poll()]
        if wakeup in ready:
            os.read(wakeup, 4096)
            while True:
                try:
                    pid, code = os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    break
                if pid == command:
                    return str(os.waitstatus_to_exitcode(code)), END
                if pid == 0:
                    break
        if life in ready:
            return "", os.read(life, 1)


def adopt_orphans() -> None:
    """From now on what descends from this process becomes its child where its own parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all() -> None:
    """End and reap every child of the main thread, and what becomes one by that."""
    for _ in range(ROUND_COUNT_MAX):
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as listing:
                children = [int(pid) for pid in listing.read().split()]
        except OSError:
            return
        if not children:
            return
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid in children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
