"""A checkpointer that keeps every promise: the positive control of every campaign, and a model of how it is done.

    step-7.12/            step 7, the twelfth save; complete as soon as it has this name
      index.json          the SHA-256 of the rest, then all names, shapes and places, and size and SHA-256 of each file
      rank-0.pt           what rank 0 stores, by torch.save; each piece is stored once, by the lowest rank that has it
    step-8.13.saving/     a save that has not come to its end
    step-6.11.removing/   what is on its way out

Guarantees, each as long as the disk keeps what it acknowledges:

* every save has a new name, and changes no checkpoint that is there; what earlier ones left is removed before anything
  is published, and so after they are durable: until the next save there may be one checkpoint more than is needed;
* all files, then the names in the directory, are durable before the one rename that publishes, and that is before
  the save returns; a save that fails after the rename takes it back;
* an error on any rank is raised by every rank, with who failed and why;
* what cannot be loaded again is not saved: ranks with other steps, places, shapes or replicas, tensors with holes,
  values that ``torch.load(weights_only=True)`` refuses;
* a load reads the newest checkpoint as all ranks see it together, looks at every checksum before it unpickles
  anything, and fills the state on all ranks or on none.  A damaged one is refused on every rank; with ``fallback`` the
  newest is loaded of which every file that is needed is whole, the same on every rank, and an error of the system
  is refused all the same;
* a prune removes nothing before the newest checkpoint was found whole.

Not covered: a rank that never comes back, for which the others wait until the process group gives up; two jobs in one
directory; a listing that lags on every rank at once.  Whoever finds a violation here has found a mistake, here or in
the checker.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import durable_files, pieces
from faultkit.checkpointers.parts.joint_steps import on_every_rank, on_rank_0
from faultkit.messages import seen

__all__ = ["REFERENCE"]

INDEX = "index.json"
_NAME = re.compile(r"step-([0-9]+)\.([0-9]+)(\.saving|\.removing)?")


class DamagedCheckpoint(ValueError):
    """A checkpoint is not as it was saved."""


DAMAGE = (DamagedCheckpoint, FileNotFoundError)


def save(state: dict[str, Any], directory: Path, step: int, /) -> None:
    """Save `state` as `step`.  Raises CheckpointException on every rank where anything failed on any."""
    held = {name: (value, pieces.pieces(value)) for name, value in pieces.named(state).items()}
    plans = on_every_rank("plan", lambda: _plan(held, directory, step))
    known = {name for plan in plans for name in plan["names"]}
    number = 1 + max((parsed[1] for parsed in map(_parsed, known) if parsed), default=0)
    place = directory / _named((step, number))
    temporary = directory / f"{place.name}.saving"
    on_rank_0("begin", lambda: _begin(directory, known, temporary, plans))
    written = on_every_rank("write", lambda: _write(temporary, plans, held))
    on_rank_0("finish", lambda: _finish(temporary, place, plans, written))


def load(state: dict[str, Any], directory: Path, /, fallback: bool = False) -> int | None:
    """Load the newest checkpoint, and give its step; None where there is none.

    Raises CheckpointException on every rank, with `state` as it was, where any rank finds it damaged or cannot read it.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    saves = _saves(_seen_together(directory))
    for step, number in saves:
        path = directory / _named((step, number))
        ready: list[Callable[[], None]] = []

        def read(path: Path = path, ready: list[Callable[[], None]] = ready) -> None:
            ready.append(pieces.filling(state, _stored(path, _index(path))))

        try:
            on_every_rank("read", read)
        except CheckpointException as error:
            is_damaged = all(isinstance(one, DAMAGE) for one, _ in error.failures.values())
            if fallback and is_damaged and (step, number) != saves[-1]:
                continue
            raise
        on_every_rank("fill", ready[0])
        return step
    return None


def steps(directory: Path) -> list[int]:
    """The steps there are, newest last."""
    return [step for step, _ in reversed(_saves(os.listdir(directory)))]


