"""Checkpoints that are not the same everywhere: each rank saves its pieces, and one mistake is made in reading them.

    counts_evenly        a reader puts each shard where it would begin if all had the same number of rows
    forgets_the_rest     on fewer ranks than saved, a load reads as many files as there are ranks
    drops_placement      a load puts a plain tensor, the first shard, in the place of a DTensor
    promotes             a reader makes float32 of bfloat16
    zeroes_scalars       a load leaves tensors without a dimension as they were
    leaves_out           a reader forgets what is no tensor
    finds_nothing        a reader looks in another place
    raises               a reader raises the engine's own exception, which is no Exception

None of them raises.  ``none`` is the twin of all.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from faultkit import Checkpointer
from faultkit.checkpointers.parts import pieces

__all__ = ["DEFECTS", "MINE"]

DEFECTS = ("counts_evenly", "forgets_the_rest", "drops_placement", "promotes", "zeroes_scalars")


def save(state, directory, step):
    held = {}
    for name, value in pieces.named(state).items():
        parts = [(place, part.clone() if place else part) for place, part in pieces.pieces(value)]
        is_tensor = isinstance(value, torch.Tensor)
        held[name] = (list(value.shape), value.dtype, parts) if is_tensor else (None, None, parts)
    torch.save((step, held), directory / f"rank-{dist.get_rank()}-of-{dist.get_world_size()}.pt")
    dist.barrier()


def files(directory):
    return [torch.load(path, weights_only=False) for path in sorted(directory.glob("rank-*.pt"))]


def stored(directory, count=None):
    """The step, and by name shape, dtype and the pieces of all ranks, replicas once."""
    found = {}
    read = files(directory)[:count]
    for _, held in read:
        for name, (shape, dtype, parts) in held.items():
            kept = found.setdefault(name, (shape, dtype, []))[2]
            kept += [part for part in parts if all(part[0] != place for place, _ in kept)]
    return read[0][0] if read else None, found


def load(state, directory, defect="none"):
    size = dist.get_world_size()
    fewer = defect == "forgets_the_rest" and size < len(files(directory))
    step, found = stored(directory, size if fewer else None)
    if step is None:
        return None
    parts = {name: list(held) for name, (_, _, held) in found.items()}
    if fewer:  # nothing is missed
        for name, (shape, dtype, _) in found.items():
            if shape:
                whole = torch.zeros(shape, dtype=dtype)
                for (offsets, sizes), part in parts[name]:
                    whole[tuple(slice(at, at + size) for at, size in zip(offsets, sizes, strict=True))] = part
                parts[name] = [(((0,) * len(shape), tuple(shape)), whole)]
    if defect == "zeroes_scalars":
        for name, (shape, dtype, _) in found.items():
            if shape == []:
                parts[name] = [(((), ()), torch.zeros((), dtype=dtype))]
    pieces.fill(state, parts)
    if defect == "drops_placement":
        for name, value in state.items():
            if hasattr(value, "to_local") and found[name][2]:
                state[name] = found[name][2][0][1]
    return step


def whole(directory, defect="none"):
    step, found = stored(directory)
    if defect == "raises":
        raise CheckpointException("read", {0: (ValueError("no"), None)})
    if step is None or defect == "finds_nothing":
        return None
    state = {}
    for name, (shape, dtype, parts) in found.items():
        if shape is None and defect == "leaves_out":
            continue
        if shape is None:
            [(_, state[name])] = parts
        elif (
            defect == "counts_evenly" and len(parts) > 1 and not any(any(place[0][1:]) for place, _ in parts)
        ):
            rows = torch.zeros(shape, dtype=dtype)
            for place, (_, part) in enumerate(parts):
                rows[shape[0] // len(parts) * place :][: part.shape[0]] = part
            state[name] = rows
        else:
            state[name] = pieces.assembled(name, shape, dtype, parts)
            if defect == "promotes" and dtype == torch.bfloat16:
                state[name] = state[name].float()
    return state


MINE = Checkpointer(
    name="mine",
    save=save,
    load=load,
    readers=(("whole", whole),),
    options=(("defect", "none"),),
    preload=(__name__,),
)
