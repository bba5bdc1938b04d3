"""The stock engine with `DefaultSavePlanner(enable_plan_caching=True)`, which does not plan again what has not changed.

The planner keeps plans and metadata in its class, for the life of the process.  Where they are
empty a save is preceded by others, to ``earlier-1`` and so on, so that every step meets the caches.

    earlier              how many saves the job has behind it
    changing             no; all: of three names each step has one, on every rank; one_rank: on the last rank alone
    failed_validation    before each step one that every rank must refuse, since rank 0 has a tensor of another shape
                         than the others; the job goes on
    planners             2: model and the rest are saved by two planners of one class, to two directories
    export               each save is followed by one in the format of Hugging Face, by a planner of the same class,
                         which is what is loaded

It is complete, counted and pruned as `dcp`.  torch is imported on the ranks.

Known weak points (torch 2.13): caches are kept by the name of the planner's class, so that a plan which was made for
one writer is given to the next; a plan that was refused stays in the cache of the coordinator, and is merged into the
next one where another rank has something new.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp
from faultkit.checkpointers.parts import step_directories, stock_files, stock_readers
from faultkit.checkpointers.parts.choices import refusal
from faultkit.checkpointers.parts.joint_steps import on_rank_0
from faultkit.messages import seen

__all__ = ["DCP_CACHED", "check", "load", "save", "state"]

CHANGING = ("no", "all", "one_rank")
EARLIER_MAX = 8
NAMES = tuple(f"only in some steps {number}" for number in range(3))
FIRST_PART, EXPORT = "model", "export"
OF_TENSORS = ("tensors", "sharded", "shared")  # kinds that the format of Hugging Face takes
PLANNERS_MAX = 2


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    /,
    earlier: int = 1,
    changing: str = "no",
    failed_validation: bool = False,
    planners: int = 1,
    export: bool = False,
    **options: Any,
) -> None:
    """Save `state` as `step`.  Raises what the engine raises."""
    from torch.distributed.checkpoint.planner import SavePlanner

    again = {**options, "overwrite": True}  # a job that resumes saves these once more
    if on_rank_0("begin", lambda: not SavePlanner._cached_save_plan):  # the same for all, also after an error
        for number in range(1, earlier + 1):
            older = _state(step - number, changing, options["state"])
            _save(older, directory / f"earlier-{number}", planners, **again)
    if failed_validation and earlier:
        _be_refused(state, directory / "refused", planners, **again)
    place = step_directories.place(directory, step)
    _save(state, place, planners, **options)
    if export:
        _export(state, place / EXPORT)


def load(
    state: dict[str, Any],
    directory: Path,
    /,
    changing: str = "no",
    planners: int = 1,
    export: bool = False,
    **options: Any,
) -> int | None:
    """Load the newest complete step, whose names `state` then has.  Raises what the engine raises."""
    import torch.distributed.checkpoint as engine

    step = step_directories.newest(directory, _complete(planners))
    if step is None:
        return None
    _take_names_of(state, step, changing)
    path = step_directories.place(directory, step)
    if export:
        engine.load(state, storage_reader=engine.HuggingFaceStorageReader(str(path / EXPORT)))
        return step
    for part, place in _parts(state, path, planners):
        engine.load(part, checkpoint_id=place, storage_reader=stock_files.reader(place, **options))
        state.update(part)
    return step


def steps(directory: Path, planners: int = 1) -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, _complete(planners))


def prune(directory: Path, keep: int, planners: int = 1) -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, _complete(planners))


def state(
    step: int, rank: int, world_size: int, state: str = "default", changing: str = "no"
) -> dict[str, Any]:
    """The state of that kind, and with `changing` the name that this step has more."""
    made = state_kinds.state(step, rank, world_size, state)
    if changing == "all" or (changing == "one_rank" and rank == world_size - 1):
        made[NAMES[step % len(NAMES)]] = state_kinds.values((4, 2), "float32", step)
    return made


def check(
    world_size: int,
    earlier: int = 1,
    changing: str = "no",
    failed_validation: bool = False,
    planners: int = 1,
    export: bool = False,
    state: str = "default",
    **options: Any,
) -> str:
    """What is wrong with the options, on a world of so many ranks."""
    wrong = (
        refusal("changing", changing, CHANGING)
        or state_kinds.check(world_size, state)
        or stock_files.check(**options)
    )
    if wrong:
        return wrong
    if not 0 <= earlier <= EARLIER_MAX:
        return f"earlier must be a number from 0 to {EARLIER_MAX} (got {seen(earlier)})"
    if not 1 <= planners <= PLANNERS_MAX:
        return f"planners must be 1 or {PLANNERS_MAX} (got {seen(planners)})"
    if failed_validation and world_size == 1:
        return "failed_validation=true needs two ranks that can differ (got a world of 1)"
    if export and not stock_files.is_installed("safetensors"):
        return "export=true needs the package 'safetensors'; pip install safetensors"
    if export and state not in OF_TENSORS:
        return f"export=true needs a state of tensors, such as state=sharded (got state={state})"
    return ""


def _save(state: dict[str, Any], path: Path, planners: int, /, dedup: str = "default", **files: Any) -> None:
    import torch.distributed.checkpoint as engine

    for part, place in _parts(state, path, planners):
        engine.save(
            part,
            checkpoint_id=place,
            storage_writer=stock_files.writer(place, **files),
            planner=dcp.save_planner(dedup, enable_plan_caching=True),
        )


def _export(state: dict[str, Any], path: Path) -> None:
    import torch.distributed.checkpoint as engine

    engine.save(
        state,
        storage_writer=engine.HuggingFaceStorageWriter(str(path), save_distributed=True),
        planner=dcp.save_planner(enable_plan_caching=True),
    )


def _parts(state: dict[str, Any], path: Path, planners: int) -> list[tuple[dict[str, Any], Path]]:
    """What each planner saves, and where."""
    if planners == 1:
        return [(state, path)]
    always = sorted({*state} - {*NAMES})  # on every rank
    first = always[: len(always) // 2]
    return [
        ({name: state[name] for name in first}, path / FIRST_PART),
        ({name: state[name] for name in state if name not in first}, path),
    ]


def _complete(planners: int) -> Any:
    return lambda path: dcp.is_complete(path) and (planners == 1 or dcp.is_complete(path / FIRST_PART))


def _be_refused(state: dict[str, Any], path: Path, planners: int, /, **options: Any) -> None:
    import unittest

    import torch.distributed as dist
    from torch.distributed.checkpoint.api import CheckpointException

    place = state_kinds.Place(dist.get_rank(), dist.get_world_size())
    rows = state_kinds.values((4 if dist.get_rank() == 0 else 8 * dist.get_world_size(), 2), "float32", 0)
    refused = unittest.TestCase().assertRaisesRegex(  # noqa: PT027
        CheckpointException, "Failed to validate global plan"
    )
    with refused:  # said so, for a save that fails is otherwise taken for one that must not
        _save({**state, "of two shapes": place.sharded(rows)}, path, planners, **options)


def _take_names_of(state: dict[str, Any], step: int, changing: str) -> None:
    import torch
    import torch.distributed as dist

    for name in NAMES:
        state.pop(name, None)
    is_last = not dist.is_initialized() or dist.get_rank() == dist.get_world_size() - 1
    if changing == "all" or (changing == "one_rank" and is_last):
        state[NAMES[step % len(NAMES)]] = torch.zeros(4, 2)


def _state(step: int, changing: str, kind: str) -> dict[str, Any]:
    import torch.distributed as dist

    rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    return state(step, rank, size, kind, changing)


DCP_CACHED = Checkpointer(
    name="dcp-cached",
    summary="torch.distributed.checkpoint.save with enable_plan_caching, after earlier saves of the job",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    readers=stock_readers.READERS,
    state=state,
    preload=("faultkit.checkpointers.state_kinds",),
    points=("planner.*", "writer.*", "fs.*"),
    options=(
        ("earlier", 1),
        ("changing", "no"),
        ("failed_validation", False),
        ("planners", 1),
        ("export", False),
        *stock_files.OPTIONS,
        ("dedup", "default"),
        ("state", "default"),
    ),
    replaces=stock_files.replaces,
    check=check,
)