def prune(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest.  Raises CheckpointException, and removes none, where the newest is damaged."""
    known = _seen_together(directory)

    def remove() -> None:
        saves = _saves(known)
        if len(saves) > keep:
            newest = directory / _named(saves[0])
            _stored(newest, _index(newest))
            _remove(directory, [_named(one) for one in saves[keep:]])

    on_rank_0("prune", remove)


def read(directory: Path) -> dict[str, Any] | None:
    """The newest checkpoint by name, tensors whole, in one process; None where there is none.  Raises as `load`."""
    import torch

    saves = _saves(os.listdir(directory))
    if not saves:
        return None
    index = _index(directory / _named(saves[0]))
    stored = _stored(directory / _named(saves[0]), index)
    return {
        name: stored[name][0][1]
        if leaf["shape"] is None
        else pieces.assembled(name, leaf["shape"], getattr(torch, leaf["dtype"]), stored[name])
        for name, leaf in index["leaves"].items()
    }


def check(world_size: int, state: str = "default", **_: object) -> str:
    """What is wrong with the options."""
    if state == "nested":
        return "state=nested has an object, which is not loaded since that runs its code; the nearest is state=numbered"
    return state_kinds.check(world_size, state)


# -- names ---------------------------------------------------------------------------------------------------------


def _parsed(name: str) -> tuple[int, int, str] | None:
    """(step, number, what it is besides)."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2]), match[3] or "") if match else None


def _saves(names: Iterable[str]) -> list[tuple[int, int]]:
    """(step, number) of the complete saves that a job may come back to, newest first.

    What was saved before a newer save of the same or an earlier step belongs to a life that the job has left.
    """
    found = [parsed for parsed in map(_parsed, names) if parsed and not parsed[2]]
    kept: list[tuple[int, int]] = []
    for step, number, _ in sorted(found, key=lambda one: -one[1]):
        if not kept or step < kept[-1][0]:
            kept.append((step, number))
    return kept


def _named(save: tuple[int, int]) -> str:
    return f"step-{save[0]}.{save[1]}"


def _seen_together(directory: Path) -> set[str]:
    """The names in `directory` that any rank sees: a listing that lags on some of them leaves nothing out."""
    return {name for names in on_every_rank("look", lambda: os.listdir(directory)) for name in names}


def _remove(directory: Path, names: Iterable[str]) -> None:
    for name in sorted(names):
        aside = name if name.endswith((".saving", ".removing")) else f"{name}.removing"
        durable_files.remove(directory / name, directory / aside)


# -- a save --------------------------------------------------------------------------------------------------------


def _plan(held: dict[str, Any], directory: Path, step: int) -> dict[str, Any]:
    """What this rank holds, and what it sees."""
    from faultkit.injection.engine.content import checksum

    leaves = {}
    for name, (value, parts) in held.items():
        is_tensor = not parts or parts[0][0] is not None
        leaves[name] = {
            "shape": list(value.shape) if is_tensor else None,
            "dtype": str(value.dtype).removeprefix("torch.") if is_tensor else None,
            "parts": [(place, checksum(part)) for place, part in parts],
        }
    return {"leaves": leaves, "names": os.listdir(directory), "to": (os.path.abspath(directory), step)}


def _begin(directory: Path, known: set[str], temporary: Path, plans: list[dict[str, Any]]) -> None:
    _require_one_checkpoint(plans)
    current = {_named(one) for one in _saves(known)}
    _remove(directory, {name for name in known if _parsed(name)} - current)
    os.mkdir(temporary)


def _require_one_checkpoint(plans: list[dict[str, Any]]) -> None:
    """Raises ValueError where what the ranks hold does not make one state."""
    if len({plan["to"] for plan in plans}) > 1:
        raise ValueError(f"ranks must save one step to one place (got {[plan['to'] for plan in plans]})")
    for name in dict.fromkeys(name for plan in plans for name in plan["leaves"]):
        found = [plan["leaves"][name] for plan in plans if name in plan["leaves"]]
        shape = found[0]["shape"]
        if any((leaf["shape"], leaf["dtype"]) != (shape, found[0]["dtype"]) for leaf in found):
            raise ValueError(f"{seen(name)} must have one shape and type on all ranks")
        contents: dict[Any, str] = {}
        for place, told in (part for leaf in found for part in leaf["parts"]):
            if contents.setdefault(place, told) != told:
                raise ValueError(f"{seen(name)} must hold the same on all ranks that have it")
        if shape is not None and sum(math.prod(sizes) for _, sizes in contents) != math.prod(shape):
            raise ValueError(f"{seen(name)} must be held in pieces that make the whole")


def _owners(plans: list[dict[str, Any]]) -> dict[tuple[str, Any], int]:
    """By name and place the rank that stores it, the lowest that has it."""
    owners: dict[tuple[str, Any], int] = {}
    for rank, plan in enumerate(plans):
        for name, leaf in plan["leaves"].items():
            for place, _ in leaf["parts"]:
                owners.setdefault((name, place), rank)
    return owners


def _write(temporary: Path, plans: list[dict[str, Any]], held: dict[str, Any]) -> dict[str, Any] | None:
    """Store what falls to this rank; gives the file, its size and checksum, and what is in it."""
    import io

    import torch
    import torch.distributed as dist

    rank = dist.get_rank() if dist.is_initialized() else 0
    mine = [one for one, owner in _owners(plans).items() if owner == rank]
    if not mine:
        return None
    parts = [dict(held[name][1])[place] for name, place in mine]
    stream = io.BytesIO()
    # a copy, or what else lies in the memory of a view is stored with it
    torch.save([part.clone() if isinstance(part, torch.Tensor) else part for part in parts], stream)
    data = stream.getvalue()
    torch.load(io.BytesIO(data), weights_only=True)  # what cannot be loaded again is not saved
    name = f"rank-{rank}.pt"
    durable_files.write(temporary / name, data)
    return {"file": name, "told": [len(data), hashlib.sha256(data).hexdigest()], "parts": mine}


def _finish(temporary: Path, place: Path, plans: list[dict[str, Any]], written: list[Any]) -> None:
    leaves: dict[str, Any] = {}
    for plan in plans:
        for name, leaf in plan["leaves"].items():
            leaves.setdefault(name, {**leaf, "parts": []})
    for one in filter(None, written):
        for at, (name, where) in enumerate(one["parts"]):
            leaves[name]["parts"].append([one["file"], at, where])
    files = {one["file"]: one["told"] for one in filter(None, written)}
    body = json.dumps({"name": place.name, "files": files, "leaves": leaves}).encode()
    durable_files.write(temporary / INDEX, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    durable_files.sync(temporary)
    durable_files.sync(place.parent.parent)  # the directory of all, if it is new
    durable_files.publish(temporary, place)


# -- a load --------------------------------------------------------------------------------------------------------


def _index(path: Path) -> dict[str, Any]:
    """Raises DamagedCheckpoint where it is not as it was written, and OSError."""
    told, _, body = (path / INDEX).read_bytes().partition(b"\n")
    if told != hashlib.sha256(body).hexdigest().encode():
        raise DamagedCheckpoint(f"{path.name}/{INDEX} is not as it was written")
    index: dict[str, Any] = json.loads(body)
    if path.name != index["name"]:
        raise DamagedCheckpoint(f"{path.name}/{INDEX} belongs to {index['name']}")
    return index


def _stored(path: Path, index: dict[str, Any]) -> dict[str, list[pieces.Part]]:
    """All that is stored, by name.  Raises DamagedCheckpoint where a file is not as it was written, and OSError."""
    import io

    import torch

    files = {}
    for name, told in index["files"].items():
        data = (path / name).read_bytes()
        if [len(data), hashlib.sha256(data).hexdigest()] != told:
            raise DamagedCheckpoint(f"{path.name}/{name} is not as it was written")
        files[name] = torch.load(io.BytesIO(data), weights_only=True)
    return {
        name: [
            (where and (tuple(where[0]), tuple(where[1])), files[file][at])
            for file, at, where in leaf["parts"]
        ]
        for name, leaf in index["leaves"].items()
    }


REFERENCE = Checkpointer(
    name="reference",
    summary="keeps every promise: checksums, one rename, every error on every rank; the control of all campaigns",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    read=read,
    any_state=True,
    points=("fs.*",),
    load_points=("fs.*",),
    options=(("fallback", False), ("state", "default")),
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    check=check,
    atomic_load=True,
)
