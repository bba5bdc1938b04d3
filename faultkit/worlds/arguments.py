"""What may be asked of a world: each argument checked before anything starts, with subject, rule and what was seen.

Not covered: plans (`faultkit.plan`), and functions that have to travel (`faultkit.processes.serialization`).
"""

from __future__ import annotations

import difflib
import inspect
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from faultkit.exceptions import ArgumentError
from faultkit.messages import WORD_LENGTH_MAX, shown
from faultkit.plan import FaultPlan
from faultkit.runs.launcher import LAUNCHERS
from faultkit.worlds.kinds import KINDS
from faultkit.worlds.kinds.world_kind import SIZE_MAX
from faultkit.worlds.simulated.messages import Schedule

__all__ = [
    "ATTEMPT_COUNT_MAX",
    "SEED_MAX",
    "TIMEOUT_SECONDS_MAX",
    "require_attempts",
    "require_backend",
    "require_flag",
    "require_function",
    "require_gpus",
    "require_kind",
    "require_launcher",
    "require_place",
    "require_plan",
    "require_preload",
    "require_read_ranks",
    "require_readers",
    "require_schedule",
    "require_seconds",
    "require_seed",
    "require_size",
]

ATTEMPT_COUNT_MAX = 1000
TIMEOUT_SECONDS_MAX = 24 * 3600.0
GPUS_MAX = 1024
BACKEND = re.compile(
    r"[A-Za-z][\w:,.-]{0,79}|"
)  # "gloo", "cpu:gloo,cuda:nccl", a name that somebody registers
BUILT_IN_BACKENDS = ("gloo", "nccl", "xccl", "ucc", "mpi", "fake", "undefined")
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
SEED_MAX = 2**64 - 1  # of torch's generators


def require_size(size: Any, kind: Any) -> int:
    """`size` itself.  Raises ValueError for no number of ranks of such a world."""
    largest = KINDS[kind].size_max if isinstance(kind, str) and kind in KINDS else SIZE_MAX
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= largest:
        what = "processes" if largest == SIZE_MAX else "simulated ranks"
        raise ArgumentError(
            "World", f"size must be a number of ranks from 1 to {largest} for {what} (got {shown(size)})"
        )
    return size


def require_read_ranks(ranks: Any) -> int:
    """`ranks` itself.  Raises ValueError for no number of ranks that could load."""
    if isinstance(ranks, bool) or not isinstance(ranks, int) or not 1 <= ranks <= SIZE_MAX:
        raise ArgumentError(
            "World.run", f"read_ranks must be a number of ranks from 1 to {SIZE_MAX} (got {shown(ranks)})"
        )
    return ranks


def require_kind(kind: Any) -> str:
    """`kind` itself.  Raises ValueError, with the nearest one."""
    return _one_of("kind", kind, tuple(KINDS))


def require_launcher(launcher: Any) -> str:
    """`launcher` itself.  Raises ValueError, with the nearest one."""
    return _one_of("launcher", launcher, LAUNCHERS)


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(str(value)[:WORD_LENGTH_MAX], choices, n=1, cutoff=0.0)[0]
        raise ArgumentError(
            "World", f"{name} must be one of {', '.join(choices)} (got {shown(value)}); nearest is {near!r}"
        )
    return value


def require_seconds(name: str, value: Any) -> float:
    """`value` as a number of seconds.  Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= TIMEOUT_SECONDS_MAX:
        raise ArgumentError(
            "World",
            f"{name} must be a number of seconds above 0 and at most {TIMEOUT_SECONDS_MAX:g} "
            f"(got {shown(value)})",
        )
    return float(value)


def require_seed(seed: Any) -> int:
    """`seed` itself.  Raises ValueError for what does not seed every generator of a rank."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= SEED_MAX:
        raise ArgumentError("World", f"seed must be a whole number from 0 to {SEED_MAX} (got {shown(seed)})")
    return seed


def require_backend(backend: Any, preload: Any = ()) -> str:
    """`backend` itself.  Raises ValueError for what names no backend of a process group.

    A name that torch does not come with must be registered in the calling process; it may be one that a module of
    `preload` registers.
    """
    if not isinstance(backend, str) or not BACKEND.fullmatch(backend):
        raise ArgumentError(
            "World",
            "backend must be the name of a backend of torch.distributed, or '' for no process group "
            f"(got {shown(backend)}); nearest is 'gloo'",
        )
    known = _backends()
    for part in backend.lower().split(",") if backend and not preload else ():
        name = part.rpartition(":")[2]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ArgumentError(
                "World",
                f"backend must be one of {', '.join(known)}, or one that a module of preload registers "
                f"(got {shown(backend)}); nearest is {near!r}",
            )
    return backend


def _backends() -> tuple[str, ...]:
    """Those of torch, and those that the calling process has registered; torch is not imported for it."""
    distributed = sys.modules.get("torch.distributed")
    registered = getattr(getattr(distributed, "Backend", None), "backend_list", ())
    return tuple(dict.fromkeys([*BUILT_IN_BACKENDS, *registered]))


def require_preload(preload: Any) -> tuple[str, ...]:
    """The names of modules as a tuple.  Raises ValueError, also for one name that is no tuple of letters."""
    several = isinstance(preload, Iterable) and not isinstance(preload, str | bytes)
    names = tuple(preload) if several else (None,)
    for name in names:
        if not isinstance(name, str) or not MODULE.fullmatch(name):
            is_name = (
                isinstance(preload, str) and len(preload) < WORD_LENGTH_MAX and MODULE.fullmatch(preload)
            )
            near = f"; nearest is ({preload!r},)" if is_name else ""
            raise ArgumentError(
                "World",
                "preload must be a tuple of names of modules, such as ('numpy',) "
                f"(got {shown(preload)}){near}",
            )
    return names


