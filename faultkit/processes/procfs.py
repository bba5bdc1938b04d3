"""Reads from /proc what the parent must know of a rank that does not answer: its threads, state and CPU time.

Whether a thread waits for its own process is read off the kernel: it waits for a lock without a timeout, and for one
that only threads of its process can give back (`Future.result`, `Event.wait`, `Queue.get`, `Thread.join`, a lock).
gloo's own threads are known by their names.  Any other thread of C or C++ that is not waiting so may give back
anything, and so proves life.

Linux only, like the fork server.  A process that is gone, or that may not be read, gives empty answers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from typing import NamedTuple

__all__ = [
    "STACK_SIGNAL",
    "Poll",
    "Task",
    "clock_of",
    "is_still",
    "is_stopped",
    "polls_of",
    "signals_caught",
    "sleeps_in_c",
    "tasks_of",
    "waits_for_ever",
    "waits_for_itself",
]

FUTEX = {"x86_64": "202", "aarch64": "98"}.get(os.uname().machine)
FUTEX_PRIVATE = 0x80
POLLING = "gloo_tcp_loop"  # looks every hundredth of a second; see `faultkit.hooks.gloo_threads`
LIBRARY = (POLLING, "pt_gloo_runloop")  # act on what other ranks send
POLLING_TICKS = 5  # CPU time of a thread that polls, before that counts as work
INTERRUPTING = (signal.SIGALRM, signal.SIGCHLD, signal.SIGIO, signal.SIGPROF, signal.SIGVTALRM)
OF_ITS_OWN_DOING = (
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
)
STACK_SIGNAL = signal.SIGRTMIN + 3  # faultkit's own: faulthandler writes the stacks of all threads to a file


class Task(NamedTuple):
    """One thread: its number, name, state letter, and the CPU ticks it has used."""

    number: int
    name: str
    state: str
    ticks: int


class Poll(NamedTuple):
    """A thread that polls: whether it sleeps now, and how often it has been given a processor (-1: unknown)."""

    number: int
    sleeps: bool
    turns: int


def tasks_of(pid: int) -> list[Task]:
    """Every thread of the process, the main one first."""
    found = []
    try:
        for number in sorted(map(int, os.listdir(f"/proc/{pid}/task"))):
            with open(f"/proc/{pid}/task/{number}/stat") as file:
                head, _, rest = file.read().rpartition(")")
            fields = rest.split()
            found.append(Task(number, head.partition("(")[2], fields[0], int(fields[11]) + int(fields[12])))
    except (OSError, IndexError, ValueError):
        return []
    return found


def clock_of(tasks: Collection[Task], polling: Collection[int] = ()) -> tuple[object, ...]:
    """A value that changes when the process uses CPU; () while a thread of it runs or it cannot be read.

    A thread that polls runs now and then whatever happens: it counts only once it has used much.
    """
    working = [task for task in tasks if not _polls(task, polling)]
    if any(task.state in "RD" for task in working):
        return ()
    polled = sum(task.ticks for task in tasks if _polls(task, polling)) // POLLING_TICKS
    return (len(tasks), sum(task.ticks for task in working), polled) if tasks else ()


def polls_of(pid: int, tasks: Collection[Task], polling: Collection[int] = ()) -> tuple[Poll, ...]:
    """The threads that poll: gloo's, and those whose numbers are `polling`, whose sleep says nothing."""
    return tuple(
        Poll(task.number, task.state == "S" and task.number not in polling, _turns(pid, task.number))
        for task in tasks
        if _polls(task, polling)
    )


def is_still(pid: int, tasks: Collection[Task], calls: Collection[int]) -> bool:
    """Whether no thread but the main one can do anything by itself.

    Those whose numbers are `calls` are inside a communication call.
    """
    others = [task for task in tasks if task.number != pid and task.number not in calls]
    return bool(tasks) and all(
        task.name in LIBRARY or (task.state == "S" and _waits(pid, task.number, FUTEX_PRIVATE))
        for task in others
    )


def signals_caught(pid: int) -> set[int] | None:
    """The signals that the process has handlers of; None where it cannot be read."""
    try:
        with open(f"/proc/{pid}/status") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
    except (OSError, ValueError, StopIteration):
        return None
    return {number for number in signal.valid_signals() if caught >> (number - 1) & 1}


def waits_for_itself(pid: int) -> bool:
    """Whether the main thread waits, without a timeout, for what another thread of its process must do.

    False, too, where the process has a handler of a signal that a timer or a child sends, since that may do it: of a
    signal that only other processes send, where it has children.
    """
    if not _waits(pid, pid, FUTEX_PRIVATE):
        return False
    handled = signals_caught(pid)
    if handled is None:
        return False
    if handled.intersection(INTERRUPTING) or any(n >= signal.SIGRTMIN and n != STACK_SIGNAL for n in handled):
        return False
    handled -= {STACK_SIGNAL, signal.SIGINT, *OF_ITS_OWN_DOING}  # Python itself handles SIGINT
    return not (handled and _has_children(pid))


def sleeps_in_c(number: int) -> bool:
    """Whether a thread of this process waits in a call of the system, and not for its turn in the interpreter."""
    try:
        with open(f"/proc/self/task/{number}/syscall") as file:
            call, *arguments = file.read().split()
    except (OSError, ValueError):
        return False
    # whoever waits for the interpreter waits for a lock, with a timeout
    return len(arguments) >= 4 and (call != FUTEX or int(arguments[3], 16) == 0)


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped (SIGSTOP)."""
    tasks = tasks_of(pid)
    return bool(tasks) and all(task.state in "Tt" for task in tasks)


def waits_for_ever(pid: int) -> bool:
    """Whether the main thread waits for a lock of its process without a timeout; True where that cannot be read.

    In its own code it would run, or wait for a time, a file or another process.
    """
    return _waits(pid, pid, FUTEX_PRIVATE, where_unknown=True)


def _waits(pid: int, number: int, flag: int = 0, *, where_unknown: bool = False) -> bool:
    try:
        with open(f"/proc/{pid}/task/{number}/syscall") as file:
            call, *arguments = file.read().split()
    except (OSError, ValueError):
        return where_unknown
    if FUTEX is None or len(arguments) < 4:
        return where_unknown and FUTEX is None
    # the second argument is what is done to the lock, the fourth the timeout
    return call == FUTEX and int(arguments[1], 16) & flag == flag and int(arguments[3], 16) == 0


def _has_children(pid: int) -> bool:
    """Whether it has child processes; True where that cannot be read."""
    try:
        for number in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{number}/children") as file:
                if file.read().strip():
                    return True
    except OSError:
        return True
    return False


def _polls(task: Task, polling: Collection[int]) -> bool:
    return task.name == POLLING or task.number in polling


def _turns(pid: int, number: int) -> int:
    try:
        with open(f"/proc/{pid}/task/{number}/schedstat") as file:
            return int(file.read().split()[2])
    except (OSError, IndexError, ValueError):
        return -1
