"""What runs the chunks of a sweep: an executor's workers, behind one value, whoever starts them.

    processes                   on this machine
    ray, ray:ADDRESS            a Ray cluster of this machine's own, or the one at ADDRESS (``auto`` finds it)
    dask:ADDRESS                the workers of the dask.distributed scheduler at ADDRESS
    submitit, submitit:NAME=VALUE,...   jobs of Slurm, or processes with ``cluster=local``

and in Python any `concurrent.futures.Executor`, or a function that makes one.  Each is adapted in a file of its own,
by what it has itself: nothing here schedules, queues or starts machines.  Guarantees: a package that is missing is
one line with the command that installs it; leaving the context ends what was started for it, and the chunks that
still run.  Not covered: which chunks there are, and what becomes of one whose worker died
(`faultkit.sweep.dispatch`).
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

import msgspec

from faultkit.exceptions import ArgumentError
from faultkit.messages import listed, nearest, seen

__all__ = ["NAMES", "Workers", "require_executor", "workers_of"]

NAMES = ("processes", "ray", "dask", "submitit")
EXTRAS = {"ray": "ray", "dask": "dask", "submitit": "slurm"}
PACKAGES = {"ray": "ray", "dask": "distributed", "submitit": "submitit"}
DEATHS_MAX = 3  # of workers by one chunk
DASK_SAMPLE = "dask:tcp://10.0.0.1:8786"


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """What runs chunks.

    Args:
        name: as it is told.
        submit: as `Executor.submit`.
        count: how many chunks are given at a time.
        chunk_seconds: how long one should take: where a worker is slow to start, longer.
        deaths: how many workers a chunk has killed, by the error of its future; 0 for an error of another sort.
        is_broken_as_one: one worker that dies takes those with it that run other chunks, or seems to.
        end: ends what still runs of the sweep of that name, where leaving the context does not.
    """

    name: str
    submit: Callable[..., Future[Any]]
    count: int
    chunk_seconds: float
    deaths: Callable[[BaseException], int]
    is_broken_as_one: bool = False
    end: Callable[[str], None] = lambda sweep: None


def require_executor(executor: Any) -> None:
    """Raises ValueError for what is no executor, and for one whose package is not installed."""
    if not isinstance(executor, str):
        if not isinstance(executor, Executor) and not callable(executor):
            raise ArgumentError(
                "sweep",
                f"executor must be {listed(NAMES)}, a concurrent.futures.Executor, or a function that makes one "
                f"(got {seen(executor)})",
            )
        return
    name, _, rest = executor.partition(":")
    if name not in NAMES:
        raise ArgumentError(
            "sweep", f"executor must be one of {listed(NAMES)} (got {seen(executor)}){nearest(name, NAMES)}"
        )
    if name == "processes" and rest:
        raise ArgumentError("sweep", f"executor processes takes nothing behind it (got {seen(executor)})")
    if name == "dask" and not rest:
        raise ArgumentError("sweep", f"executor dask needs the address of a scheduler, as in {DASK_SAMPLE!r}")
    if name in PACKAGES:
        try:
            importlib.import_module(PACKAGES[name])
        except ImportError:
            raise ArgumentError(
                "sweep",
                f"executor {name} requires {PACKAGES[name]}, which is not installed; "
                f"install it by: pip install 'faultkit[{EXTRAS[name]}]'",
            ) from None
    if name == "submitit":
        from faultkit.sweep.executors.slurm import options_in

        options_in(rest)


@contextlib.contextmanager
def workers_of(executor: Any, count: int | None) -> Iterator[Workers]:
    """The workers of `executor`; `count` chunks at a time, or as many as it has workers.

    Raises ValueError as `require_executor` does, and HarnessError where the executor cannot be had.
    """
    require_executor(executor)
    if not isinstance(executor, str):
        yield _of_executor(executor, count or os.cpu_count() or 1)
        return
    name, _, rest = executor.partition(":")
    home = {"processes": "local", "ray": "on_ray", "dask": "on_dask", "submitit": "slurm"}[name]
    adapter = importlib.import_module(f"faultkit.sweep.executors.{home}")
    with adapter.workers(rest, count) as found:
        yield found


def _of_executor(executor: Any, count: int) -> Workers:
    """Those of somebody's own executor, which is left as it is; one that a function makes is ended here."""
    made: list[Executor] = []

    def submit(*call: Any) -> Future[Any]:
        if isinstance(executor, Executor):
            return executor.submit(*call)
        if not made:
            made.append(executor())
        try:
            return made[0].submit(*call)
        except BrokenExecutor:
            made.pop().shutdown(wait=False)
            made.append(executor())
            return made[0].submit(*call)

    def end(sweep: str) -> None:
        from faultkit.sweep.chunks import end_chunks

        end_chunks(sweep)  # where its workers are threads of this process
        for one in made:
            one.shutdown(wait=False, cancel_futures=True)

    return Workers(
        name=type(executor).__name__ if isinstance(executor, Executor) else "the executor",
        submit=submit,
        count=count,
        chunk_seconds=5.0,
        # one that is broken is nobody's to replace, unless there is a function for it
        deaths=lambda error: int(isinstance(error, BrokenExecutor) and not isinstance(executor, Executor)),
        is_broken_as_one=True,
        end=end,
    )
