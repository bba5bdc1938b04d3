"""`Manager`, an older way to write a `faultkit.Checkpointer` down, and two managers on the stock engine.

`dcp_manager` does what most training scripts do: ``dcp.save`` into a folder per step, which is complete when
it holds the engine's ``.metadata``; a step that is saved again is written over in place.  It loses the old
checkpoint when that fails half way.  `renaming_manager` is the control: every save goes to a new folder,
which gets its name when the save is complete, and what it replaces is removed after that.

The functions run on every rank, each with the same arguments.  Not covered: asynchronous saves, and fsync of
folders; a history ends processes, not the machine.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.engines import dcp as files_of_dcp
from faultkit.checkpointers.parts.joint_steps import on_rank_0

__all__ = ["Manager", "dcp_manager", "renaming_manager"]


class Manager(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint manager as up to four functions.  Every rank calls them, all with the same arguments.

    A `faultkit.Checkpointer` says the same, can be put under every other campaign, too, and has its arguments in
    another order: ``save(state, directory, step)``.

    `state` is a dict of tensors, DTensors, an int and dicts of these; `folder` a `pathlib.Path` that exists.

    Args:
        save: ``save(state, step, folder)`` writes the checkpoint of `step`; it is acknowledged once this has returned
            on every rank.
        load_latest: ``load_latest(state, folder)`` loads the newest checkpoint into `state`, in place or by replacing
            its leaves, and returns its step; None where there is none.
        list: ``list(folder)`` gives the steps there are, of which `load_latest` loads the newest; None where nobody
            can ask the manager for them.
        prune: ``prune(folder, keep)`` removes old checkpoints and keeps the `keep` newest, 1 or more; None where the
            manager has no such thing.
        name: stands in reports.
    """

    save: Callable[[dict[str, Any], int, Path], Any]
    load_latest: Callable[[dict[str, Any], Path], int | None]
    list: Callable[[Path], Iterable[int]] | None = None
    prune: Callable[[Path, int], Any] | None = None
    name: str = "manager"

    def __repr__(self) -> str:
        return f"Manager(name={self.name!r})"

    def to_checkpointer(self) -> Checkpointer:
        """The same as a checkpointer."""
        return Checkpointer(
            name=re.sub(r"[^A-Za-z0-9_-]", "_", self.name) or "manager",
            save=_StepFirst(self.save),
            load=self.load_latest,
            steps=self.list,
            prune=self.prune,
        )


class _StepFirst(msgspec.Struct, frozen=True):
    """``save(state, step, folder)`` as a checkpointer's."""

    function: Callable[..., Any]

    def __call__(self, state: Any, directory: Path, step: int) -> Any:
        return self.function(state, step, directory)


_STEP_AND_NUMBER = re.compile(r"step-(\d+)\.(\d+)")


# -- the stock engine, a folder per step -------------------------------------------------------------------


def _save_in_place(state: dict[str, Any], step: int, folder: Path) -> None:
    files_of_dcp.save(state, folder, step)


dcp_manager = Manager(
    save=_save_in_place,
    load_latest=files_of_dcp.load,
    list=files_of_dcp.steps,
    prune=files_of_dcp.prune,
    name="dcp_manager",
)


# -- a folder per save, named when it is complete ----------------------------------------------------------


def _saves(folder: Path) -> list[tuple[int, int]]:
    """(step, number) of every complete save, oldest first; the higher number of a step is the newer."""
    found = (_STEP_AND_NUMBER.fullmatch(path.name) for path in folder.iterdir())
    return sorted((int(match[1]), int(match[2])) for match in found if match)


def _renamed_steps(folder: Path) -> list[int]:
    return sorted({step for step, _ in _saves(folder)})


def _save_and_rename(state: dict[str, Any], step: int, folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    temporary = folder / "saving"

    def clear() -> int:
        if temporary.exists():
            shutil.rmtree(temporary)  # what a save left that did not come to its end
        return 1 + max((number for one, number in _saves(folder) if one == step), default=0)

    def commit() -> None:
        temporary.rename(folder / f"step-{step}.{number}")
        for one, earlier in _saves(folder):
            if one == step and earlier < number:
                shutil.rmtree(folder / f"step-{one}.{earlier}")

    number = on_rank_0("begin", clear)
    dcp.save(state, checkpoint_id=temporary)
    on_rank_0("commit", commit)


def _load_latest_renamed(state: dict[str, Any], folder: Path) -> int | None:
    import torch.distributed.checkpoint as dcp

    latest = on_rank_0("newest", lambda: max(_saves(folder), default=None))
    if latest is None:
        return None
    step, number = latest
    dcp.load(state, checkpoint_id=folder / f"step-{step}.{number}")
    return step


def _prune_renamed(folder: Path, keep: int) -> None:
    def remove() -> None:
        kept = _renamed_steps(folder)[-keep:]
        for step, number in _saves(folder):
            if step not in kept:
                shutil.rmtree(folder / f"step-{step}.{number}")

    on_rank_0("prune", remove)


renaming_manager = Manager(
    save=_save_and_rename,
    load_latest=_load_latest_renamed,
    list=_renamed_steps,
    prune=_prune_renamed,
    name="renaming_manager",
)