def require_gpus(gpus_per_rank: Any) -> int:
    """`gpus_per_rank` itself.  Raises ValueError for no number of GPUs."""
    is_number = isinstance(gpus_per_rank, int) and not isinstance(gpus_per_rank, bool)
    if not is_number or not 0 <= gpus_per_rank <= GPUS_MAX:
        raise ArgumentError(
            "World",
            f"gpus_per_rank must be a number of GPUs from 0 to {GPUS_MAX} (got {shown(gpus_per_rank)})",
        )
    return int(gpus_per_rank)


def require_plan(plan: Any) -> FaultPlan:
    """The plan, from its text, too, or from None.  Raises PlanError, and TypeError for what is none."""
    if plan is None:
        return FaultPlan()
    if isinstance(plan, str):
        return FaultPlan.parse(plan)
    if not isinstance(plan, FaultPlan):
        raise TypeError(f"World.run: plan must be a FaultPlan or its text (got {shown(plan)})")
    return plan


def require_flag(name: str, value: Any) -> bool:
    """`value` itself.  Raises ValueError for what is neither True nor False."""
    if not isinstance(value, bool):
        where = "World" if name == "ranks_differ" else "World.run"
        raise ValueError(f"{where}: {name} must be True or False (got {shown(value)})")
    return value


def require_function(name: str, function: Any) -> None:
    """Raises TypeError for what would not run when it is called.  That it can be called at all, and can travel,
    is asked where it is sent (`faultkit.processes.serialization`)."""
    for is_other, kind, instead in (
        (inspect.iscoroutinefunction, "a coroutine", "give a function that calls asyncio.run"),
        (inspect.isgeneratorfunction, "a generator", "give a function that goes through it"),
        (inspect.isasyncgenfunction, "an asynchronous generator", "give a function that goes through it"),
    ):
        if is_other(function):
            raise TypeError(
                f"World.run: {name} must do its work when it is called (got {shown(function)}, which only "
                f"returns {kind}); {instead}"
            )


def require_readers(read_with: Any) -> tuple[Any, tuple[tuple[str, Any], ...]]:
    """The function that reads, and the others by name.  Raises ValueError for another that is none."""
    if not isinstance(read_with, Mapping):
        return read_with, ()
    if not read_with:
        raise ValueError("World.run: read_with must have at least one function (got an empty mapping)")
    (_, first), *others = read_with.items()
    for name, function in others:
        if not isinstance(name, str) or not callable(function):
            raise ValueError(
                f"World.run: read_with must be functions of a directory by name (got {shown(function)} "
                f"for {shown(name)})"
            )
        require_function("read_with", function)
    return first, tuple(others)


def require_place(checkpoint_at: Any, read_with: Any) -> pathlib.Path | None:
    """The directory as an absolute path, None where there is none.  Raises ValueError, also for a way to read that
    nobody would go."""
    if read_with is not None and not callable(read_with):
        raise ValueError(
            f"World.run: read_with must be a function of a directory, or None (got {shown(read_with)})"
        )
    if read_with is not None:
        require_function("read_with", read_with)
    if checkpoint_at is None:
        return None
    why = ""
    try:
        if isinstance(checkpoint_at, bytes) or not isinstance(os.fspath(checkpoint_at), str):
            why = "which is no text"
        elif not os.fspath(checkpoint_at):
            why = "which names none"
        else:
            os.stat(checkpoint_at)
    except (FileNotFoundError, PermissionError):
        pass
    except TypeError:
        why = "which is no path"
    except (OSError, ValueError) as error:
        why = str(getattr(error, "strerror", None) or error)
    if why:
        raise ValueError(f"World.run: checkpoint_at must be a directory (got {shown(checkpoint_at)}, {why})")
    place = pathlib.Path(checkpoint_at).absolute()
    if place.exists() and not place.is_dir():
        raise ValueError(
            f"World.run: checkpoint_at must be a directory (got {shown(checkpoint_at)}, which is a file); nearest is "
            f"{shown(str(place.parent))}"
        )
    return place


def require_attempts(attempts_after: Any, then: Any) -> None:
    """Raises ValueError for no number of attempts, and for a function that none of them would run."""
    is_number = isinstance(attempts_after, int) and not isinstance(attempts_after, bool)
    if not is_number or not 0 <= attempts_after <= ATTEMPT_COUNT_MAX:
        raise ValueError(
            f"World.run: attempts_after must be a number from 0 to {ATTEMPT_COUNT_MAX} "
            f"(got {shown(attempts_after)})"
        )
    if then is not None and not callable(then):
        raise ValueError(f"World.run: then must be a function, or None (got {shown(then)})")
    if then is not None:
        require_function("then", then)
    if then is not None and not attempts_after:
        raise ValueError("World.run: then is what the attempts after run, and attempts_after is 0")


def require_schedule(schedule: Any) -> Schedule | None:
    """The schedule, from a tuple of numbers of threads, too.  Raises ValueError."""
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    numbers = schedule if isinstance(schedule, tuple) else ("",)
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in numbers):
        raise ValueError(
            "World.run: schedule must be a tuple of numbers of threads, such as Run.schedule of an earlier run "
            f"(got {shown(schedule)})"
        )
    return Schedule(numbers)
