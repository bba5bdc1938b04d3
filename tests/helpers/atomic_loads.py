"""A checkpointer whose load fills the state on all ranks or on none, and the same with one defect each.

Each rank stores two files, of which the second has the checksum of the first.
"""

from __future__ import annotations

import json
import zlib

import torch
import torch.distributed as dist

from faultkit import Checkpointer

DEFECTS = ("fills_as_it_reads", "fills_before_it_knows", "fills_before_it_looks")


def make_state(step, rank, world_size):
    return {
        "model": {"weight": torch.arange(6.0) + 100 * step, "bias": torch.arange(3.0) - step},
        "step": step,
    }


def save(state, directory, step):
    if dist.get_rank() == 0:
        body = json.dumps({name: value.tolist() for name, value in state["model"].items()})
        (directory / "model.json").write_text(body)
        (directory / "job.json").write_text(json.dumps({"step": step, "sum": zlib.crc32(body.encode())}))
    dist.barrier()


def load(state, directory, defect="none"):
    ready, error = {}, None
    try:
        body = (directory / "model.json").read_text()
        ready = {name: torch.tensor(values) for name, values in json.loads(body).items()}
        if defect == "fills_as_it_reads":
            fill(state["model"], ready)
        job = json.loads((directory / "job.json").read_text())
        if defect == "fills_before_it_looks":
            fill(state["model"], ready)
        if job["sum"] != zlib.crc32(body.encode()):
            raise ValueError("model.json is not as it was written")
        if defect == "fills_before_it_knows":
            fill(state["model"], ready)
    except (OSError, ValueError) as raised:
        error = raised
    errors = [None] * dist.get_world_size()
    dist.all_gather_object(errors, None if error is None else f"{type(error).__name__}: {error}")
    told = {rank: text for rank, text in enumerate(errors) if text}
    if told:
        more = "; the state is partly loaded" if defect == "says_so" else ""
        if defect == "says_so":
            fill(state["model"], ready)
        raise RuntimeError(f"ranks failed: {told}{more}") from error
    fill(state["model"], ready)
    state["step"] = job["step"]
    return job["step"]


def fill(model, ready):
    for name, value in ready.items():
        model[name].copy_(value)


ATOMIC = Checkpointer(
    name="atomic",
    save=save,
    load=load,
    state=make_state,
    options=(("defect", "none"),),
    atomic_load=True,
)
