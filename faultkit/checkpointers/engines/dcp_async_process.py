"""`dcp.async_save` by a process beside each rank: the engine's daemon writes the files, in a process group of its own.

The first save starts the daemon, by ``spawn``, which takes seconds; it stays for the life of the rank.  What is staged
goes to it by a pipe and shared memory.  All else is as in `dcp-async`, whose options it has; ``group`` is that in which
the ranks agree on the daemons' port.  torch is imported on the ranks, and again in each daemon.

Known weak points (torch 2.13): a daemon that died stays dead, so that every later save fails; two first saves at once
start two daemons, of which one is lost; two saves at once may take each other's answer from the pipe; a rank waits half
an hour for a daemon that does not start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp, dcp_async
from faultkit.checkpointers.parts import stock_files, stock_readers
from faultkit.checkpointers.parts.handles import Handle

__all__ = ["DCP_ASYNC_PROCESS", "save"]


def save(state: dict[str, Any], directory: Path, step: int, /, **options: Any) -> Handle:
    """Stage `state` and hand it to the daemon, to be saved as `step`.  Raises what staging raises."""
    return dcp_async.start("process", state, directory, step, **options)


DCP_ASYNC_PROCESS = Checkpointer(
    name="dcp-async-process",
    summary="torch.distributed.checkpoint.async_save by a daemon process beside each rank",
    save=save,
    load=dcp_async.load,
    steps=dcp.steps,
    prune=dcp.prune,
    readers=stock_readers.READERS,
    any_state=True,
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    points=("stager.*", "executor.*", "daemon.*"),
    is_async=True,
    options=dcp_async.OPTIONS,
    replaces=stock_files.replaces,
    check=dcp_async.check,
    allow_residue=("child process *multiprocessing.spawn*",),
)
