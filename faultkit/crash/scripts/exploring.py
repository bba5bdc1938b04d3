"""`explore`: record a command once, then resume it from every state that a crash could leave.

Guarantees: the command is run as it is, and must succeed by itself: once recorded, and once resumed from its own
finished directory.  What counts as right is what that resumption gives: a training that is resumed must come to
the same result, whatever crash came between.  Not covered: trainings that come to another result each time; results
compared then say so.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.crash.enumeration.crash_model import MODELS
from faultkit.crash.scripts.acknowledging import acknowledged_by
from faultkit.crash.scripts.resume import Resumption, contents_of, digest_of, step_of, with_directory
from faultkit.crash.scripts.run_command import imports_of
from faultkit.crash.scripts.step_pattern import require_step_told
from faultkit.messages import shown

if TYPE_CHECKING:
    from faultkit.crash import Bound, Exploration
    from faultkit.recording import CommandRecorded, Recording
    from faultkit.scenarios.scenario import Scenario

__all__ = ["Job", "complete_checkpoints", "explore", "record_job", "scenario_of"]

DIRECTORY = "out"
TEMPORARY = (
    "tmp"  # beside it: what a command renames into place lies on the same file system, as it should in life
)
OUTPUT_CHARACTERS = 1500
# again while something that still runs writes there
REMOVE = """
import os, shutil, sys, time
sys.stdin.read()
while os.path.lexists(sys.argv[1]):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    time.sleep(0.2)
"""


class Job(msgspec.Struct, frozen=True):
    """A command and how to tell what came of it.

    Args:
        train: the words of the command that is run once; it holds ``{out}`` where it takes its directory, and
            ``python`` is the interpreter that this process has.
        resume: the command that is run from every state; () for the same.
        ranks: how many processes run it at once, with the environment of torchrun.
        results: files in ``{out}`` whose content must be the same in the end.
        values: a pattern: what its groups find in the output of each rank must be the same; on some rank it must
            find something.
        step: a pattern whose group is the step that was resumed from.
        checkpoints: a glob whose names end with their step: the newest complete one must be used, by every rank that
            says so by `step`.
        in_process: whether Python commands run in forks of a process that has torch imported; else each is a program
            of its own.

    Raises:
        ValueError: the job cannot be.
    """

    train: tuple[str, ...]
    resume: tuple[str, ...] = ()
    ranks: int = 1
    results: tuple[str, ...] = ()
    values: str = ""
    step: str = ""
    checkpoints: str = ""
    in_process: bool = True

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("a job needs a command (got none)")
        for what, command in (("the command", self.train), ("the command that resumes", self.resume)):
            if command and not any("{out}" in part or "{dir}" in part for part in command):
                raise ValueError(
                    f"{what} must hold {{out}} where it takes its directory (got {shlex.join(command)!r})"
                )
        for result in self.results:
            first, *names = result.split("/")
            if first not in ("{out}", "{dir}") or ".." in names or not any(names):
                inside = os.path.basename(result.replace("{out}", "").replace("{dir}", "")).lstrip(".")
                raise ValueError(
                    f"a result must lie in {{out}} (got {result!r}); "
                    f"did you mean {'{out}/' + (inside or 'final.pt')!r}?"
                )
        if isinstance(self.ranks, bool) or not 1 <= self.ranks <= 64:
            raise ValueError(f"ranks must be a number from 1 to 64 (got {self.ranks!r})")
        for name, pattern, groups in (("values", self.values, 0), ("step", self.step, 1)):
            try:
                if pattern and re.compile(pattern).groups < groups:
                    raise ValueError(f"{name} needs a group for the number (got {pattern!r})")
            except re.error as error:
                raise ValueError(f"{name} must be a regular expression (got {pattern!r}: {error})") from None
        if self.checkpoints and not self.step:
            raise ValueError(
                "checkpoints needs step: whether the newest one was used is told by the step resumed from"
            )
        if self.step and not self.checkpoints:
            raise ValueError(
                "step needs checkpoints: whether the step resumed from is right is told by the newest one"
            )

    def __str__(self) -> str:
        return shlex.join(self.train)

    @property
    def words(self) -> tuple[str, ...]:
        """All that is text in it."""
        patterns = (self.values, self.step, self.checkpoints)
        return (*self.train, *self.resume, *self.results, *patterns)


def record_job(job: Job, *, timeout_seconds: float = 600.0) -> tuple[Recording, Resumption]:
    """Run the job once, recorded; what it did, and how to resume it.

    Raises ScenarioError where the command does not succeed by itself, RecordingError where nothing was recorded.
    """
    recorded, resumption = _recorded(job, timeout_seconds)
    return recorded.recording, resumption


def _recorded(job: Job, timeout_seconds: float) -> tuple[CommandRecorded, Resumption]:
    from faultkit import recording
    from faultkit.exceptions import ScenarioError

    with _own_directory() as root:
        directory = root / DIRECTORY
        argv = with_directory(job.train, directory)
        if argv[0] in ("python", "python3"):
            argv[0] = sys.executable
        if job.ranks > 1:
            argv = [sys.executable, "-m", "faultkit.crash.scripts.launch", str(job.ranks), *argv]
        recorded = recording.record_command(argv, root=root, timeout=timeout_seconds, temporary=TEMPORARY)
        if recorded.returncode != 0:
            ended = f"ended with status {recorded.returncode}"
            if recorded.returncode is None:
                ended = f"did not end within {timeout_seconds:g} s"
            raise ScenarioError(
                f"the command {str(job)!r} {ended} before anything was crashed",
                recorded.output[-OUTPUT_CHARACTERS:],
            )
        complete: tuple[tuple[str, int, dict[str, bytes]], ...] = ()
        if job.checkpoints:
            complete = complete_checkpoints(job, directory)
        finished = digest_of(directory)
    return recorded, resumption_of(job, complete, finished)


def resumption_of(
    job: Job, complete: tuple[tuple[str, int, dict[str, bytes]], ...], finished: str
) -> Resumption:
    """How the command of `job` is resumed; `complete` and `finished` are those of `Resumption`."""
    return Resumption(
        argv=tuple(job.resume or job.train),
        ranks=job.ranks,
        results=job.results,
        values=job.values,
        step=job.step,
        checkpoints=job.checkpoints,
        complete=complete,
        finished=finished,
        in_process=job.in_process,
        temporary=TEMPORARY,
    )


@contextlib.contextmanager
def _own_directory() -> Iterator[Path]:
    """A directory for the length of a block; another process removes it should this one be killed."""
    from faultkit.processes.directories import in_memory

    # the remover is there before the directory is
    directory = os.path.join(in_memory() or tempfile.gettempdir(), f"faultkit-{secrets.token_hex(8)}")
    remover = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", REMOVE, directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        os.mkdir(directory, 0o700)
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        remover.communicate()


def complete_checkpoints(job: Job, directory: Path) -> tuple[tuple[str, int, dict[str, bytes]], ...]:
    """The checkpoints of the job in its finished `directory`: of each its name, its step and its files.

    Raises ScenarioError where none is found.
    """
    from faultkit.exceptions import ScenarioError

    found = []
    for name, content in contents_of(job.checkpoints, directory).items():
        step = step_of(name)
        if step is not None:
            found.append((name, step, content))
    if not found:
        raise ScenarioError(
            f"no checkpoint with a number in its name matches {job.checkpoints!r} after the run without a crash"
        )
    return tuple(found)


def scenario_of(job: Job, resumption: Resumption) -> Scenario:
    """The job as a scenario whose save has been recorded: `faultkit.crash` can judge its states."""
    from faultkit.crash import Scenario

    return Scenario(
        name=str(job),
        summary=f"the command {job}",
        save=_never,
        load=resumption,
        prunable=False,  # it reads and writes in processes of its own
        directory=DIRECTORY,
        refuse=resumption.refusal,
        preload=(
            "faultkit.crash.scripts.run_command",
            "faultkit.crash.scripts.resume",
            *_imported_late(resumption.argv),
        ),
    )


def _imported_late(argv: Sequence[str]) -> tuple[str, ...]:
    """What a training imports in the middle of its work, seconds long: better once than in every resumption."""
    from faultkit.crash.scripts.run_command import python_work

    work = python_work(argv)
    if work is None:
        return ()
    form, what, _ = work
    try:
        text = Path(what).read_bytes() if form == "path" else what.encode()
    except OSError:
        return ()
    return (
        ("torch._dynamo",) if b"optim" in text or form == "module" else ()
    )  # the first step of an optimizer


def explore(
    job: Job,
    models: Sequence[str] = MODELS,
    *,
    bound: Bound | None = None,
    seed: int = 0,
    budget_seconds: float = 60.0,
    workers: int = 2,
    pruning: bool = True,
    timeout_seconds: float = 60.0,
    memory_bytes: int = 1 << 32,
    on_progress: Callable[[str, int, int], object] | None = None,
    on_interrupt: Callable[[Exploration], object] | None = None,
) -> Exploration:
    """Record `job` and explore its crashes, see `faultkit.crash.explore`.

    Args:
        job: the command, and how to tell what came of it.
        models: names of `MODELS`.
        bound: how many losses at a time, and how many states.
        seed: the order in which larger losses come, and which states are audited.
        budget_seconds: for all models together, after the recording.
        workers: resumptions side by side.
        pruning: without it each distinct state is resumed; with it, those of a single rank that imports nothing but
            the standard library are spared where an earlier resumption met the same.
        timeout_seconds: of each resumption, and ten times that for the recorded run.
        memory_bytes: of each resumption.
        on_progress: called now and then with the model, how many states were explored and how many judged.
        on_interrupt: called with what was found until a KeyboardInterrupt, which then goes on.

    Returns:
        The counts of each model and every violation.

    Raises:
        ScenarioError: the job does not go through without a crash, or the pattern of its step finds nothing.
        RecordingError: it wrote nothing.
    """
    from faultkit import crash
    from faultkit.crash.options import require
    from faultkit.processes import client

    if not isinstance(job, Job):
        raise TypeError(f"explore: job must be a faultkit.crash.scripts.Job (got {shown(job)})")
    options: dict[str, Any] = {
        "bound": bound,
        "seed": seed,
        "budget_seconds": budget_seconds,
        "workers": workers,
        "timeout_seconds": timeout_seconds,
        "memory_bytes": memory_bytes,
        "on_progress": on_progress,
        "on_interrupt": on_interrupt,
    }
    require(models=models, pruning=pruning, **options)
    options["bound"] = bound or crash.Bound(lost=1, pieces=2)
    needs_torch = _mentions_torch(job.resume or job.train)
    if needs_torch:
        client.warm_up()  # it imports torch while the job is recorded
    with contextlib.ExitStack() as stack:
        if not needs_torch:
            from faultkit.crash.scripts.judge import ScriptJudge
            from faultkit.crash.scripts.pool import Workers

            pool = stack.enter_context(Workers(workers))  # they come up while the job is recorded
        recorded, resumption = _recorded(job, 10 * timeout_seconds)
        recording = recorded.recording
        if job.step:
            require_step_told(recording, recorded.output, resumption, DIRECTORY, timeout_seconds)
        scenario = scenario_of(job, resumption)
        if job.checkpoints:
            found = acknowledged_by(recording, job.checkpoints, DIRECTORY)
            options["acknowledged"] = [(one.step, one.made, one.by) for one in found]
        if not needs_torch:
            options["judging"] = ScriptJudge(
                scenario, workers=pool, pruning=pruning, timeout_seconds=timeout_seconds
            )
        return crash.explore(
            scenario, tuple(models), world=job.ranks, recording=recording, pruning=False, **options
        )


def _mentions_torch(argv: Sequence[str]) -> bool:
    """Whether the command may import torch, for all that its text says: only time hangs on it."""
    from faultkit.crash.scripts.run_command import python_work

    if python_work(argv) is None:
        return False  # a program of its own: what is imported here is of no use to it
    names = imports_of(argv)
    return names is None or not names <= sys.stdlib_module_names


def _never(directory: Path) -> None:
    raise AssertionError("a command is recorded by record_job")
