"""Performs an action at the place where it fires: what hurts a rank is done here, or asked of its `RankContext`.

Guarantees: ``raise`` raises in the caller's frame; ``delay`` sleeps; ``exit``, ``kill`` and ``segfault`` end
the process without running a finally block, an exit handler or a flush; ``stop`` stops it until somebody
sends SIGCONT.  ``hang(python)`` lets other threads run, ``hang(native)`` keeps the interpreter lock, as a
wait in an extension module that forgot to release it would.  ``memory(megabytes)`` lowers the limit on the
address space to that much above what is in use (64 where none is given), allocates until the interpreter
itself raises MemoryError, and puts the limit back.  ``limit(bytes)`` sets RLIMIT_FSIZE, ``descriptors(count)``
RLIMIT_NOFILE so that so many more can be opened; ``terminate(seconds)`` sends SIGTERM, and SIGKILL to who is still
there after that time.  `put_back` ends all of these.  No core file is written for a planned
death.  How a rank ends or hangs by these, its context knows (`faultkit.injection.rank_context`).  Not covered:
recording (the session has done it before), resuming a stopped rank (the world does it), and what is done to files
(`faultkit.injection.files.raw`).
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

from faultkit.injection import rank_context
from faultkit.injection.errors import build
from faultkit.plan.actions import Action

__all__ = ["KILL", "PERFORMERS", "perform", "prepare", "put_back"]

MEMORY_HEADROOM_MEGABYTES = 64
MEMORY_CHUNK_BYTES = 4 << 20
KILL = Action("kill", (("signal", "SIGKILL"),))


def prepare(action: Action, fault_text: str) -> None:
    """Raise ValueError now where `perform` could not do its work later."""
    if PERFORMERS.get(action.name) is None and not (
        action.replaces_call or action.spec.layers  # those are done where files and requests are
    ):
        raise ValueError(
            f"no performer for the action {str(action)!r} of the fault {fault_text!r}: "
            f"known are {', '.join(sorted(PERFORMERS))}"
        )
    if action.error is not None:
        build(action.error, fault_text)


def perform(action: Action, fault_text: str) -> None:
    """Do what `action` says; `fault_text` is the fault in the grammar, for the message of what is raised."""
    PERFORMERS[action.name](action, fault_text)


def _raise(action: Action, fault_text: str) -> NoReturn:
    raise build(action, fault_text)


def _delay(action: Action, fault_text: str) -> None:
    seconds = float(action["seconds"])
    if seconds:  # a delay of no length only watches: not even the turn goes to somebody else
        time.sleep(seconds)


def _hang(action: Action, fault_text: str) -> None:
    rank_context.context().hang(is_native=action["how"] == "native", fault_text=fault_text)


def _exit(action: Action, fault_text: str) -> None:
    rank_context.context().exit(int(action["code"]))


def _kill(action: Action, fault_text: str) -> None:
    number = signal.Signals[str(action["signal"])]
    rank_context.context().kill(number, is_deadly=action.kills)


def _terminate(action: Action, fault_text: str) -> None:
    here = rank_context.context()
    end = functools.partial(here.kill, signal.SIGKILL, is_deadly=True)
    _deadlines.append(here.start_timer(float(action["grace_seconds"]), end))
    here.kill(signal.SIGTERM, is_deadly=True)


def _stop(action: Action, fault_text: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _segfault(action: Action, fault_text: str) -> NoReturn:
    rank_context.write_no_core_file()
    crash = getattr(faulthandler, "_sigsegv", None)
    if crash is not None:
        crash()
    ctypes.string_at(0)
    os.abort()


def _memory(action: Action, fault_text: str) -> NoReturn:
    try:
        import resource

        with open("/proc/self/statm") as statm:
            used_bytes = int(statm.read().split()[0]) * resource.getpagesize()
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, ValueError):
        raise MemoryError(f"injected by faultkit: {fault_text}") from None
    limit = used_bytes + (int(action.get("megabytes") or MEMORY_HEADROOM_MEGABYTES) << 20)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    held = []
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        while True:
            held.append(bytearray(MEMORY_CHUNK_BYTES))
    finally:
        held.clear()
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _limit(action: Action, fault_text: str) -> None:
    global _limit_before
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    _limit_before = _limit_before or before
    wanted, hard = int(action["bytes"]), before[1]
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


def _descriptors(action: Action, fault_text: str) -> None:
    global _descriptors_before
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    _descriptors_before = _descriptors_before or before
    listed = map(int, os.listdir("/proc/self/fd"))
    open_now = {
        number for number in listed if os.path.lexists(f"/proc/self/fd/{number}")
    }  # not that of the listing
    free, limit = int(action["count"]), 0
    while limit in open_now or free > 0:  # a descriptor is always the lowest number that is free
        free -= limit not in open_now
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, before[1]), before[1]))


_limit_before: tuple[int, int] | None = None
_descriptors_before: tuple[int, int] | None = None


_deadlines: list[rank_context.Timer] = []


def put_back() -> None:
    """The limits on files are again what they were before an action set them, and no time of grace runs out."""
    global _limit_before, _descriptors_before
    while _deadlines:
        _deadlines.pop().cancel()
    if _limit_before is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, _limit_before)
        _limit_before = None
    if _descriptors_before is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, _descriptors_before)
        _descriptors_before = None


PERFORMERS: dict[str, Callable[[Action, str], None]] = {
    "delay": _delay,
    "descriptors": _descriptors,
    "exit": _exit,
    "hang": _hang,
    "kill": _kill,
    "limit": _limit,
    "memory": _memory,
    "raise": _raise,
    "segfault": _segfault,
    "stop": _stop,
    "terminate": _terminate,
}
