"""`safetensors.torch.save_file` and `load_file`: a directory for each step, with an index as Hugging Face has it.

    step-7/model.safetensors                 all tensors, gathered on rank 0 (ranks=first)
    step-7/model-00001-of-00002.safetensors  those that rank 0 has, or its parts of them (ranks=every)
    step-7/model.safetensors.index.json      "weight_map": each name's file, with ranks=every its files and where in the
                                             whole each part lies; "values": what is no tensor; written last

A step is complete when it has its index; one that is saved again is written over.  Rank 0 says which is the newest.

Known weak points: a file carries no checksum, so that damage to values is not noticed; a power cut, unless
``write=durable``, leaves an empty or half a file under the final name; a save that ends between a file and its index
leaves a mix of two saves; a rank whose write fails leaves the others in a barrier, unless `exchange`.  Not covered:
values that are neither tensors nor JSON, which a save refuses with TypeError.  Both libraries are imported on the
ranks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faultkit.checkpointers import state_kinds
from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import pieces, step_directories
from faultkit.checkpointers.parts.ways_to_write import in_step, made, replacing, wrong_options
from faultkit.messages import seen

__all__ = ["SAFETENSORS"]

INDEX = "model.safetensors.index.json"


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    /,
    ranks: str = "first",
    write: str = "in_place",
    exchange: bool = False,
) -> None:
    """Save `state` as `step`.  Raises what ``save_file`` raises, and TypeError for a value that is not JSON."""
    import torch
    import torch.distributed as dist

    place = step_directories.place(directory, step)
    rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    file = "model.safetensors" if ranks == "first" else f"model-{rank + 1:05}-of-{count:05}.safetensors"
    flat = pieces.named(pieces.whole(state) if ranks == "first" else state)
    tensors: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for name, value in flat.items():
        if isinstance(value, torch.Tensor):
            parts[name] = None  # of a tensor in shards a rank may have nothing
        for where, part in pieces.held(value) if isinstance(value, torch.Tensor) else ():
            tensors[name] = part.contiguous().clone()  # tensors that share memory are refused
            parts[name] = [file, where and where[0]]
    values = {name: value for name, value in flat.items() if not isinstance(value, torch.Tensor)}
    in_step("make the directory", lambda: made(place, write), rank == 0, exchange)
    in_step("save", lambda: _save(tensors, place / file, write), ranks == "every" or rank == 0, exchange)
    told: list[Any] = [parts]
    if dist.is_initialized() and ranks == "every":
        told = [None] * count
        dist.all_gather_object(told, parts)
    in_step("index", lambda: _save_index(told, values, place, write, ranks), rank == 0, exchange)


def load(state: dict[str, Any], directory: Path, /, exchange: bool = False) -> int | None:
    """Load the newest step.  Raises what ``load_file`` raises, and ValueError where something is missing."""
    step = step_directories.newest(directory, is_complete)
    if step is not None:
        place = step_directories.place(directory, step)
        in_step("load", lambda: pieces.fill(state, _stored(place)), True, exchange)
    return step


def sliced(directory: Path) -> Any:
    """The newest step by ``safe_open``, tensor by tensor and row by row; None where there is none."""
    import torch
    from safetensors import safe_open

    step = max(steps(directory), default=None)
    if step is None:
        return None
    place = step_directories.place(directory, step)

    def read(path: Path) -> dict[str, Any]:
        with safe_open(path, framework="pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            return {
                name: torch.cat([one[row : row + 1] for row in range(one.get_shape()[0])])
                if one.get_shape() and 0 not in one.get_shape()
                else opened.get_tensor(name)
                for name, one in slices.items()
            }

    return pieces.joined(_stored(place, read))


def steps(directory: Path) -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, is_complete)


def prune(directory: Path, keep: int) -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, is_complete)


def is_complete(path: Path) -> bool:
    """Whether the checkpoint at `path` has its index."""
    return (path / INDEX).exists()


def check(
    world_size: int, ranks: str = "first", write: str = "in_place", state: str = "default", **_: object
) -> str:
    """What is wrong with the options."""
    return wrong_options(write, ranks) or state_kinds.check(world_size, state)


def _save(tensors: dict[str, Any], path: Path, write: str) -> None:
    from safetensors.torch import save_file

    with replacing(path, write) as written:
        save_file(tensors, written)


def _save_index(
    told: list[dict[str, Any]], values: dict[str, Any], place: Path, write: str, ranks: str
) -> None:
    for name, value in values.items():
        if json.loads(json.dumps(value)) != value:
            raise TypeError(f"{seen(name)} must be a tensor or JSON (got a {type(value).__name__})")
    if ranks == "first":
        weight_map: dict[str, Any] = {name: file for name, (file, _) in told[0].items()}
    else:
        weight_map = {}
        for parts in told:
            for name, part in parts.items():
                lies = weight_map.setdefault(name, [])
                if part is not None and all(part[1] != other for _, other in lies):  # of replicas the first
                    lies.append(part)
    with replacing(place / INDEX, write) as written:
        written.write_text(json.dumps({"metadata": {}, "weight_map": weight_map, "values": values}))


def _loaded(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(path)
    return found


def _stored(place: Path, read: Callable[[Path], dict[str, Any]] = _loaded) -> dict[str, list[pieces.Part]]:
    index = json.loads((place / INDEX).read_text())
    stored: dict[str, list[pieces.Part]] = {name: [(None, value)] for name, value in index["values"].items()}
    files: dict[str, dict[str, Any]] = {}
    for name, lies in index["weight_map"].items():
        parts = stored.setdefault(name, [])
        for file, offsets in [(lies, None)] if isinstance(lies, str) else lies:
            if Path(file).name != file:
                raise ValueError(f"an index must name files beside it (got {seen(file)})")
            if file not in files:
                files[file] = read(place / file)
            tensor = files[file][name]
            parts.append(((tuple(offsets or (0,) * tensor.dim()), tuple(tensor.shape)), tensor))
    return stored


SAFETENSORS = Checkpointer(
    name="safetensors",
    summary="safetensors save_file and load_file with an index, by rank 0 or every rank, in place or by rename",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    readers=(("safe_open", sliced),),
    any_state=True,
    requires=("safetensors>=0.4",),
    extra="hf",
    points=("safetensors.*", "fs.*"),
    load_points=("safetensors.*", "fs.*"),
    options=(("ranks", "first"), ("write", "in_place"), ("exchange", False), ("state", "default")),
    state=state_kinds.state,
    preload=("faultkit.checkpointers.state_kinds",),
    check=check,
)
