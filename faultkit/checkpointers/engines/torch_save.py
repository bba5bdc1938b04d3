"""`torch.save` and `torch.load`, as training scripts call them: a directory for each step.

    step-7/state.pt          the whole state, gathered on rank 0 (ranks=first)
    step-7/rank-0.pt ...     what each rank has, and where it lies in the whole (ranks=every)
    step-7/ranks             how many of them there are; written last
    latest                   the newest step (pointer=true); without it nothing is there

A step is complete when it has its ``state.pt``, or its ``ranks``; one that is saved again is written over.  Rank 0 says
which is the newest.  Loads take ``weights_only=True``, so that no file of a stranger runs code, and no object but
tensors and plain values is loaded.

Known weak points, which are those of the scripts: in place, a kill in the middle of an overwrite costs both; without
``durable`` a power cut leaves an empty or half a file under the final name; a rank whose write fails leaves the others
in a barrier, unless `exchange`; with every rank a file, an overwrite that ends half way is a mix of two saves.  No
checksum is looked at.  torch is imported on the ranks.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import pieces, step_directories
from faultkit.checkpointers.parts.joint_steps import on_rank_0
from faultkit.checkpointers.parts.ways_to_write import in_step, made, replacing, wrong_options

__all__ = ["TORCH_SAVE"]

WHOLE, COUNT, POINTER = "state.pt", "ranks", "latest"


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    /,
    ranks: str = "first",
    write: str = "in_place",
    pointer: bool = False,
    exchange: bool = False,
) -> None:
    """Save `state` as `step`.  Raises what ``torch.save`` raises."""
    import torch.distributed as dist

    place = step_directories.place(directory, step)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    in_step("make the directory", lambda: made(place, write), is_first, exchange)
    if ranks == "first":
        full = pieces.whole(state)
        in_step("save", lambda: _save(full, place / WHOLE, write), is_first, exchange)
    else:
        own = {
            name: [
                [where and list(where[0]), part.clone() if where else part]
                for where, part in pieces.held(value)
            ]
            for name, value in pieces.named(state).items()
        }
        in_step("save", lambda: _save(own, place / f"rank-{rank}.pt", write), True, exchange)
        in_step("mark", lambda: _note(count, place / COUNT, write), is_first, exchange)
    if pointer:
        in_step("point", lambda: _note(step, directory / POINTER, write), is_first, exchange)


def load(
    state: dict[str, Any],
    directory: Path,
    /,
    ranks: str = "first",
    pointer: bool = False,
    exchange: bool = False,
) -> int | None:
    """Load the newest step.  Raises what ``torch.load`` raises, and ValueError where something is missing."""
    found = on_rank_0("newest", lambda: max(steps(directory, ranks, pointer), default=None))
    step: int | None = found
    if step is not None:
        place = step_directories.place(directory, step)

        def fill() -> None:
            pieces.fill(state, _whole(place) if ranks == "first" else _together(place))

        in_step("load", fill, True, exchange)
    return step


def steps(directory: Path, ranks: str = "first", pointer: bool = False) -> list[int]:
    """The steps that are complete, up to the one that the pointer names."""
    last = WHOLE if ranks == "first" else COUNT
    found = step_directories.steps(directory, lambda path: (path / last).exists())
    if not pointer:
        return found
    if not (directory / POINTER).exists():
        return []
    newest = int((directory / POINTER).read_text())
    return sorted({*(step for step in found if step < newest), newest})  # there or not: it is the only truth


def mapped(directory: Path, ranks: str = "first", pointer: bool = False) -> Any:
    """The newest step by ``torch.load(mmap=True)``; None where there is none."""
    step = max(steps(directory, ranks, pointer), default=None)
    if step is None:
        return None
    place = step_directories.place(directory, step)
    return _mapped(place / WHOLE) if ranks == "first" else pieces.joined(_together(place, _mapped))


def prune(directory: Path, keep: int, ranks: str = "first", pointer: bool = False) -> None:
    """Remove all but the `keep` newest."""

    def remove() -> None:
        for step in steps(directory, ranks, pointer)[:-keep]:
            shutil.rmtree(step_directories.place(directory, step))

    on_rank_0("prune", remove)


def check(
    world_size: int, ranks: str = "first", write: str = "in_place", state: str = "default", **_: object
) -> str:
    """What is wrong with the options."""
    return wrong_options(write, ranks) or state_kinds.check(world_size, state)


def _save(value: Any, path: Path, write: str) -> None:
    import torch

    with replacing(path, write) as written:
        torch.save(value, written)


def _note(number: int, path: Path, write: str) -> None:
    with replacing(path, write) as written:
        written.write_text(str(number))


def _whole(place: Path) -> dict[str, list[pieces.Part]]:
    found = pieces.named(_loaded(place / WHOLE))
    return {name: pieces.pieces(value) for name, value in found.items()}


def _mapped(path: Path) -> Any:
    import torch

    return torch.load(path, mmap=True, weights_only=True)


def _loaded(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=True)


def _together(place: Path, read: Callable[[Path], Any] = _loaded) -> dict[str, list[pieces.Part]]:
    """What all ranks stored; of what several have that of this rank, or else of the lowest."""
    import torch.distributed as dist

    count = int((place / COUNT).read_text())
    own = dist.get_rank() if dist.is_initialized() else 0
    stored: dict[str, dict[Any, Any]] = {}
    for rank in sorted(range(count), key=lambda rank: rank != own):
        for name, parts in read(place / f"rank-{rank}.pt").items():
            parts_of = stored.setdefault(name, {})
            for offsets, part in parts:
                where = None if offsets is None else (tuple(offsets), tuple(part.shape))
                parts_of.setdefault(where, part)
    return {name: list(parts.items()) for name, parts in stored.items()}


TORCH_SAVE = Checkpointer(
    name="torch-save",
    summary="torch.save and torch.load, by rank 0 or every rank, in place or by rename",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    readers=(("mmap", mapped),),
    any_state=True,
    points=("torch.*", "fs.*"),
    load_points=("torch.*", "fs.*"),
    options=(
        ("ranks", "first"),
        ("write", "in_place"),
        ("pointer", False),
        ("exchange", False),
        ("state", "default"),
    ),
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    check=check,
)
