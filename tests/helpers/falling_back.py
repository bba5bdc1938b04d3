"""A checkpointer that falls back together, and the same with one defect each.

Each rank writes a file of its own with a checksum.  A step is whole where every rank finds its file whole.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zlib

import torch.distributed as dist

from faultkit import Checkpointer

DEFECTS_OF_A_LOAD = {
    "looks_alone": "SILENT_WRONG",  # each rank takes the newest that is whole for itself
    "raises_alone": "PARTIAL",  # whoever finds damage raises, the others load
    "takes_anything": "SILENT_WRONG",  # what cannot be read is left out
    "waits_alone": "HUNG",  # who finds damage waits for the others, who do not
    "begins_anew": "LOST_WORK",  # a damaged checkpoint is none, and neither are those before it
}
DEFECTS_OF_A_PRUNE = ("counts_incomplete", "looks_at_rank_0", "keeps_one_less")


def make_state(step, rank, world_size):
    return {"step": step, "numbers": [step * 100 + rank, step * 10]}


def save(state, directory, step):
    place = directory / f"step-{step}"
    place.mkdir(exist_ok=True)
    body = json.dumps(state)
    with open(file_of(place), "w") as stream:
        stream.write(checksum(place, dist.get_rank(), body) + body)
    dist.barrier()


def file_of(place, rank=None):
    return place / f"rank-{dist.get_rank() if rank is None else rank}.json"


def checksum(place, rank, body):
    """Of the file of that rank in that place: those of others are not taken for it."""
    return f"{zlib.crc32(f'{place.name}/{rank}{body}'.encode()):08x}"


def stored(place, rank=None):
    """What a rank's file holds.  Raises OSError, ValueError."""
    text = file_of(place, rank).read_text()
    body = text[8:]
    if checksum(place, dist.get_rank() if rank is None else rank, body) != text[:8]:
        raise ValueError(f"{place.name} is damaged")
    return json.loads(body)


def is_whole(place, ranks):
    with contextlib.suppress(OSError, ValueError):
        return all(stored(place, rank) is not None for rank in ranks)
    return False


def steps(directory):
    return sorted(int(path.name[5:]) for path in directory.glob("step-*"))


def everyone(value):
    told = [None] * dist.get_world_size()
    dist.all_gather_object(told, value)
    return told


def load(state, directory, defect="none"):
    found = everyone(steps(directory))[0]
    rank = dist.get_rank()
    for step in reversed(found):
        place = directory / f"step-{step}"
        whole = is_whole(place, [rank])
        if defect == "raises_alone" and not whole:
            raise ValueError(f"{place.name} is damaged")
        if defect == "waits_alone" and not whole:
            dist.barrier()
        if defect == "takes_anything":
            with contextlib.suppress(OSError, ValueError):
                state.update(stored(place))
            return step
        if defect not in ("looks_alone", "raises_alone", "waits_alone"):
            whole = all(everyone(whole))
        if whole:
            state.update(stored(place))
            return step
        if defect == "begins_anew":
            return None
    return None


def prune(directory, keep, defect="none"):
    dist.barrier()
    if dist.get_rank() == 0:
        found = steps(directory)
        ranks = [0] if defect == "looks_at_rank_0" else range(dist.get_world_size())
        if defect != "counts_incomplete":
            found = [step for step in found if is_whole(directory / f"step-{step}", ranks)]
        kept = found[-keep + (defect == "keeps_one_less" and keep > 1) :]
        for step in found:
            if step not in kept:
                shutil.rmtree(directory / f"step-{step}")
    dist.barrier()


FALLING_BACK = Checkpointer(
    name="falling-back",
    save=save,
    load=load,
    steps=steps,
    prune=prune,
    state=make_state,
    options=(("defect", "none"),),
    reshards=False,
)
