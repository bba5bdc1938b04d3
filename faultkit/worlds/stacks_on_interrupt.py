"""Tells where the ranks stand when a run is ended from outside: by a test's own time limit, or by Ctrl-C.

Guarantees: `watched` knows the runs of this process that go on; where one is left by what is not an error of
its own (``KeyboardInterrupt``, the ``Failed`` that a time limit of pytest raises, ``SystemExit``), the stacks
of its unfinished ranks are written to stderr before they are ended.  `write_stacks` does the same from any thread,
for who is about to end the process.  Both take half a second at most for a run, and never raise.
Not covered: a command of faultkit, which ends in one line (`faultkit.endings`); and ranks that do not write their own
stack, being stopped or dead.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from faultkit import endings
from faultkit.worlds.stacks import shorten

if TYPE_CHECKING:
    from faultkit.worlds.supervision import Supervision

__all__ = ["watched", "write_stacks"]

_running: dict[int, Supervision] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def watched(supervision: Supervision) -> Iterator[None]:
    """The run of `supervision` goes on meanwhile."""
    _running[id(supervision)] = supervision
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if not endings.is_in_order():
            _tell_of([supervision], f"a run was ended from outside ({type(error).__name__})", sys.stderr)
        raise
    finally:
        _running.pop(id(supervision), None)


def write_stacks(why: str, stream: TextIO | None = None) -> None:
    """Write where the unfinished ranks of all runs of this process stand; nothing where there are none."""
    _tell_of(list(_running.values()), why, stream or sys.stderr)


def _tell_of(supervisions: list[Supervision], why: str, stream: TextIO) -> None:
    with contextlib.suppress(Exception), _lock:
        for supervision in supervisions:
            processes = supervision.processes
            left = [handle.rank for handle in processes.ranks if handle.rank not in supervision.outcomes]
            stacks = processes.dump_stacks(left, may_spy=False)
            plan = f", plan {str(supervision.call.plan)!r}" if supervision.call.plan else ""
            lines = [f"faultkit: {why}; {len(left)} of {processes.size} ranks had not finished{plan}"]
            for rank in left:
                stack = shorten(stacks.get(rank, "")) or "(it wrote no stack)"
                lines += [f"--- rank {rank}, pid {processes.ranks[rank].pid}, innermost call first", stack]
            stream.write("\n" + "\n".join(lines) + "\n")
            stream.flush()
