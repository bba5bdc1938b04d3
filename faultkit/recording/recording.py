"""`record`: run a function on the ranks of a world, and have every file operation of all of them in one order.

Guarantees: the ranks record only while the function runs, each to a spool of its own outside of the recorded
directory, so that the operations of a killed rank are there up to its death.  Afterwards the operations are held to
the disk: applied to the tree before, they must give the tree after, else something wrote where the recorder does
not see it, and the recording is refused.  A recording without any file operation is refused, too.  Not covered:
what a thread does after the function has returned on its rank.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from faultkit.exceptions import RecordingError, UnseenWriter
from faultkit.interception.opening import buffer_size_of
from faultkit.recording import scratch
from faultkit.recording.merging import merge, with_lines, with_ranks
from faultkit.recording.operations import Recording
from faultkit.recording.spool import read_frames
from faultkit.recording.tree import Tree, put_back, read_tree
from faultkit.recording.verifying import verified

if TYPE_CHECKING:
    from faultkit.plan import FaultPlan
    from faultkit.runs.run import Run
    from faultkit.worlds import World

__all__ = ["BACKENDS", "Recorded", "record"]

BACKENDS = ("python", "preload")
NEEDS_COMPILER = "'preload' would see it, and needs a C compiler: install one, or name it in CC"
SHARED_MEMORY = "/dev/shm"
SHARED_MEMORY_BYTES_MIN = 1 << 30
TRIAL_BYTES, TRIAL_COUNT = 4 << 20, 3


class Recorded(msgspec.Struct, frozen=True):
    """What `record` gives: the run, as `World.run` gives it, and the recording of its file operations."""

    run: Any
    recording: Recording


class Settings(msgspec.Struct, frozen=True):
    """What each rank is told: where its spool goes and what to record."""

    spools: str
    roots: tuple[str, ...]
    block_size: int | None
    library: str = ""  # the preloaded one, where that records
    scratches: tuple[str, ...] = ()  # of each rank, where large data goes
    scratch_bytes_max: int = 0


def record(
    world: World,
    fn: Callable[..., Any],
    *args: Any,
    root: str | os.PathLike[str],
    backend: str | None = None,
    block_size: int | None = None,
    plan: FaultPlan | str | None = None,
    timeout: float | None = None,
    verify: bool = True,
    **kwargs: Any,
) -> Recorded:
    """Run ``fn(*args, **kwargs)`` on every rank of `world` and record what it does to files under `root`.

    Args:
        world: the ranks that run it.
        fn: the function, as `World.run` takes it.
        *args: its arguments.
        root: a directory; it is made where it is missing.
        backend: ``"python"``, ``"preload"``, or None: python, and where a writer that Python does not see was at work
            and a C compiler is there, the files are put back as they were and `fn` is run once more under preload.
        block_size: in bytes, forces the buffer of every file that is opened under `root`; None for what `open`
            chooses.
        plan: that of `World.run`; faults of layer ``fs`` act above the recorder, so the recording has what the files
            really got.
        timeout: that of `World.run`, in seconds.
        verify: whether the operations are held to the disk at the end.
        **kwargs: further arguments of `fn`.

    Returns:
        The run, and the recording of it.

    Raises:
        RecordingError: no file operation was recorded under `root`, or the operations do not explain the files that
            are there.
        ValueError: the backend is not known; and what `World.run` raises.
    """
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"record: backend must be one of {', '.join(BACKENDS)} (got {backend!r})")
    if world.is_simulated:
        raise ValueError(
            "record: a simulated world has one process for all ranks; use kind 'warm' or 'fresh'"
        )
    block_size = require_block_size(block_size)
    roots = names_of_root(root)
    before = read_tree(roots[0])

    def recorded(by: str) -> Recorded:
        return _recorded(world, fn, args, kwargs, roots, before, by, block_size, plan, timeout, verify)

    if backend is not None:
        return recorded(backend)
    from faultkit.interception import shim

    try:
        return recorded("python")
    except UnseenWriter as error:
        after = read_tree(roots[0])
        if (after.entries, after.links) == (before.entries, before.links):
            raise  # nobody was at work
        if shim.compiler() is None:
            raise UnseenWriter(f"{error}; {NEEDS_COMPILER}") from None
    put_back(roots[0], before)
    return recorded("preload")


def _recorded(
    world: World,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    roots: tuple[str, ...],
    before: Tree,
    backend: str,
    block_size: int | None,
    plan: FaultPlan | str | None,
    timeout: float | None,
    verify: bool,
) -> Recorded:
    library = ""
    if backend == "preload":
        from faultkit.interception import shim

        library = shim.library()
    with preloaded(world, library) as able:
        able.prepare()  # which settles on a fork server that then stays, and with it the directory of spools
        with Spools(roots, world.size) as spools:
            settings = spools.settings(block_size, library)
            run = able.run(_on_rank, settings, fn, args, kwargs, plan=plan, timeout=timeout)
            recording = spools.recording(roots, before, block_size, backend, world.size)
            if not _unfinished(run):
                spools.keep_scratches()
    require_operations(recording, describe_run(run))
    return Recorded(run, verified(recording, died=_unfinished(run)) if verify else recording)


@contextlib.contextmanager
def preloaded(world: World, library: str) -> Iterator[World]:
    """`world`, or one like it whose ranks are started with `library` in them."""
    if not library:
        yield world
        return
    before = os.environ.get("LD_PRELOAD")
    os.environ["LD_PRELOAD"] = " ".join(filter(None, (library, before)))
    try:
        with world.replace() as able:
            yield able
    finally:
        if before is None:
            del os.environ["LD_PRELOAD"]
        else:
            os.environ["LD_PRELOAD"] = before


def _on_rank(
    settings: Settings, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    from faultkit.recording import in_command

    rank = int(os.environ["RANK"])
    recorder = in_command.start_on_rank(
        settings.spools,
        settings.roots,
        rank,
        settings.block_size,
        settings.library,
        settings.scratches[rank] if settings.scratches else "",
        settings.scratch_bytes_max,
    )
    try:
        result = fn(*args, **kwargs)
        recorder.event("returned")
        return result
    finally:
        recorder.stop()


class Spools:
    """A directory of spools for the length of a block, where writing costs least, and a scratch file for each rank.

    The fork server removes it should this process be killed; without ranks the guardian makes and removes it.
    """

    def __init__(self, roots: tuple[str, ...], rank_count: int = 0) -> None:
        self.directory = ""
        self._roots = roots
        self._rank_count = rank_count
        self._scratches: list[int] = []
        self._owned: Any = None

    def __enter__(self) -> Spools:
        place = _place(self._roots)
        if self._rank_count:
            from faultkit.processes.directories import (
                OwnedDirectory,  # not at the top: every rank imports this module
            )

            self._owned = OwnedDirectory("faultkit-recording-", place)
            self.directory = str(self._owned.path)
        else:
            self.directory = os.path.join(place, f"faultkit-recording-{secrets.token_hex(8)}")
        self._scratches = scratch.borrow(self._rank_count)
        return self

    def __exit__(self, *_: object) -> None:
        import shutil

        while self._scratches:
            os.close(self._scratches.pop())
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._owned is not None:
            self._owned.close()

    def settings(self, block_size: int | None, library: str = "") -> Settings:
        """What the ranks are told."""
        paths = tuple(map(scratch.path_of, self._scratches))
        each = scratch.BYTES_MAX // max(len(paths), 1)
        return Settings(self.directory, self._roots, block_size, library, paths, each)

    def keep_scratches(self) -> None:
        """Nobody writes to the scratch files any more: the next recording takes them."""
        scratch.give_back(self._scratches)
        self._scratches = []

    def recording(
        self,
        roots: tuple[str, ...],
        before: Tree,
        block_size: int | None,
        backend: str,
        world_size: int | None,
    ) -> Recording:
        """What lies in the spools, as one recording; without a `world_size` it is told by the spools."""
        spools = []
        for name in sorted(os.listdir(self.directory)):
            path = os.path.join(self.directory, name)
            if name.endswith(".failed"):
                raise RecordingError(
                    f"record: operations could not be kept ({name.split('.')[-2]}, in {self.directory}): a copy of "
                    "all that the run writes needs room there, and files as large as that; set TMPDIR to a larger "
                    "place, or record without a limit on the size of files"
                )
            spools.append(list(read_frames(path, self._scratch_of(name))))
        processes = with_ranks(with_lines(spools))
        operations, notes = merge(processes, roots, before)
        size = world_size or max((rank for rank, _ in processes), default=0) + 1
        chosen = block_size or buffer_size_of(os.stat(roots[0]).st_blksize)
        return Recording(roots[0], size, chosen, backend, before.entries, operations, before.links, notes)

    def _scratch_of(self, spool_name: str) -> int:
        rank = spool_name.removeprefix("rank-")
        return self._scratches[int(rank)] if self._scratches and rank.isdigit() else -1


def _place(roots: tuple[str, ...]) -> str:
    """A directory for spools outside of the recorded one.  Raises RecordingError where there is none."""
    for place in _places():
        if not any(f"{os.path.realpath(place)}/".startswith(f"{root.rstrip('/')}/") for root in roots):
            return place
    raise RecordingError(
        f"record: {roots[0]} holds the temporary directory, where operations are kept while they are recorded; "
        "record a directory beneath it, or set TMPDIR"
    )


@functools.cache
def _places() -> tuple[str, ...]:
    """The usual place and, with room for a copy of all that is written, shared memory; where writes cost least first.

    It is tried, since it depends on the machine: a file system that keeps large pages beats shared memory.
    """
    import tempfile
    import time

    places = [tempfile.gettempdir()]
    try:
        state = os.statvfs(SHARED_MEMORY)
        if os.access(SHARED_MEMORY, os.W_OK) and state.f_bavail * state.f_frsize >= SHARED_MEMORY_BYTES_MIN:
            places.append(SHARED_MEMORY)
    except OSError:
        pass
    seconds = dict.fromkeys(places, float("inf"))
    data = bytes(TRIAL_BYTES)
    for _ in range(TRIAL_COUNT if len(places) > 1 else 0):
        for place in places:
            with tempfile.TemporaryFile(dir=place, buffering=0) as file:
                began = time.perf_counter()
                file.write(data)
                seconds[place] = min(seconds[place], time.perf_counter() - began)
    return tuple(sorted(places, key=seconds.__getitem__))


def names_of_root(root: str | os.PathLike[str]) -> tuple[str, ...]:
    """The real name of the recorded directory first, then the one given; the directory is made."""
    given = os.path.abspath(os.fspath(root))
    os.makedirs(given, exist_ok=True)
    real = os.path.realpath(given)
    return (real,) if real == given else (real, given)


def require_block_size(block_size: int | None) -> int | None:
    """`block_size` itself.  Raises ValueError where it is no number of bytes."""
    if block_size is not None and (
        isinstance(block_size, bool) or not isinstance(block_size, int) or block_size < 1
    ):
        raise ValueError(f"record: block_size must be a number of bytes from 1 (got {block_size!r})")
    return block_size


def require_operations(recording: Recording, what_ran: str, *, failed: bool = False) -> None:
    """Raise RecordingError where nothing was done to any file; that what ran had `failed` is said first."""
    if not any(operation.path or operation.kind == "fsync_directory" for operation in recording.operations):
        seen = ", ".join(sorted({operation.kind for operation in recording.operations})) or "nothing"
        first, then = (f"{what_ran}: ", "") if failed else ("", f"; {what_ran}")
        raise UnseenWriter(
            f"record: {first}no file operation under {recording.root} was seen by the {recording.backend} backend "
            f"(looked for open, write, rename and all other changes; seen: {seen}{then}); "
            + (
                "a writer in C++ or Rust needs backend='preload', and root must be the directory that is written to"
                if recording.backend == "python"
                else "root must be the directory that is written to"
            )
            + (f"; noted: {'; '.join(recording.notes)}" if recording.notes else "")
        )


def describe_run(run: Run) -> str:
    """What became of the ranks, for the message of an error."""
    from faultkit.runs.outcomes import Raised

    parts = []
    for rank, outcome in sorted(run.outcomes.items()):
        error = f" {outcome.type_name}: {outcome.message}" if isinstance(outcome, Raised) else ""
        parts.append(f"rank {rank} {outcome.kind}{error}")
    return "; ".join(parts)


def _unfinished(run: Run) -> tuple[int, ...]:
    return tuple(rank for rank, outcome in sorted(run.outcomes.items()) if outcome.kind in ("died", "hung"))
