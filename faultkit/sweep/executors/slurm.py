"""The executor ``submitit``: chunks as jobs of Slurm, or with ``cluster=local`` as processes of this machine.

    submitit:cluster=local
    submitit:slurm_partition=gpu,timeout_min=60,folder=/shared/me

What stands behind the colon are parameters of submitit's `AutoExecutor`.  Guarantees: functions and results lie in a
directory that nobody else can read, below `folder` (the current directory, which the nodes must see, too), and that
is removed at the end; jobs that still run then are cancelled.  Not covered: a process that is ended by SIGKILL: its
jobs run on to the end of their chunk, and the directory stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from faultkit.exceptions import ArgumentError, HarnessError
from faultkit.messages import first_line, seen
from faultkit.sweep.executors import Workers

__all__ = ["options_in", "workers"]

LOOK_SECONDS = 2.0  # between looks at a job of Slurm
LATE_SECONDS_MAX = 15
CHUNK_SECONDS = 60.0  # each job starts an interpreter, and waits in a queue


def options_in(text: str) -> dict[str, Any]:
    """The parameters in `text`; numbers as numbers.  Raises ValueError."""
    options: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier() or name in options:
            raise ArgumentError(
                "sweep",
                f"executor submitit takes NAME=VALUE after commas, each name once, as in submitit:cluster=local "
                f"(got {seen(part)})",
            )
        options[name] = int(value) if value.isdecimal() else value
    return options


class _JobGone(Exception):
    """A job that ended without a result; where Slurm keeps no accounts, submitit waits for it for ever."""


def _is_in_queue(job: str) -> bool:
    asked = subprocess.run(
        ["squeue", "-h", "-j", job], capture_output=True, text=True, timeout=60, check=False
    )
    return bool(asked.stdout.strip()) or (asked.returncode != 0 and "Invalid job id" not in asked.stderr)


def _comes_late(job: Any) -> bool:
    """Whether the result comes after all: a shared file system shows it later than the queue."""
    for _ in range(LATE_SECONDS_MAX):
        if job.done():
            return True
        time.sleep(1.0)
    return False


@contextlib.contextmanager
def workers(rest: str, count: int | None) -> Iterator[Workers]:
    """So many jobs at a time; of this machine one for each core, of Slurm as many as `count` says."""
    import submitit

    options = options_in(rest)
    cluster = options.pop("cluster", None)
    above = os.path.abspath(options.pop("folder", "."))
    with contextlib.ExitStack() as stack:
        try:
            folder = tempfile.mkdtemp(prefix=".faultkit-jobs-", dir=above)
        except OSError as error:
            raise HarnessError(f"submitit: {above!r} cannot hold its jobs: {error.strerror}") from None
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            executor = submitit.AutoExecutor(folder, cluster=cluster)
            executor.update_parameters(**options)
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            raise ArgumentError("sweep", f"executor submitit: {first_line(error)}") from None
        is_local = executor.cluster in ("local", "debug")
        if count is None and not is_local:
            raise ArgumentError("sweep", "jobs must say how many jobs of Slurm run at a time")
        count = count or os.cpu_count() or 1
        threads = stack.enter_context(ThreadPoolExecutor(count, "faultkit-job"))
        jobs: set[Any] = set()
        lock = threading.Lock()
        is_ended = threading.Event()

        def run(*call: Any) -> Any:
            with lock:  # its executors are for one thread
                if is_ended.is_set():
                    raise HarnessError("submitit: the sweep has ended")
                job = executor.submit(*call)
                jobs.add(job)
            try:
                while not is_local and not job.done() and not is_ended.wait(LOOK_SECONDS):
                    if not _is_in_queue(job.job_id) and not _comes_late(job):
                        raise _JobGone(f"job {job.job_id} left the queue without a result")
                return job.result()
            finally:
                jobs.discard(job)

        def submit(*call: Any) -> Future[Any]:
            return threads.submit(run, *call)

        def deaths(error: BaseException) -> int:
            has_ended = isinstance(error, (_JobGone, submitit.core.utils.UncompletedJobError))
            return int(has_ended and not isinstance(error, submitit.core.utils.FailedJobError))

        def end(sweep: str) -> None:
            with lock:
                is_ended.set()
                for job in list(jobs):
                    job.cancel(check=False)

        stack.callback(end, "")
        yield Workers(
            name="submitit",
            submit=submit,
            count=count,
            chunk_seconds=CHUNK_SECONDS,
            deaths=deaths,
            end=end,
        )
