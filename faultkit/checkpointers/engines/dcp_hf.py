"""The stock engine in the format of Hugging Face: `HuggingFaceStorageWriter` and readers, a directory for each step.

    step-7/shard-00001-model-00001-of-00001.safetensors ...   what each rank has (ranks=every, consolidate=no)
    step-7/sharded/shard-...                                  the same, where it is consolidated
    step-7/model-00001-of-00001.safetensors ...               whole tensors: consolidated, or of rank 0 (ranks=first)
    step-7/model.safetensors.index.json                       which tensor is in which of these

`consolidate` says who puts the shards together: ``writer``, as the last part of the save; ``first``, rank 0 after the
save by ``consolidate_safetensors_files``; ``every``, all ranks after the save.  `quantized` (ranks=first) saves
matrices as float8 with a scale, and loads them by `QuantizedHuggingFaceStorageReader`.  A step is complete when it has
its index, without consolidation when it has any shard: the format has nothing else to tell it by.  Only tensors can be
saved.

Known weak points (torch 2.13): consolidation writes 0 for every tensor without dimensions, and refuses whole numbers
with a TypeError; a save by fewer ranks to the same place leaves shards of the older one, which a load mixes in; shards
have no index and no completion marker; nothing is synced after the consolidation; no checksums.  torch and safetensors
are imported on the ranks.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from faultkit.checkpointers.checkpointer import Checkpointer
from faultkit.checkpointers.parts import pieces, step_directories
from faultkit.checkpointers.parts.joint_steps import on_rank_0
from faultkit.messages import listed, seen

__all__ = ["DCP_HF"]

INDEX = "model.safetensors.index.json"
SHARDED = "sharded"
CONSOLIDATE = ("no", "writer", "first", "every")
RANKS = ("first", "every")
SCALE = "_scale_inv"
SHARDING = "DCP_SHARDING_INFO"  # of the metadata of each shard


def save(
    state: dict[str, Any],
    directory: Path,
    step: int,
    ranks: str = "every",
    consolidate: str = "no",
    quantized: bool = False,
    files: int = 1,
    threads: int = 1,
) -> None:
    """Save `state` as `step`.  Raises what the engine raises, and TypeError for a value that is no tensor."""
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint._consolidate_hf_safetensors import (
        consolidate_safetensors_files,
        consolidate_safetensors_files_on_every_rank,
    )

    flat = pieces.named(state)
    for name, value in flat.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{seen(name)} must be a tensor (got a {type(value).__name__})")
    place = step_directories.place(directory, step)
    if ranks == "first":
        flat = pieces.whole(flat)
        flat = _quantized(flat) if quantized else flat
    index = {name: 1 + at % files for at, name in enumerate(flat)}
    writer = dcp.HuggingFaceStorageWriter(
        path=str(place / SHARDED if consolidate in ("first", "every") else place),
        fqn_to_index_mapping=index,
        thread_count=threads,
        save_distributed=ranks == "every",
        enable_consolidation=consolidate == "writer",
        thread_count_consolidation=threads,
    )
    if ranks == "every":
        dcp.save(flat, storage_writer=writer)
    else:
        on_rank_0("save", lambda: dcp.save(flat, storage_writer=writer, no_dist=True))
    if consolidate == "first":
        on_rank_0("consolidate", lambda: consolidate_safetensors_files(*_places(place), index, threads))
    elif consolidate == "every":
        consolidate_safetensors_files_on_every_rank(*_places(place), index, threads)


def load(
    state: dict[str, Any],
    directory: Path,
    ranks: str = "every",
    consolidate: str = "no",
    quantized: bool = False,
    threads: int = 1,
) -> int | None:
    """Load the newest complete step.  Raises what the engine raises."""
    import torch.distributed.checkpoint as dcp

    step = step_directories.newest(directory, lambda path: is_complete(path, ranks, consolidate))
    if step is None:
        return None
    path = str(step_directories.place(directory, step))
    if quantized:
        from torch.distributed.checkpoint.quantized_hf_storage import QuantizedHuggingFaceStorageReader

        reader: Any = QuantizedHuggingFaceStorageReader(path, thread_count=threads)
    else:
        reader = dcp.HuggingFaceStorageReader(path, thread_count=threads)
    dcp.load(state, storage_reader=reader)
    return step


def from_files(
    directory: Path, ranks: str = "every", consolidate: str = "no", quantized: bool = False
) -> Any:
    """The newest step by ``safe_open`` of each file, shards put together by the places that they name themselves."""
    from safetensors import safe_open

    step = max(steps(directory, ranks, consolidate), default=None)
    if step is None:
        return None
    stored: dict[str, list[pieces.Part]] = {}
    for file in sorted(step_directories.place(directory, step).glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            sharding = json.loads((opened.metadata() or {}).get(SHARDING, "{}"))
            for name in opened.keys():  # noqa: SIM118
                tensor = opened.get_tensor(name)
                offsets = sharding.get(name, {}).get("saved_offsets") or [0] * tensor.dim()
                place = (tuple(offsets), tuple(tensor.shape))
                parts = stored.setdefault(name, [])
                if all(place != other for other, _ in parts):
                    parts.append((place, tensor))
    found = pieces.joined(stored)
    return _dequantized(found) if quantized else found


def from_keys(directory: Path, ranks: str = "every", consolidate: str = "no", quantized: bool = False) -> Any:
    """The newest step by `_load_state_dict_from_keys` and the reader of the format."""
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict_loader import _load_state_dict_from_keys

    step = max(steps(directory, ranks, consolidate), default=None)
    if step is None:
        return None
    if quantized:
        return NotImplemented
    reader = dcp.HuggingFaceStorageReader(str(step_directories.place(directory, step)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no process group
        return _load_state_dict_from_keys(storage_reader=reader)


def steps(directory: Path, ranks: str = "every", consolidate: str = "no") -> list[int]:
    """The complete steps."""
    return step_directories.steps(directory, lambda path: is_complete(path, ranks, consolidate))


def prune(directory: Path, keep: int, ranks: str = "every", consolidate: str = "no") -> None:
    """Remove all but the `keep` newest."""
    step_directories.prune(directory, keep, lambda path: is_complete(path, ranks, consolidate))


def is_complete(path: Path, ranks: str = "every", consolidate: str = "no") -> bool:
    """Whether the checkpoint at `path` looks complete."""
    if ranks == "every" and consolidate == "no":
        return any(path.glob("*.safetensors"))
    return (path / INDEX).exists()


def make_state(step: int, rank: int, world_size: int, quantized: bool = False) -> dict[str, Any]:
    """Tensors alone: a matrix in shards, the same on every rank, and a number without dimensions."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    def numbers(*shape: int, start: float) -> torch.Tensor:
        count = torch.Size(shape).numel()
        if quantized:  # what float8 holds as it is
            return ((torch.arange(count) + step) % 16).float().reshape(shape)
        return (torch.arange(count, dtype=torch.float32) + start + 1000.0 * step).reshape(shape)

    rows = numbers(5, 2, start=100.0)
    chunk = -(-5 // world_size)
    local = rows[min(rank * chunk, 5) : (rank + 1) * chunk].clone()
    mesh = init_device_mesh("cpu", (world_size,))
    return {
        "model": {
            "linear.weight": numbers(4, 3, start=0.5),
            "rows": DTensor.from_local(
                local, mesh, [Shard(0)], run_check=False, shape=rows.shape, stride=rows.stride()
            ),
        },
        "step": torch.tensor(float(step)),
    }


def check(
    world_size: int,
    ranks: str = "every",
    consolidate: str = "no",
    quantized: bool = False,
    files: int = 1,
    threads: int = 1,
) -> str:
    """What is wrong with the options."""
    for name, value, known in (("ranks", ranks, RANKS), ("consolidate", consolidate, CONSOLIDATE)):
        if value not in known:
            return f"{name} must be one of {listed(known)} (got {seen(value)})"
    for name, number in (("files", files), ("threads", threads)):
        if not 1 <= number <= 256:
            return f"{name} must be a number from 1 to 256 (got {seen(number)})"
    if ranks == "first" and consolidate != "no":
        return "consolidate needs ranks=every: rank 0 saves whole tensors"
    if quantized and ranks != "first":
        return "quantized needs ranks=first: its reader takes no shards"
    return ""


def _places(place: Path) -> tuple[str, str]:
    return str(place / SHARDED), str(place)


def _quantized(flat: dict[str, Any]) -> dict[str, Any]:
    """Matrices as float8, each with the scale of its only block."""
    import torch

    found = {}
    for name, value in flat.items():
        if name.endswith(".weight") and value.dim() == 2:
            found[name] = value.to(torch.float8_e4m3fn)
            found[f"{name}{SCALE}"] = torch.ones(1, 1)
        else:
            found[name] = value
    return found


def _dequantized(flat: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.float() * flat[f"{name}{SCALE}"] if f"{name}{SCALE}" in flat else value
        for name, value in flat.items()
        if not name.endswith(SCALE)
    }


DCP_HF = Checkpointer(
    name="dcp-hf",
    summary="dcp.save and load by HuggingFaceStorageWriter and its readers, sharded or consolidated",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    readers=(("safe_open", from_files), ("from_keys", from_keys)),
    any_state=True,
    state=make_state,
    requires=("safetensors>=0.4",),
    extra="hf",
    options=(
        ("ranks", "every"),
        ("consolidate", "no"),
        ("quantized", False),
        ("files", 1),
        ("threads", 1),
    ),
    check=check,
)
