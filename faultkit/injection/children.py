"""Faults in the processes that a rank starts: the daemon of asynchronous saves, writers that fork, workers of data.

A plan means them by the role ``child``: ``writer.write_data(child)@1=kill``.  Where it does, every process that the
rank forks, or starts by `multiprocessing` (by fork, spawn or a fork server), is armed like the rank: with the same
plan, of which the faults of children strike there, and those of the rank do not.  It counts its own calls, from 1, and
records into the memory of its rank, so that `run.fired` has what fired in it, whatever then became of it.

Guarantees: a forked process is armed from its first instruction in Python on, another one once its work is unpickled,
which is before any of it runs; a save in it is an attempt, save for the daemon, whose save is part of the attempt that
asked for it.  Once the run is over, or goes on without faults, nothing strikes in it any more; ranks that had such a
plan serve no other run, so that what they started ends with them.  Of files, what forked processes do is seen by the
library that ranks are started with, where there is one (`faultkit.injection.files.native`), and counted together.  Not
covered: programs that a rank starts by other means, and processes that drop what `multiprocessing` gives them (a
``__getstate__`` of their own).
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from faultkit.injection.session import Session
from faultkit.interception.patches import Patches

if TYPE_CHECKING:
    from faultkit.processes.memory import RankMemory

__all__ = ["begun", "install"]

JOIN_SECONDS_MAX = 5.0
_ATTRIBUTE = "_faultkit_birth"  # of a process that is being started
_DAEMON_MODULE = "torch.distributed.checkpoint._async_process_executor"


def install(session: Session, patches: Patches, begin: Callable[..., None]) -> None:
    """Have the children of this process armed; `patches` undoes it.  Nothing where no fault of the plan is theirs.

    `begin` is what one that begins anew calls: with plan, rank, world size, coordinator, place, what `begun` takes.
    """
    memory = session.children
    if memory is None or not any(fault.in_child for fault in session.plan):
        return
    run_number = memory.run_number
    session.inherit = functools.partial(_take_after, session, memory, run_number)
    _end_daemon()  # one that an earlier run has left is not armed
    from multiprocessing.process import BaseProcess

    patches.set_attribute(BaseProcess, "start", _arming(BaseProcess.start, session, run_number, begin))


def _end_daemon() -> None:
    """End the process that torch keeps for asynchronous saves, if it has one."""
    module: Any = sys.modules.get(_DAEMON_MODULE)
    process = getattr(getattr(module, "_CHECKPOINT_PROCESS", None), "_save_process", None)
    if process is None:
        return
    with contextlib.suppress(ProcessLookupError, AttributeError, TypeError):
        os.kill(process.pid, signal.SIGKILL)
    with contextlib.suppress(AssertionError, ValueError):
        process.join(JOIN_SECONDS_MAX)
    module._CHECKPOINT_PROCESS = None


def begun(session: Session, descriptor: Any, run_number: int) -> None:
    """The session of this process, which begins anew, is that of a child."""
    from faultkit.processes.memory import RankMemory

    session.children = RankMemory(descriptor.detach())
    _be_child(session, session.children, run_number)


def _take_after(session: Session, memory: RankMemory, run_number: int) -> None:
    """In a process that was just forked: the session is that of a child from now on."""
    memory.be_of_child()
    _be_child(session, memory, run_number)


def _be_child(session: Session, memory: RankMemory, run_number: int) -> None:
    number = os.getpid()

    def record(kind: str, data: dict[str, Any]) -> None:
        memory.append_of_child(kind, {"child": number, **data}, run_number)

    session.be_child(record, lambda: memory.run_number != run_number or memory.is_disarmed)


def _arming(
    start: Callable[..., Any], session: Session, run_number: int, begin: Callable[..., None]
) -> Callable[..., Any]:
    @functools.wraps(start)
    def armed(self: Any) -> Any:
        if session.closed:
            return start(self)
        vars(self)[_ATTRIBUTE] = _Birth(session, run_number, begin)
        try:
            return start(self)
        finally:
            vars(self).pop(_ATTRIBUTE, None)

    return armed


class _Birth:
    """Goes with a process that is started by pickle, and arms it when it is read there."""

    def __init__(self, session: Session, run_number: int, begin: Callable[..., None]) -> None:
        self._session, self._run_number, self._begin = session, run_number, begin

    def __reduce__(self) -> Any:
        from multiprocessing import reduction
        from multiprocessing.context import get_spawning_popen

        session = self._session
        if get_spawning_popen() is None or session.children is None:
            return _nothing, ()
        descriptor = reduction.DupFd(session.children.descriptor)
        told = (session.plan, session.rank, session.world_size, session.coordinator, session.place)
        return self._begin, (*told, descriptor, self._run_number)


def _nothing() -> None:
    return None
